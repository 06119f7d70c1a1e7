package recover

import (
	"maps"
	"slices"
	"strings"
	"time"

	"cloakroom/recover/auditlog"
)

// usual is what a login of each role calls KMS for without an entry in the log: "operation purpose". People unwrap
// the index key to check tokens; a data key they unwrap within openings alone, each call logged.
var usual = map[string][]string{
	"init":       {"GenerateDataKey index", "Decrypt index"},
	"ingest":     {"GenerateDataKey seal", "Decrypt index"},
	"auditor":    {"Decrypt index"},
	"breakglass": {"Decrypt index"},
	"rotator": {
		"GenerateDataKey seal", "GenerateDataKey index", "Decrypt seal", "Decrypt index", "Encrypt seal", "Encrypt index",
		"ReEncrypt seal", "ReEncrypt index",
	},
}

// kmsJoin joins KMS's calls with those of the log.
type kmsJoin struct {
	of         *Report
	principals []principal
	claims     map[string][]*KMSClaim // by request id; under -, those without
	result     *KMSReport
	calls      []KMSCall
	ids        map[string]bool // of calls
}

func newKMSJoin(r *Report, known []principal) *kmsJoin {
	j := &kmsJoin{
		of: r, principals: known, claims: map[string][]*KMSClaim{}, ids: map[string]bool{},
		result: &KMSReport{Unexplained: []KMSCall{}, Missing: []KMSClaim{}},
	}
	for _, c := range r.claims {
		c.used = false
		j.claims[c.RequestID] = append(j.claims[c.RequestID], c)
	}
	return j
}

func (j *kmsJoin) add(e trailEvent) {
	if e.ErrorCode != "" {
		j.result.Refused++
		return
	}
	j.result.Calls++
	j.ids[e.RequestID] = true
	j.calls = append(j.calls, e.call())
}

// report joins. Calls with a request id in the log come first, so that none of them uses up an attempt without one.
func (j *kmsJoin) report() *KMSReport {
	var rest []KMSCall
	for _, c := range j.calls {
		holders := j.holders(c)
		switch {
		case j.isUsual(c, holders):
			j.result.Expected++
		case j.claimed(&c, holders):
			j.result.Explained++
		default:
			rest = append(rest, c)
		}
	}
	for _, c := range rest {
		if j.unanswered(c, j.holders(c)) {
			j.result.Unanswered++
			continue
		}
		j.result.Unexplained = append(j.result.Unexplained, c)
	}
	j.missing()
	return j.result
}

// holders are the logins and roles of a call's principal: of the session by its own ARN, or else of its role.
func (j *kmsJoin) holders(c KMSCall) []principal {
	for _, arn := range []string{c.Principal, c.issuer} {
		var found []principal
		for _, p := range j.principals {
			if p.arn == arn && arn != "" && !c.Time.Before(p.from.Add(-slack)) &&
				(p.until.IsZero() || !c.Time.After(p.until.Add(slack))) {
				found = append(found, p)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// isUsual reports a call that needs no entry. A key that is moved stays what it is: another context is another use.
func (j *kmsJoin) isUsual(c KMSCall, holders []principal) bool {
	if c.Operation == "ReEncrypt" && !maps.Equal(c.from, c.to) {
		return false
	}
	for _, h := range holders {
		if slices.Contains(usual[h.role], c.Operation+" "+c.Purpose) {
			return true
		}
	}
	return false
}

// claimed finds the one logged call with this call's request id, and says why where none holds. Anybody may write
// another's request id into an entry, so what it says is checked against what the database logged.
func (j *kmsJoin) claimed(c *KMSCall, holders []principal) bool {
	c.Why = "its principal is no login's (keys grant --principal)"
	for i, h := range holders {
		if i == 0 {
			c.Why = "no call like it is logged by " + h.login
		}
	}
	for _, claim := range j.claims[c.RequestID] {
		if claim.used || c.RequestID == "-" {
			continue
		}
		if why := j.objection(claim, *c, holders); why != "" {
			c.Why, claim.Why = why, why
			continue
		}
		claim.used = true
		return true
	}
	return false
}

func (j *kmsJoin) unanswered(c KMSCall, holders []principal) bool {
	for _, claim := range j.claims["-"] {
		if !claim.used && j.objection(claim, c, holders) == "" {
			claim.used = true
			return true
		}
	}
	return false
}

// objection is why a logged call is not this call; empty: it is.
func (j *kmsJoin) objection(claim *KMSClaim, c KMSCall, holders []principal) string {
	its := func(p principal) bool {
		return p.login == claim.Login && (p.role == "auditor" || p.role == "breakglass")
	}
	o := j.of.openings[claim.Request]
	switch {
	case !slices.ContainsFunc(holders, its):
		return "claimed by " + claim.Login + ", whose principal it is not"
	case claim.Operation != c.Operation || claim.Purpose != c.Purpose || claim.Key != c.Key:
		return "claimed by " + claim.Login + " as another call"
	case o == nil || o.Requester != claim.Login || !o.dataKeys[claim.Key]:
		return "claimed by " + claim.Login + " for a request that did not need this key"
	case c.Time.Before(o.Began.Add(-slack)) || c.Time.After(claim.At.Add(slack)):
		return "claimed by " + claim.Login + " for an opening that was not under way"
	}
	return ""
}

// missing lists logged calls of the report's span that KMS's log does not have like that.
func (j *kmsJoin) missing() {
	for _, claim := range j.of.claims {
		if claim.used || claim.RequestID == "-" || !j.of.within(claim.At) {
			continue
		}
		if claim.Why == "" {
			claim.Why = "KMS's log does not have it"
			if j.ids[claim.RequestID] {
				claim.Why = "KMS's log has the request id for a call that something else explains"
			}
		}
		j.result.Missing = append(j.result.Missing, *claim)
	}
}

// addClaims reads a leaf of type kms: each of its fields is a call.
func (r *Report) addClaims(l auditlog.Leaf) {
	for _, line := range l.Fields {
		if f := strings.Fields(line); len(f) == 4 {
			r.claims = append(r.claims, &KMSClaim{
				Leaf: l.Seq, At: l.TS, Login: l.Actor, Request: text(l.Request),
				Operation: f[0], Purpose: f[1], Key: f[2], RequestID: f[3],
			})
		}
	}
}

// addPrincipal reads a leaf of type principal: login and role, and the old and the new ARN.
func (r *Report) addPrincipal(l auditlog.Leaf) {
	if len(l.Fields) != 2 {
		return
	}
	login, role := l.Fields[0], l.Fields[1]
	for i := range r.principals {
		if p := &r.principals[i]; p.login == login && p.role == role && p.until.IsZero() {
			p.until = l.TS
		}
	}
	if arn := PolicyChangeOf(l).New; arn != nil {
		r.principals = append(r.principals, principal{arn: *arn, login: login, role: role, from: l.TS, until: time.Time{}})
	}
}

package recover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// KMSReport compares KMS's own log with the audit log, to find who used the vault's keys past it.
type KMSReport struct {
	Calls       int        `json:"calls"`       // under this vault's encryption context, successful
	Explained   int        `json:"explained"`   // each by one call that an opening logged, by its request id
	Unanswered  int        `json:"unanswered"`  // each by one logged attempt that got no answer, so it has no request id
	Expected    int        `json:"expected"`    // what the role of the principal's login does
	Refused     int        `json:"refused"`     // by KMS
	Unexplained []KMSCall  `json:"unexplained"` // all others
	Missing     []KMSClaim `json:"missing"`     // logged, and not in KMS's log like that
}

// KMSCall is one call as KMS's log has it.
type KMSCall struct {
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	Purpose   string    `json:"purpose"`
	Key       string    `json:"key"` // as the encryption context says: a caller's words
	Principal string    `json:"principal"`
	SourceIP  string    `json:"source_ip"`
	RequestID string    `json:"request_id"`
	EventID   string    `json:"event_id"`
	Why       string    `json:"why"` // nothing explains it

	issuer string // the role of a session
	from   map[string]string
	to     map[string]string // of ReEncrypt alone
}

// KMSClaim is one call as the audit log has it: what the login's program said.
type KMSClaim struct {
	Leaf      int64     `json:"leaf"`
	At        time.Time `json:"at"` // after the call
	Login     string    `json:"login"`
	Request   string    `json:"request"`
	Operation string    `json:"operation"`
	Purpose   string    `json:"purpose"`
	Key       string    `json:"key"`
	RequestID string    `json:"request_id"` // -: no answer came
	Why       string    `json:"why"`

	used bool
}

// principal is an ARN with which a login calls KMS in a role, from one leaf until another.
type principal struct {
	arn, login, role string
	from, until      time.Time // until is zero: still
}

// trailEvent is the part of a CloudTrail record that is read.
type trailEvent struct {
	EventTime       time.Time `json:"eventTime"`
	EventSource     string    `json:"eventSource"`
	EventName       string    `json:"eventName"`
	ErrorCode       string    `json:"errorCode"`
	SourceIPAddress string    `json:"sourceIPAddress"`
	EventID         string    `json:"eventID"`
	RequestID       string    `json:"requestID"`
	UserIdentity    struct {
		Arn            string `json:"arn"`
		SessionContext struct {
			SessionIssuer struct {
				Arn string `json:"arn"`
			} `json:"sessionIssuer"`
		} `json:"sessionContext"`
	} `json:"userIdentity"`
	RequestParameters struct {
		EncryptionContext            map[string]string `json:"encryptionContext"`
		SourceEncryptionContext      map[string]string `json:"sourceEncryptionContext"`
		DestinationEncryptionContext map[string]string `json:"destinationEncryptionContext"`
	} `json:"requestParameters"`
}

// slack allows for a difference between KMS's clock and the database's, and for CloudTrail's whole
// seconds.
const slack = 5 * time.Second

// AddKMSLogs reads CloudTrail log files, {"Records": […]}, and joins each call under the vault's context with exactly
// one call of the audit log, by KMS's request id. What a login logged explains calls by that login's principal alone
// (keys grant --principal), of data keys that its request had frozen. expected are further principals, ROLE=ARN of
// rotator, ingest or init; an ARN alone is a rotator's.
func (r *Report) AddKMSLogs(vault string, expected []string, logs ...io.Reader) error {
	known := slices.Clone(r.principals)
	for _, text := range expected {
		role, arn, found := strings.Cut(text, "=")
		if !found {
			role, arn = "rotator", text
		}
		if usual[role] == nil {
			return fmt.Errorf("reading the KMS log: of %s no call is expected, only of rotator, ingest and init", role)
		}
		known = append(known, principal{arn: arn, role: role})
	}
	join := newKMSJoin(r, known)
	seen := map[string]bool{} // files overlap
	for _, log := range logs {
		var file struct {
			Records []trailEvent `json:"Records"`
		}
		if err := json.NewDecoder(log).Decode(&file); err != nil || file.Records == nil {
			return errors.New(`reading the KMS log: want a CloudTrail log file, {"Records": […]}`)
		}
		for _, e := range file.Records {
			if e.EventSource == "kms.amazonaws.com" && r.within(e.EventTime) && e.concerns(vault) && !seen[e.EventID] {
				seen[e.EventID] = true
				join.add(e)
			}
		}
	}
	r.KMS = join.report()
	return nil
}

// concerns reports whether one side of a call is under this vault's context. KMS authenticates it: nobody can decrypt
// a key of the vault under another.
func (e *trailEvent) concerns(vault string) bool {
	p := e.RequestParameters
	for _, c := range []map[string]string{p.EncryptionContext, p.SourceEncryptionContext, p.DestinationEncryptionContext} {
		if c["app"] == "cloakroom" && c["vault"] == vault {
			return true
		}
	}
	return false
}

func (e *trailEvent) call() KMSCall {
	p := e.RequestParameters
	c := KMSCall{
		Time: e.EventTime, Operation: e.EventName, Principal: e.UserIdentity.Arn, SourceIP: e.SourceIPAddress,
		RequestID: e.RequestID, EventID: e.EventID,
		issuer: e.UserIdentity.SessionContext.SessionIssuer.Arn, from: p.EncryptionContext,
	}
	if c.from == nil {
		c.from, c.to = p.SourceEncryptionContext, p.DestinationEncryptionContext
	}
	side := c.from
	if side["vault"] == "" {
		side = c.to
	}
	c.Purpose, c.Key = side["purpose"], side["key"]
	return c
}

package recover

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloakroom/keys"
	"cloakroom/recover/auditlog"
)

// Report says, from the audit log, who requested what, who approved it, what was opened, how the
// policy changed and how old the keys are.
type Report struct {
	From          time.Time         `json:"from"`
	To            time.Time         `json:"to"` // exclusive
	Log           LogState          `json:"log"`
	Requests      int               `json:"requests"`
	Purposes      map[string]*Tally `json:"purposes"`
	People        map[string]*Tally `json:"people"` // by login
	Denials       int               `json:"denials"`
	Refusals      int               `json:"refusals"`   // attempts that the database refused
	Failures      int               `json:"failures"`   // openings that failed, according to their clients
	Frozen        int64             `json:"frozen"`     // rows of all intents: the most that can have been seen
	Rows          int64             `json:"rows"`       // rows opened, according to the clients
	Openings      []*Opening        `json:"openings"`   // that began between From and To, oldest first
	Unfinished    []string          `json:"unfinished"` // requests whose intent has no outcome: rows may have been seen
	BreakGlass    []BreakGlass      `json:"breakglass"`
	PolicyChanges []PolicyChange    `json:"policy_changes"`
	Grants        []GrantChange     `json:"grants"`       // roles given and taken, from the log
	Logins        []LoginChange     `json:"logins"`       // groups and AWS principals of logins
	ByHand        []keys.Holder     `json:"held_by_hand"` // held now, and never granted through the log
	Keys          []KeyAge          `json:"keys"`
	Rotation      []auditlog.Leaf   `json:"rotation"`   // leaves about the vault's keys
	ClockBack     []int64           `json:"clock_back"` // leaves dated earlier than the one before them
	KMS           *KMSReport        `json:"kms,omitempty"`

	openings  map[string]*Opening // by request, whenever they began
	approvers map[string][]string // by request

	claims     []*KMSClaim // calls to KMS that openings logged
	principals []principal
}

// Opening is an intent and, if it is there, its outcome.
type Opening struct {
	Request    string     `json:"request"`
	Began      time.Time  `json:"began"`
	Ended      *time.Time `json:"ended"` // nil: no outcome
	Requester  string     `json:"requester"`
	Approvers  []string   `json:"approvers"` // each with its group; none: break-glass, or a policy without approvals
	Purpose    string     `json:"purpose"`
	Ticket     string     `json:"ticket"`
	Dataset    string     `json:"dataset"`
	Frozen     int64      `json:"frozen"`
	Rows       int64      `json:"rows"`
	Result     string     `json:"result"`
	BreakGlass bool       `json:"breakglass"`

	dataKeys map[string]bool // ids, as KMS's contexts write them
}

// PolicyChange is one change of a setting of the policy.
type PolicyChange struct {
	Leaf  int64     `json:"leaf"`
	At    time.Time `json:"at"`
	Actor string    `json:"actor"`
	Name  string    `json:"name"`
	Old   *string   `json:"old"`
	New   *string   `json:"new"`
}

// GrantChange is a role given to a login or taken from it.
type GrantChange struct {
	Leaf  int64     `json:"leaf"`
	At    time.Time `json:"at"`
	Actor string    `json:"actor"`
	Act   string    `json:"act"` // grant, revoke
	What  string    `json:"what"`
}

// LoginChange is a change of what the vault knows of a login beside its roles.
type LoginChange struct {
	What string `json:"what"` // group, principal
	PolicyChange
}

// LogState says whether the log verifies, and how much of it checkpoints cover.
type LogState struct {
	Size     int64  `json:"size"`
	Root     string `json:"root"`
	Verified bool   `json:"verified"`
	Covered  int64  `json:"covered"` // leaves under the newest checkpoint
	Problem  string `json:"problem,omitempty"`
}

// Tally counts what one person did, or what was done for one purpose.
type Tally struct {
	Requests  int   `json:"requests"`
	Approvals int   `json:"approvals"`
	Denials   int   `json:"denials"`
	Openings  int   `json:"openings"`
	Frozen    int64 `json:"frozen"` // see [Report]
	Rows      int64 `json:"rows"`
}

// BreakGlass is an emergency request: it needed no approval.
type BreakGlass struct {
	Request  string    `json:"request"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
	Purpose  string    `json:"purpose"`
	Ticket   string    `json:"ticket"`
	Reviewed string    `json:"reviewed"` // by whom; empty: nobody yet
}

// newReport makes an empty report. Its lists are not nil, so that JSON has [] and not null.
func newReport(from, to time.Time) *Report {
	return &Report{
		From: from, To: to, Purposes: map[string]*Tally{}, People: map[string]*Tally{},
		Openings: []*Opening{}, Unfinished: []string{}, BreakGlass: []BreakGlass{}, PolicyChanges: []PolicyChange{},
		Grants: []GrantChange{}, Logins: []LoginChange{}, ByHand: []keys.Holder{},
		Keys: []KeyAge{}, Rotation: []auditlog.Leaf{}, ClockBack: []int64{},
		openings: map[string]*Opening{}, approvers: map[string][]string{},
	}
}

// MakeReport reads the whole log, verifies it against checkpoints (which may be none), and counts
// the leaves from one time until before another. Its login needs the role auditor, approver or
// witness.
func (c *Client) MakeReport(
	ctx context.Context, from, to time.Time, checkpoints []auditlog.Checkpoint,
) (*Report, error) {
	r := newReport(from, to)
	var last time.Time
	state, err := auditlog.Verify(ctx, auditlog.Log{DB: c.Vault.DB}.Leaves(), checkpoints, func(text []byte) error {
		leaf, err := auditlog.ParseLeaf(text)
		if err != nil {
			return fmt.Errorf("%w: %w", auditlog.ErrInvalid, err)
		}
		if leaf.TS.Before(last) {
			r.ClockBack = append(r.ClockBack, leaf.Seq)
		}
		last = leaf.TS
		r.add(leaf)
		return nil
	})
	r.Log = LogState{
		Size: state.Size, Root: base64.StdEncoding.EncodeToString(state.Root[:]),
		Verified: err == nil && len(checkpoints) > 0, Covered: state.Covered,
	}
	if err != nil {
		if !errors.Is(err, auditlog.ErrInvalid) {
			return nil, err
		}
		r.Log.Problem = err.Error()
	}
	for _, o := range r.Openings {
		if o.Ended == nil {
			r.Unfinished = append(r.Unfinished, o.Request)
		}
	}
	if err := c.keyAges(ctx, r); err != nil {
		return r, err
	}
	holders, err := keys.Holders(ctx, c.Vault.DB)
	for _, h := range holders {
		if h.GrantedBy == nil {
			r.ByHand = append(r.ByHand, h)
		}
	}
	return r, err
}

// within reports whether a time is in the report's span.
func (r *Report) within(t time.Time) bool { return !t.Before(r.From) && t.Before(r.To) }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func tally(m map[string]*Tally, key string) *Tally {
	if m[key] == nil {
		m[key] = &Tally{}
	}
	return m[key]
}

// add counts one leaf. It keeps every intent and approval, because what ends between From and To
// may have begun before.
func (r *Report) add(l auditlog.Leaf) {
	request := text(l.Request)
	switch l.Type {
	case "approve":
		approver := l.Actor
		if group, ok := strings.CutPrefix(text(l.Result), "of group "); ok {
			approver += " (" + group + ")"
		}
		r.approvers[request] = append(r.approvers[request], approver)
	case "intent":
		r.addIntent(request, l)
	case "opened", "failed":
		// The first outcome counts.
		if o := r.openings[request]; o != nil && o.Ended == nil {
			o.Ended, o.Rows, o.Result = &l.TS, number(l.Rows), text(l.Result)
		}
	case "kms":
		r.addClaims(l)
	case "principal":
		r.addPrincipal(l)
	case "latekey":
		for _, k := range l.DataKeys {
			if o := r.openings[request]; o != nil {
				o.dataKeys[strconv.FormatInt(k, 10)] = true
			}
		}
	case "review":
		for i := range r.BreakGlass {
			if r.BreakGlass[i].Request == request {
				r.BreakGlass[i].Reviewed = l.Actor
			}
		}
	}
	if r.within(l.TS) {
		r.count(l, tally(r.People, l.Actor))
	}
}

// addIntent begins an opening. A second intent of the same request never comes from an honest log;
// it replaces the first, and both count in Frozen.
func (r *Report) addIntent(request string, l auditlog.Leaf) {
	o := &Opening{
		Request: request, Began: l.TS, Requester: l.Actor, Approvers: append([]string{}, r.approvers[request]...),
		Purpose: text(l.Purpose), Ticket: text(l.Ticket), Dataset: text(l.Dataset), Frozen: number(l.Rows),
		dataKeys: map[string]bool{},
	}
	for _, b := range r.BreakGlass {
		o.BreakGlass = o.BreakGlass || b.Request == request
	}
	for _, k := range l.DataKeys {
		o.dataKeys[strconv.FormatInt(k, 10)] = true
	}
	r.openings[request] = o
	if r.within(o.Began) {
		r.Openings = append(r.Openings, o)
	}
}

func number(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// PolicyChangeOf reads a leaf of type policy, group or principal: its fields are the setting's name, or login and
// role, its result the old and the new value in JSON.
func PolicyChangeOf(l auditlog.Leaf) PolicyChange {
	change := PolicyChange{Leaf: l.Seq, At: l.TS, Actor: l.Actor, Name: strings.Join(l.Fields, ",")}
	var values struct{ Old, New *string }
	if json.Unmarshal([]byte(text(l.Result)), &values) == nil {
		change.Old, change.New = values.Old, values.New
	}
	return change
}

// count adds a leaf between From and To to the sums. What no case names is about keys: a new type
// of leaf shows up in Rotation instead of being dropped.
func (r *Report) count(l auditlog.Leaf, person *Tally) {
	rows := number(l.Rows)
	switch l.Type {
	case "request", "breakglass":
		r.Requests++
		person.Requests++
		tally(r.Purposes, text(l.Purpose)).Requests++
		if l.Type == "breakglass" {
			r.BreakGlass = append(r.BreakGlass, BreakGlass{
				Request: text(l.Request), Actor: l.Actor, At: l.TS, Purpose: text(l.Purpose), Ticket: text(l.Ticket),
			})
		}
	case "approve":
		person.Approvals++
		tally(r.Purposes, text(l.Purpose)).Approvals++
	case "deny":
		r.Denials++
		person.Denials++
		tally(r.Purposes, text(l.Purpose)).Denials++
	case "intent":
		r.Frozen += rows
		person.Frozen += rows
		tally(r.Purposes, text(l.Purpose)).Frozen += rows
	case "opened":
		r.Rows += rows
		for _, t := range []*Tally{person, tally(r.Purposes, text(l.Purpose))} {
			t.Openings++
			t.Rows += rows
		}
	case "refused":
		r.Refusals++
	case "failed":
		r.Failures++
	case "policy":
		r.PolicyChanges = append(r.PolicyChanges, PolicyChangeOf(l))
	case "grant", "revoke":
		r.Grants = append(r.Grants, GrantChange{Leaf: l.Seq, At: l.TS, Actor: l.Actor, Act: l.Type, What: text(l.Result)})
	case "group", "principal":
		r.Logins = append(r.Logins, LoginChange{What: l.Type, PolicyChange: PolicyChangeOf(l)})
	case "expire", "review", "checkpoint", "kms", "latekey":
	default:
		r.Rotation = append(r.Rotation, l)
	}
}

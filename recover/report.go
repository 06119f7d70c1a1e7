package recover

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"cloakroom/internal/pg"
	"cloakroom/recover/auditlog"
)

// Report says who asked for what, who allowed it, what was opened and how old the keys are, out of the audit log.
type Report struct {
	From       time.Time         `json:"from"`
	To         time.Time         `json:"to"`
	Log        LogState          `json:"log"`
	Requests   int               `json:"requests"`
	Purposes   map[string]*Tally `json:"purposes"`
	People     map[string]*Tally `json:"people"` // by login
	Denials    int               `json:"denials"`
	Refusals   int               `json:"refusals"`   // attempts that the database refused
	Failures   int               `json:"failures"`   // openings that failed, as their clients said
	Frozen     int64             `json:"frozen"`     // rows announced by intents: the most that was handed out, whatever a client said of it
	Rows       int64             `json:"rows"`       // opened, as the openings' clients said
	Unfinished []string          `json:"unfinished"` // requests whose intent has no outcome: take their rows for seen
	BreakGlass []BreakGlass      `json:"breakglass"`
	Keys       []KeyAge          `json:"keys"`
	Rotation   []auditlog.Leaf   `json:"rotation"`   // leaves of the vault's keys and policy
	ClockBack  []int64           `json:"clock_back"` // leaves dated earlier than the one before them
	KMS        *KMSReport        `json:"kms,omitempty"`
	openings   map[string]*opened
}

// LogState says whether the log verifies, and against what.
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

// BreakGlass is a request that needed no approval.
type BreakGlass struct {
	Request  string    `json:"request"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
	Purpose  string    `json:"purpose"`
	Ticket   string    `json:"ticket"`
	Reviewed string    `json:"reviewed"` // by whom; empty: by nobody yet
}

// KeyAge is how old a key is.
type KeyAge struct {
	Kind       string     `db:"kind" json:"kind"` // index, data
	ID         int        `db:"id" json:"id"`
	Month      *time.Time `db:"month" json:"month,omitempty"`
	State      string     `db:"state" json:"state"`
	KEK        string     `db:"kek" json:"kek"`
	CreatedAt  time.Time  `db:"created_at" json:"created_at"`
	ClosedAt   *time.Time `db:"closed_at" json:"closed_at,omitempty"`
	RetiredAt  *time.Time `db:"retired_at" json:"retired_at,omitempty"`
	ShreddedAt *time.Time `db:"shredded_at" json:"shredded_at,omitempty"`
	MaxAge     float64    `db:"max_age" json:"-"` // seconds
	Overdue    bool       `json:"overdue"`        // older than the policy lets it be, and still needed
}

// opened is an intent and, once it is there, its outcome.
type opened struct {
	began time.Time
	ended time.Time // zero: no outcome
	keys  map[int64]bool
}

// MakeReport reads the whole log, verifies it against checkpoints (which may be none), and counts what lies between two
// times. Its login needs the role auditor, approver or witness.
func (c *Client) MakeReport(ctx context.Context, from, to time.Time, checkpoints []auditlog.Checkpoint) (*Report, error) {
	r := &Report{
		From: from, To: to, Purposes: map[string]*Tally{}, People: map[string]*Tally{}, openings: map[string]*opened{},
		Unfinished: []string{}, BreakGlass: []BreakGlass{}, Keys: []KeyAge{}, Rotation: []auditlog.Leaf{}, ClockBack: []int64{},
	}
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
	r.Log = LogState{Size: state.Size, Root: base64.StdEncoding.EncodeToString(state.Root[:]), Verified: err == nil && len(checkpoints) > 0, Covered: state.Covered}
	if err != nil {
		if !errors.Is(err, auditlog.ErrInvalid) {
			return nil, err
		}
		r.Log.Problem = err.Error()
	}
	for id, o := range r.openings {
		if o.ended.IsZero() && r.within(o.began) {
			r.Unfinished = append(r.Unfinished, id)
		}
	}
	return r, c.keyAges(ctx, r)
}

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

// add counts one leaf. Intents are kept whenever they were: what ends within the time may have begun before.
func (r *Report) add(l auditlog.Leaf) {
	request := text(l.Request)
	switch l.Type {
	case "intent":
		o := &opened{began: l.TS, keys: map[int64]bool{}}
		for _, k := range l.DataKeys {
			o.keys[k] = true
		}
		r.openings[request] = o
	case "opened", "failed":
		// The first outcome counts, and a refused attempt is none: it names no purpose.
		if o := r.openings[request]; o != nil && o.ended.IsZero() && l.Purpose != nil {
			o.ended = l.TS
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

func (r *Report) count(l auditlog.Leaf, person *Tally) {
	rows := int64(0)
	if l.Rows != nil {
		rows = *l.Rows
	}
	switch l.Type {
	case "request", "breakglass":
		r.Requests++
		person.Requests++
		tally(r.Purposes, text(l.Purpose)).Requests++
		if l.Type == "breakglass" {
			r.BreakGlass = append(r.BreakGlass, BreakGlass{Request: text(l.Request), Actor: l.Actor, At: l.TS, Purpose: text(l.Purpose), Ticket: text(l.Ticket)})
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
	case "failed":
		if l.Purpose == nil {
			r.Refusals++
		} else {
			r.Failures++
		}
	case "expire", "review", "checkpoint":
	default:
		r.Rotation = append(r.Rotation, l)
	}
}

func (c *Client) keyAges(ctx context.Context, r *Report) error {
	err := c.Vault.DB.SelectContext(ctx, &r.Keys, `
		SELECT kind, id, month, state, kek, created_at, closed_at, retired_at, shredded_at, extract(epoch FROM max_age)::float8 AS max_age
		  FROM cloakroom.key_ages()`)
	if err != nil {
		return fmt.Errorf("reading the keys' ages: %w", pg.Redact(err))
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		inUse := k.State == "active" || k.State == "closed" || k.State == "live"
		k.Overdue = inUse && time.Since(k.CreatedAt) > time.Duration(k.MaxAge*float64(time.Second))
	}
	return nil
}

// Package trial says what would become of events under a definition, without a vault: which are stored, how each member
// would stand in its row, and which are rejected and why.
//
// Values are sealed and tokens made by the code that ingest uses, under keys that are made for the trial and thrown
// away. A sealed value is never shown, only its length; equal tokens get equal labels (t1, t2), so that what would meet
// can be seen.
//
// What only a vault knows is left out: its window of days (bad_date), what is stored already, and what Postgres refuses
// (db_data).
package trial

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
)

// maxLabels is how many tokens of an index get a label, and how many rows are remembered. Further ones are shown by the
// begin of the token, and counted as different.
const maxLabels = 200_000

// Cell is what a row has in one column of the view, or what it seals.
type Cell struct {
	Column string `json:"column"`
	// Kind is clear, null, sealed, token, none (the token of a value that means "none") or reveal.
	Kind  string `json:"kind"`
	Value string `json:"value,omitempty"` // of clear and reveal; of a token its label
	Bytes int    `json:"bytes,omitempty"` // of a sealed value
}

// Kinds of cells.
const (
	Clear  = "clear"
	Null   = "null"
	Sealed = "sealed"
	Token  = "token"
	None   = "none"
	Reveal = "reveal"
)

// Drop is an optional member that would be NULL because it cannot be read.
type Drop struct {
	Member string         `json:"member"`
	Reason dataset.Reason `json:"reason"`
}

// Outcome is what would become of one event.
type Outcome struct {
	Line int64 `json:"line"`
	// Outcome is stored, duplicate or rejected.
	Outcome string         `json:"outcome"`
	Reason  dataset.Reason `json:"reason,omitempty"`
	Member  string         `json:"member,omitempty"`  // at fault
	SameAs  int64          `json:"same_as,omitempty"` // of a duplicate: the line that would be stored
	Row     []Cell         `json:"row,omitempty"`
	Dropped []Drop         `json:"dropped,omitempty"`
}

// What an outcome is.
const (
	Stored    = "stored"
	Duplicate = "duplicate"
	Rejected  = "rejected"
)

// Trial tries events. It is not for concurrent use.
type Trial struct {
	dataset *dataset.Dataset
	decoder *dataset.Decoder
	tokens  *dataset.Tokeniser
	indexes []dataset.Index
	key     *envelope.Key
	scratch envelope.Scratch
	labels  []map[string]int // by index
	rows    map[rowKey]int64 // of datasets with an id: the line
	sealed  []byte
}

// rowKey is what makes two events of a dataset with an id the same one.
type rowKey struct {
	id uuid.UUID
	at int64 // microseconds
}

// New begins a trial.
func New(d *dataset.Dataset) (*Trial, error) {
	t := &Trial{dataset: d, decoder: dataset.NewDecoder(d), indexes: d.Indexes(), rows: map[rowKey]int64{}}
	secret := make([]byte, envelope.KeySize)
	_, _ = rand.Read(secret) // it never fails
	var err error
	if t.key, err = envelope.NewKey(1, secret); err != nil {
		return nil, fmt.Errorf("preparing a trial: %w", err)
	}
	_, _ = rand.Read(secret)
	var subkeys []*blindindex.Subkey
	for _, ix := range t.indexes {
		subkey, err := blindindex.Derive(secret, d.Name, ix.Member.Name, ix.Transform, 1)
		if err != nil {
			return nil, fmt.Errorf("preparing a trial: %w", err)
		}
		subkeys = append(subkeys, subkey)
		t.labels = append(t.labels, map[string]int{})
	}
	clear(secret)
	if t.tokens, err = dataset.NewTokeniser(d, subkeys); err != nil {
		return nil, fmt.Errorf("preparing a trial: %w", err)
	}
	return t, nil
}

// Try says what would become of an event. line is where it stood.
func (t *Trial) Try(line int64, body []byte) (Outcome, error) {
	out := Outcome{Line: line, Outcome: Stored}
	e, rejection := t.decoder.Decode(body)
	if rejection.Reason != "" {
		return rejected(out, rejection), nil
	}
	for _, d := range e.Dropped {
		out.Dropped = append(out.Dropped, Drop{t.dataset.Members[d.Member].Name, d.Reason})
	}
	index := 0
	for i := range t.dataset.Members {
		m, v := &t.dataset.Members[i], &e.Values[i]
		if m.Protect == nil {
			out.Row = append(out.Row, clearCells(m, v)...)
			continue
		}
		cells, rejection, err := t.protected(e, i, index)
		if err != nil || rejection.Reason != "" {
			return rejected(out, rejection), err
		}
		index += len(m.Protect.Indexes)
		out.Row = append(out.Row, cells...)
	}
	t.putLabels(out.Row)
	t.findSame(&out, e)
	return out, nil
}

// putLabels replaces the tokens of an event that would be stored: one that is rejected leaves no label behind.
func (t *Trial) putLabels(row []Cell) {
	index := 0
	for i := range row {
		switch row[i].Kind {
		case Null: // of all that a protected member has
			if m, ok := t.dataset.Member(row[i].Column); ok && m.Protect != nil {
				index += len(m.Protect.Indexes)
			}
		case Token:
			row[i].Value = t.label(index, row[i].Value)
			index++
		case None:
			index++
		}
	}
}

func rejected(out Outcome, r dataset.Rejection) Outcome {
	return Outcome{Line: out.Line, Outcome: Rejected, Reason: r.Reason, Member: r.Member}
}

// clearCells are those of a member in clear. A version has its number and its text.
func clearCells(m *dataset.Member, v *dataset.Value) []Cell {
	cell := Cell{Column: m.Name, Kind: Clear, Value: string(v.Canonical)}
	if m.Type == dataset.Version {
		text := Cell{Column: m.TextColumn(), Kind: Clear, Value: string(v.Text)}
		cell.Value = fmt.Sprint(v.Version)
		if !v.HasVersion {
			cell = Cell{Column: m.Name, Kind: Null}
		}
		if v.Null {
			text = Cell{Column: text.Column, Kind: Null}
		}
		return []Cell{cell, text}
	}
	if v.Null {
		cell = Cell{Column: m.Name, Kind: Null}
	}
	return []Cell{cell}
}

// protected are the cells of a protected member. index is the position of its first index.
func (t *Trial) protected(e *dataset.Event, at, index int) ([]Cell, dataset.Rejection, error) {
	m, v := &t.dataset.Members[at], &e.Values[at]
	if v.Null {
		return []Cell{{Column: m.Name, Kind: Null}}, dataset.Rejection{}, nil
	}
	place := envelope.Place{
		Vault: uuid.UUID{1}, Dataset: t.dataset.Name, Field: m.Name, Row: uuid.UUID{1}, Date: "2026-01-01",
		Subject: string(e.Subject),
	}
	var err error
	if t.sealed, err = t.key.Seal(t.sealed[:0], &t.scratch, &place, m.Protect.Pad, v.Text); err != nil {
		return nil, dataset.Rejection{}, fmt.Errorf("sealing %s: %w", m.Name, err)
	}
	cells := []Cell{{Column: m.Name, Kind: Sealed, Bytes: len(t.sealed)}}
	if m.Protect.Reveal != "" {
		cell := Cell{Column: m.RevealColumn(), Kind: Null}
		if shown, ok := t.tokens.AppendReveal(nil, at, v.Text); ok {
			cell.Kind, cell.Value = Reveal, string(shown)
		}
		cells = append(cells, cell)
	}
	for i := range m.Protect.Indexes {
		token, reason, err := t.tokens.AppendToken(nil, index+i, v.Text)
		if err != nil || reason != "" {
			return nil, dataset.Rejection{Reason: reason, Member: m.Name}, err
		}
		cell := Cell{Column: t.indexes[index+i].ViewColumn(), Kind: Token}
		if string(token) == dataset.NoToken {
			cell.Kind = None
		} else {
			cell.Value = string(token)
		}
		cells = append(cells, cell)
	}
	return cells, dataset.Rejection{}, nil
}

// label is the same for equal tokens of an index.
func (t *Trial) label(index int, token string) string {
	labels := t.labels[index]
	n, known := labels[token]
	if !known {
		if len(labels) >= maxLabels {
			return token[:8]
		}
		n = len(labels) + 1
		labels[token] = n
	}
	return fmt.Sprintf("t%d", n)
}

// findSame finds the event that has the same id and time.
func (t *Trial) findSame(out *Outcome, e *dataset.Event) {
	if t.dataset.ID == "" {
		return
	}
	key := rowKey{e.Row, e.Time.Truncate(time.Microsecond).UnixMicro()}
	if line, known := t.rows[key]; known {
		out.Outcome, out.SameAs = Duplicate, line
	} else if len(t.rows) < maxLabels {
		t.rows[key] = out.Line
	}
}

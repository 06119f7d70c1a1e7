// Package verify checks that what the vault guards is whole: every key unwraps, every row and
// rejection opens, every token is that of its sealed value, and columns, indexes and views are as
// the dataset says.
//
// Call [Run]. It needs the role cloakroom_rotator and changes nothing. Damage is never an error but
// a [Failure] in the report: an error means that Run could not look, because the database or the
// KEK is away.
package verify

import (
	"context"
	"fmt"
	"sync"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// Options say how much to verify.
type Options struct {
	// All verifies everything. Otherwise a sample: one page of each partition, from a random time on, and the first few
	// rejections. Keys, layout and rows without a key are checked in full either way.
	All      bool
	Dataset  string         // rows of this dataset alone; empty: of every one
	Progress func(rows int) // called after each page; may be nil
}

// Failure is one thing that is wrong. It holds no value of any row.
type Failure struct {
	Dataset string `json:"dataset,omitempty"`
	RowID   string `json:"row_id,omitempty"`      // of a rejection, its message's id
	Date    string `json:"create_date,omitempty"` // of a row: with it the row is found, recover request --row --from --to
	Key     string `json:"key,omitempty"`
	Part    string `json:"part,omitempty"` // of the schema
	Field   string `json:"field,omitempty"`
	Problem string `json:"problem"`
}

// Report is what Run did and found. Rows is the sum of Opened, Erased and Mismatched.
type Report struct {
	Keys             int       `json:"keys"` // unwrapped and compared with their key checks
	Rows             int       `json:"rows"`
	Opened           int       `json:"opened"`     // every sealed value opened, every token matched
	Erased           int       `json:"erased"`     // nothing sealed is left in the row
	Mismatched       int       `json:"mismatched"` // rows with a Failure
	Rejections       int       `json:"rejections"`
	RejectionsOpened int       `json:"rejections_opened"`
	Unneeded         []uint32  `json:"unneeded_keys,omitempty"` // closed data keys to retire: nothing needs them
	Failures         []Failure `json:"failures,omitempty"`      // the first maxFailures
	FailureCount     int       `json:"failure_count"`           // all
}

// maxFailures bounds the report's size: a lost KEK makes every row fail.
const maxFailures = 1000

// verifier is one run: what it compares with, and what it found.
type verifier struct {
	vault     *keys.Vault
	settings  keys.Settings
	indexKeys int    // live versions
	building  uint32 // version of the index key whose tokens are being backfilled; 0: none
	ring      *keys.Keyring

	mu     sync.Mutex
	report Report
}

// Run verifies keys, layout, rows and rejections, in this order. If a column is missing it stops after the layout, since no
// row can be read.
func Run(ctx context.Context, v *keys.Vault, o Options) (*Report, error) {
	s, err := v.Settings(ctx)
	if err != nil {
		return nil, err
	}
	w := &verifier{vault: v, settings: s, ring: keys.NewKeyring(v, s, nil)}
	defer w.ring.Close()
	list, err := v.Datasets(ctx)
	if err != nil {
		return nil, err
	}
	var checkers []*datasetChecker
	for _, d := range list {
		c, err := w.newDatasetChecker(ctx, d)
		if err != nil {
			return nil, err
		}
		defer keys.DestroyIndexKeys(c.index)
		w.indexKeys = len(c.index)
		checkers = append(checkers, c)
	}
	if err := v.DB.GetContext(ctx, &w.building, `SELECT coalesce(cloakroom.index_version_in_making(), 0)`); err != nil {
		return nil, fmt.Errorf("looking for a running reindex: %w", pg.Redact(err))
	}
	if err := w.checkKeys(ctx); err != nil {
		return nil, err
	}
	readable, err := w.checkLayout(ctx)
	if err != nil || !readable {
		return &w.report, err
	}
	if err := w.findOrphans(ctx, o.All); err != nil {
		return nil, err
	}
	for _, c := range checkers {
		if o.Dataset != "" && c.dataset.Name != o.Dataset {
			continue
		}
		parts, err := v.Partitions(ctx, c.dataset.Name)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if err := c.checkPartition(ctx, p, o); err != nil {
				return nil, err
			}
		}
	}
	if err := w.checkRejections(ctx, o.All); err != nil {
		return nil, err
	}
	return &w.report, nil
}

// fail adds failures to the report. It is safe for concurrent use.
func (w *verifier) fail(failures ...Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.FailureCount += len(failures)
	room := maxFailures - len(w.report.Failures)
	w.report.Failures = append(w.report.Failures, failures[:min(room, len(failures))]...)
}

func keyName(id uint32) string { return fmt.Sprintf("data key %d", id) }

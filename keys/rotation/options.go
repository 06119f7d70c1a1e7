package rotation

import (
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/keys"
	"cloakroom/keys/verify"
)

// Options tune a step. Zero means the default named beside each field.
type Options struct {
	Dataset   string        // Reseal, Shred: this dataset alone; empty: every one
	Force     bool          // Rotate, Reseal: every data key made before now is due
	DryRun    bool          // report what would be done; change nothing
	Workers   int           // database connections that work on slices: 2
	BatchRows int           // rows in a transaction: 2000
	Rate      float64       // rows a second, all workers together; 0: no limit
	Rest      float64       // while loads run, rest this many times a batch's duration: 4; negative: never
	MaxLag    time.Duration // pause while a standby's replay lags by more; 0: ignore standbys
	PauseFile string        // pause while this file exists
	Patience  time.Duration // how long to wait for locks, outages and old snapshots: 10 min
	// AcceptLeakage is why a new index may give away too much: an entry of the audit log. Empty: it may not.
	AcceptLeakage string
	// Owner connects as cloakroom_owner, for CREATE INDEX CONCURRENTLY, which cannot run in a
	// function. Nil: Reindex builds indexes in functions, during which loads wait; for large
	// partitions it refuses.
	Owner    *sqlx.DB
	Progress func(Progress) // called after each batch, from several goroutines; may be nil
	Log      *slog.Logger   // slog.Default

	hook func(at string) // called before and after each statement; a test kills the process there
}

// Progress is how far a pass over the rows has come.
type Progress struct {
	Step string // reseal, rejections, backfill, check, clear, rewrap
	Done int64  // rows looked at by this run
	Rows int64  // in all, estimated; 0: unknown
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.BatchRows <= 0 {
		o.BatchRows = 2000
	}
	if o.Rest == 0 {
		o.Rest = 4
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.hook == nil {
		o.hook = func(string) {}
	}
	return o
}

// Report is what a run did, even one that failed. In a dry run it is what would be done, as far as
// that is known.
type Report struct {
	DryRun            bool           `json:"dry_run,omitempty"`
	PartitionsMade    int            `json:"partitions_made"`
	Purged            int64          `json:"rejections_purged"`
	Rewrapped         int            `json:"rewrapped"`
	BadKeys           []BadKey       `json:"bad_keys,omitempty"` // left as they are
	Restored          []string       `json:"restored,omitempty"` // keys whose rewrap was undone
	Closed            []uint32       `json:"closed"`             // data keys that may no longer seal
	NewKeys           []uint32       `json:"new_keys"`           // data keys made to reseal
	Due               []uint32       `json:"due"`                // data keys whose values had to be resealed
	Resealed          int64          `json:"resealed"`           // rows
	Rejections        int64          `json:"resealed_rejections"`
	Retired           []uint32       `json:"retired"`
	Kept              []uint32       `json:"kept"` // closed, and still needed
	Shredded          []uint32       `json:"shredded"`
	Cleared           int64          `json:"cleared"` // rows whose sealed values and tokens were cleared
	ClearedRejections int64          `json:"cleared_rejections"`
	Reindexed         *Reindexed     `json:"reindexed,omitempty"`
	Evolved           *Evolved       `json:"evolved,omitempty"`
	Quarantined       []Quarantined  `json:"quarantined,omitempty"`
	Unfinished        []Unfinished   `json:"unfinished,omitempty"` // in a dry run: what an earlier run left
	Verified          *verify.Report `json:"verified,omitempty"`
	Seconds           float64        `json:"seconds"`

	// Leakage is what each index gave away when it was last measured, of a Rotate that measured it.
	Leakage []keys.IndexLeakage `json:"leakage,omitempty"`
}

// Quarantined is a row, or a rejection, that did not open. It holds no value.
type Quarantined struct {
	Dataset   string `db:"dataset" json:"dataset"`
	RowID     string `db:"row_id" json:"row_id"` // of a rejection, its message's id
	Sent      string `db:"sent" json:"sent"`
	Rejection bool   `db:"rejection" json:"rejection"`
	DataKey   uint32 `db:"data_key" json:"data_key"`
	Problem   string `db:"problem" json:"problem"`
}

package rotation

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// indexLeft is a partition whose new token column has no index attached yet.
type indexLeft struct {
	Partition  string `db:"partition"`
	Column     string `db:"col"`
	Name       string `db:"index_name"`
	Bytes      int64  `db:"bytes"`
	Unfinished bool   `db:"unfinished"` // a build was interrupted, or is running
	Ready      bool   `db:"ready"`      // only to be attached
}

// largestBlockingBuild is the largest partition, in bytes, whose index may be built while loads
// wait: about a second.
const largestBlockingBuild = 1 << 30

// indexes gives every partition an index on each new token column. A partition made meanwhile has its own, copied from
// the parent.
func (j *job) indexes(ctx context.Context, rotation int64) error {
	if err := j.ddl(ctx, "preparing indexes", `SELECT cloakroom.reindex_parent_indexes($1)`, rotation); err != nil {
		return err
	}
	for {
		var list []indexLeft
		err := j.call(ctx, "looking for missing indexes", func(s session) error {
			return s.list(ctx, &list, `SELECT * FROM cloakroom.reindex_indexes_left($1)`, rotation)
		})
		if err != nil {
			return err
		}
		for _, at := range list {
			if err := j.index(ctx, `SELECT cloakroom.reindex_index($1, $2, $3, $4)`, rotation, at); err != nil {
				return err
			}
		}
		var left int64
		err = j.tx(ctx, "counting missing indexes", func(s session) error {
			return s.get(ctx, &left, `SELECT cloakroom.finish_indexes($1)`, rotation)
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// index builds one index, unless it is ready, and attaches it by a statement. It first drops what an
// interrupted build left.
func (j *job) index(ctx context.Context, attaching string, rotation int64, at indexLeft) error {
	concurrently := j.o.Owner != nil
	if !concurrently && !at.Ready && at.Bytes > largestBlockingBuild {
		return fmt.Errorf("building index %s: the partition has %d MB, and loads into it would wait: %w; give "+
			"the owner's login (--owner-url), which can build it concurrently",
			at.Name, at.Bytes>>20, keys.ErrUnfinished)
	}
	attach := func(build bool) error {
		return j.ddl(ctx, "attaching index "+at.Name, attaching, rotation, at.Partition, at.Column, build)
	}
	if !concurrently || at.Ready {
		return attach(true)
	}
	// IF NOT EXISTS would take an invalid index for a finished one.
	if at.Unfinished {
		if err := attach(false); err != nil {
			return err
		}
	}
	err := j.again(ctx, "building index "+at.Name, func() error {
		owner := session{j.o.Owner, j.o.hook}
		err := owner.exec(ctx, fmt.Sprintf(`CREATE INDEX CONCURRENTLY IF NOT EXISTS %s ON cloakroom_data.%s (%s)`,
			pq.QuoteIdentifier(at.Name), pq.QuoteIdentifier(at.Partition), pq.QuoteIdentifier(at.Column)))
		if pg.Code(err) == duplicateTable {
			return nil // another rotator built it
		}
		return err
	})
	if err != nil {
		return err
	}
	return attach(false)
}

// duplicateTable is the SQLSTATE of an index that exists, too.
const duplicateTable = "42P07"

package auditlog

import (
	"context"
	"fmt"
	"io"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"golang.org/x/mod/sumdb/tlog"

	"cloakroom/internal/pg"
)

// Log is the audit log in its database. Reading it needs the role auditor, approver, breakglass,
// rotator or witness.
type Log struct{ DB *sqlx.DB }

// readers are roles that may read the log, for hints.
const readers = "auditor, approver or witness"

// Size is the number of leaves.
func (l Log) Size(ctx context.Context) (n int64, err error) {
	if err := l.DB.GetContext(ctx, &n, `SELECT cloakroom.log_size()`); err != nil {
		return 0, fmt.Errorf("reading the audit log: %w", pg.RedactFor(readers, err))
	}
	return n, nil
}

// Numbered is a leaf's text and number.
type Numbered struct {
	Seq  int64  `db:"seq"`
	Leaf []byte `db:"leaf"`
}

// Read reads up to limit leaves from a number on.
func (l Log) Read(ctx context.Context, from int64, limit int) ([]Numbered, error) {
	var page []Numbered
	err := l.DB.SelectContext(ctx, &page, `SELECT seq, leaf FROM cloakroom.log_leaves($1, $2)`, from, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", pg.RedactFor(readers, err))
	}
	return page, nil
}

// Leaves reads the whole log, page by page.
func (l Log) Leaves() Leaves { return &pages{log: l} }

type pages struct {
	log  Log
	next int64
	page []Numbered
}

const pageSize = 1000

func (p *pages) Next(ctx context.Context) ([]byte, error) {
	if len(p.page) == 0 {
		var err error
		if p.page, err = p.log.Read(ctx, p.next, pageSize); err != nil {
			return nil, err
		}
		if len(p.page) == 0 {
			return nil, io.EOF
		}
	}
	leaf := p.page[0]
	if leaf.Seq != p.next {
		return nil, fmt.Errorf("%w: leaf %d is missing", ErrInvalid, p.next)
	}
	p.page, p.next = p.page[1:], p.next+1
	return leaf.Leaf, nil
}

// nodes reads the stored hashes of the tree. Only the database vouches for them, which suffices to
// sign and to prove what it says. Verify computes its own.
func (l Log) nodes(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(ids []int64) ([]tlog.Hash, error) {
		var rows []struct {
			ID   int64  `db:"id"`
			Hash []byte `db:"hash"`
		}
		err := l.DB.SelectContext(ctx, &rows, `SELECT id, hash FROM cloakroom.log_nodes($1)`, pq.Array(ids))
		if err != nil {
			return nil, fmt.Errorf("reading the audit log's tree: %w", pg.RedactFor(readers, err))
		}
		byID := map[int64]tlog.Hash{}
		for _, r := range rows {
			if len(r.Hash) == tlog.HashSize {
				byID[r.ID] = tlog.Hash(r.Hash)
			}
		}
		out := make([]tlog.Hash, len(ids))
		for i, id := range ids {
			h, ok := byID[id]
			if !ok {
				return nil, fmt.Errorf("%w: hash %d of its tree is missing", ErrInvalid, id)
			}
			out[i] = h
		}
		return out, nil
	})
}

package verify

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// rowPage is how many rows are in memory at a time, whatever the table's size.
const rowPage = 2000

// datasetChecker checks the rows of one dataset.
type datasetChecker struct {
	*verifier
	dataset   *dataset.Dataset
	protected []*dataset.Member
	indexes   [][]int         // of each protected member, positions of its indexes
	versions  []int32         // of the index key
	index     []keys.IndexKey // its subkeys, by version
}

func (w *verifier) newDatasetChecker(ctx context.Context, d *dataset.Dataset) (*datasetChecker, error) {
	index, err := w.vault.IndexKeys(ctx, w.settings, d)
	if err != nil {
		return nil, err
	}
	c := &datasetChecker{verifier: w, dataset: d, protected: d.Protected(), index: index}
	for _, k := range index {
		c.versions = append(c.versions, int32(k.Version))
	}
	for _, m := range c.protected {
		var at []int
		for n, ix := range d.Indexes() {
			if ix.Member.Name == m.Name {
				at = append(at, n)
			}
		}
		c.indexes = append(c.indexes, at)
	}
	return c, nil
}

// checkPartition checks all rows of a partition, or without o.All one page from a random time on.
func (w *datasetChecker) checkPartition(ctx context.Context, p keys.Partition, o Options) error {
	before := p.From.Add(-time.Microsecond)
	after, afterID := before, uuid.Max
	if !o.All {
		after = p.From.Add(rand.N(p.To.Sub(p.From)))
	}
	var page []keys.Row
	for {
		var err error
		page, err = w.read(ctx, page[:0], p, after, afterID)
		if err == nil && len(page) == 0 && !o.All {
			page, err = w.read(ctx, page[:0], p, before, afterID) // no row is that late: from the first one on
		}
		if err != nil {
			return err
		}
		if err := w.checkPage(ctx, page); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(w.report.Rows)
		}
		if len(page) < rowPage || !o.All {
			return nil
		}
		after, afterID = page[len(page)-1].Sent, page[len(page)-1].ID
	}
}

// read appends the page of a partition behind a row.
func (w *datasetChecker) read(
	ctx context.Context, page []keys.Row, p keys.Partition, after time.Time, afterID uuid.UUID,
) ([]keys.Row, error) {
	found, err := w.vault.DB.QueryContext(ctx, `SELECT `+keys.RowColumns+` FROM cloakroom.scan_rows($1, $2, $3, $4, $5, $6)`,
		w.dataset.Name, p.From.Format(time.DateOnly), after, afterID, pq.Int32Array(w.versions), rowPage)
	if err != nil {
		return page, fmt.Errorf("reading rows: %w", pg.Redact(err))
	}
	return keys.AppendRows(page, found, len(w.versions))
}

func (w *datasetChecker) checkPage(ctx context.Context, page []keys.Row) error {
	group, ctx := errgroup.WithContext(ctx)
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		rows := page[part*len(page)/parts : (part+1)*len(page)/parts]
		group.Go(func() error { return w.checkRows(ctx, rows) })
	}
	return group.Wait()
}

func (w *datasetChecker) checkRows(ctx context.Context, rows []keys.Row) error {
	c, err := newRowChecker(w)
	if err != nil {
		return err
	}
	var opened, erased, mismatched int
	for i := range rows {
		failures, err := c.check(ctx, &rows[i])
		switch {
		case err != nil:
			return err
		case len(failures) > 0:
			mismatched++
			w.fail(failures...)
		case !rows[i].DataKey.Valid:
			erased++
		default:
			opened++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Rows += len(rows)
	w.report.Opened += opened
	w.report.Erased += erased
	w.report.Mismatched += mismatched
	return nil
}

// rowChecker opens rows and recomputes their tokens. It reuses its buffers: use one a goroutine.
type rowChecker struct {
	*datasetChecker
	makers  []*dataset.Tokeniser // by version
	scratch envelope.Scratch
	text    []byte
	token   []byte
}

func newRowChecker(w *datasetChecker) (*rowChecker, error) {
	c := &rowChecker{datasetChecker: w}
	for _, k := range w.index {
		maker, err := dataset.NewTokeniser(w.dataset, k.Subkeys)
		if err != nil {
			return nil, err
		}
		c.makers = append(c.makers, maker)
	}
	return c, nil
}

// failure is one of a row.
func (c *rowChecker) failure(r *keys.Row, field, problem string) Failure {
	return Failure{Dataset: c.dataset.Name, RowID: r.ID.String(), Date: r.Date.Format(time.DateOnly), Field: field,
		Problem: problem}
}

// check says what is wrong with a row. The error is an outage, never damage.
func (c *rowChecker) check(ctx context.Context, r *keys.Row) (failures []Failure, err error) {
	if !r.DataKey.Valid {
		return c.checkErased(r), nil
	}
	key, err := c.ring.Key(ctx, uint32(r.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		f := c.failure(r, "", problem)
		f.Key = keyName(uint32(r.DataKey.Int32))
		return []Failure{f}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { clear(c.text) }()
	for i, m := range c.protected {
		if problem := c.checkField(key, r, i); problem != "" {
			failures = append(failures, c.failure(r, m.Name, problem))
		}
	}
	return failures, nil
}

// checkErased looks for tokens: one that outlives its sealed value still tells who has the same
// value.
func (c *rowChecker) checkErased(r *keys.Row) (failures []Failure) {
	for v := range r.Tokens {
		for n, t := range r.Tokens[v] {
			if t.Valid {
				failures = append(failures, c.failure(r, c.dataset.Indexes()[n].Member.Name, "the row is erased, but a token is left"))
			}
		}
	}
	return failures
}

// checkField says what is wrong with member i's sealed value or its tokens; empty: nothing.
func (c *rowChecker) checkField(key *envelope.Key, r *keys.Row, i int) string {
	m := c.protected[i]
	if r.Sealed[i] == nil {
		if m.Required {
			return "nothing is sealed, though the row has a data key"
		}
		for v := range c.index {
			for _, n := range c.indexes[i] {
				if r.Tokens[v][n].Valid {
					return fmt.Sprintf("there is a token of version %d and no sealed value", c.versions[v])
				}
			}
		}
		return ""
	}
	place := r.Place(c.settings.ID, c.dataset, m.Name)
	var err error
	if c.text, err = key.Open(c.text[:0], &c.scratch, &place, m.Protect.Pad, r.Sealed[i]); err != nil {
		problem, _ := keys.DataProblem(err)
		return cmp.Or(problem, err.Error())
	}
	for v, k := range c.index {
		for _, n := range c.indexes[i] {
			stored := r.Tokens[v][n]
			if !stored.Valid && k.Version == c.building {
				continue // the backfill has not reached this row
			}
			var reason dataset.Reason
			if c.token, reason, err = c.makers[v].AppendStored(c.token[:0], n, c.text); err != nil || reason != "" {
				return fmt.Sprintf("the value cannot be normalised for version %d", k.Version)
			}
			if !stored.Valid || !dataset.SameToken(stored.String, string(c.token)) {
				return fmt.Sprintf("the token of version %d is not that of the sealed value", k.Version)
			}
		}
	}
	return ""
}

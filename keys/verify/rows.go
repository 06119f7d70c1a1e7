package verify

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// rowPage is how many rows are in memory at a time, whatever the table's size.
const rowPage = 2000

// checkMonth checks all rows of a month, or without o.All one page from a random row on.
func (w *verifier) checkMonth(ctx context.Context, month time.Time, o Options) error {
	var versions []uint32
	for _, k := range w.index {
		versions = append(versions, k.Version)
	}
	query := `SELECT ` + keys.RowColumns(w.dataset, versions) + ` FROM cloakroom.scan_rows($1, $2, $3, $4)`
	after, afterDate := uuid.UUID{}, month.AddDate(0, 0, -1)
	if !o.All {
		after = uuid.New() // ids are random, so any run of them is a fair sample
	}
	var page []keys.Row
	for {
		found, err := w.vault.DB.QueryContext(ctx, query,
			month.Format(time.DateOnly), after, afterDate.Format(time.DateOnly), rowPage)
		if err != nil {
			return fmt.Errorf("reading rows: %w", pg.Redact(err))
		}
		if page, err = keys.AppendRows(page[:0], found, len(w.protected), len(versions)); err != nil {
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
		after, afterDate = page[len(page)-1].ID, page[len(page)-1].Date
	}
}

// checkPage checks the rows of a page on all cores: opening and hashing cost more than reading.
func (w *verifier) checkPage(ctx context.Context, page []keys.Row) error {
	group, ctx := errgroup.WithContext(ctx)
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		rows := page[part*len(page)/parts : (part+1)*len(page)/parts]
		group.Go(func() error { return w.checkRows(ctx, rows) })
	}
	return group.Wait()
}

// checkRows checks rows and adds them to the report at once, so that it never counts half a page.
func (w *verifier) checkRows(ctx context.Context, rows []keys.Row) error {
	c := newRowChecker(w)
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
	*verifier
	hashers [][]*blindindex.Hasher // by version, then by member
	scratch envelope.Scratch
	text    []byte
	token   []byte
}

func newRowChecker(w *verifier) *rowChecker {
	c := &rowChecker{verifier: w}
	for _, k := range w.index {
		c.hashers = append(c.hashers, k.NewHashers())
	}
	return c
}

// check says what is wrong with a row. The error is an outage, never damage.
func (c *rowChecker) check(ctx context.Context, r *keys.Row) (failures []Failure, err error) {
	if !r.DataKey.Valid {
		return c.checkErased(r), nil
	}
	key, err := c.ring.Key(ctx, uint32(r.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		return []Failure{{MessageID: r.ID.String(), Key: keyName(uint32(r.DataKey.Int32)), Problem: problem}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { clear(c.text) }()
	for i, m := range c.protected {
		if problem := c.checkField(key, r, i); problem != "" {
			failures = append(failures, Failure{MessageID: r.ID.String(), Field: m.Name, Problem: problem})
		}
	}
	return failures, nil
}

// checkErased looks for tokens: one that outlives its sealed value still tells who has the same
// value.
func (c *rowChecker) checkErased(r *keys.Row) (failures []Failure) {
	for v := range r.Tokens {
		for i, t := range r.Tokens[v] {
			if t.Valid {
				failures = append(failures, Failure{MessageID: r.ID.String(), Field: c.protected[i].Name,
					Problem: "the row is erased, but a token is left"})
			}
		}
	}
	return failures
}

// checkField says what is wrong with member i's sealed value or its tokens; empty: nothing.
func (c *rowChecker) checkField(key *envelope.Key, r *keys.Row, i int) string {
	m := c.protected[i]
	if r.Sealed[i] == nil {
		return "nothing is sealed, though the row has a data key"
	}
	place := r.Place(c.settings.ID, c.dataset, m.Name)
	var err error
	if c.text, err = key.Open(c.text[:0], &c.scratch, &place, m.Protect.Pad, r.Sealed[i]); err != nil {
		problem, _ := keys.DataProblem(err)
		return cmp.Or(problem, err.Error())
	}
	for v, k := range c.index {
		stored := r.Tokens[v][i]
		if !stored.Valid && k.Version == c.building {
			continue // the backfill has not reached this row
		}
		if c.token, err = c.hashers[v][i].AppendToken(c.token[:0], string(c.text)); err != nil {
			return fmt.Sprintf("the value cannot be normalised for version %d", k.Version)
		}
		if !stored.Valid || !blindindex.EqualToken(stored.String, string(c.token)) {
			return fmt.Sprintf("the token of version %d is not that of the sealed value", k.Version)
		}
	}
	return ""
}

package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys/kek"
)

// Failure is one thing that Verify found wrong. It names no value.
type Failure struct {
	MessageID string `json:"message_id,omitempty"`
	Key       string `json:"key,omitempty"`
	Part      string `json:"part,omitempty"` // of the schema
	Field     string `json:"field,omitempty"`
	Problem   string `json:"problem"`
}

// Verification is what Verify did and found. Every row counted in Rows was opened whole, or has a Failure, or is
// erased. Orphans are looked for among all rows, whatever was opened.
type Verification struct {
	Keys             int       `json:"keys"` // wrapped keys unwrapped and compared with their key checks
	Rows             int       `json:"rows"`
	Opened           int       `json:"opened"`     // rows of which every sealed value opened and every token matched
	Erased           int       `json:"erased"`     // rows with nothing sealed left
	Mismatched       int       `json:"mismatched"` // rows with a Failure
	Rejections       int       `json:"rejections"`
	RejectionsOpened int       `json:"rejections_opened"`
	Unneeded         []uint32  `json:"unneeded_keys,omitempty"` // closed data keys that nothing refers to: keys retire puts them aside
	Failures         []Failure `json:"failures,omitempty"`      // at most maxFailures of them
	FailureCount     int       `json:"failure_count"`
}

// maxFailures bounds how many failures are kept; all are counted.
const maxFailures = 1000

// verifyPage is how many rows are read at a time: memory stays flat whatever the table's size.
const verifyPage = 2000

// VerifyOptions say how much to verify.
type VerifyOptions struct {
	All      bool           // everything; else one page of each month, from a random key on, and the first few rejections
	Progress func(rows int) // called after each page; may be nil
}

type verifier struct {
	vault     *Vault
	settings  Settings
	dataset   *dataset.Dataset
	protected []*dataset.Member
	index     []IndexKey
	making    uint32 // index key version whose tokens not every row has yet; 0: none
	ring      *Keyring

	mu     sync.Mutex
	report Verification
}

// Verify unwraps every key, looks at columns, indexes and views, looks for rows whose key is gone, opens rows and rejections
// and recomputes their tokens. Where a column is missing no row can be read, and none is. What is wrong with the data is in the
// report; an error means that it could not look (the database or the KEK is away).
func (v *Vault) Verify(ctx context.Context, d *dataset.Dataset, o VerifyOptions) (*Verification, error) {
	s, err := v.Settings(ctx)
	if err != nil {
		return nil, err
	}
	w := &verifier{vault: v, settings: s, dataset: d, protected: d.Protected(), ring: NewKeyring(v, s, nil)}
	defer w.ring.Close()
	if w.index, err = v.IndexKeys(ctx, s, d); err != nil {
		return nil, err
	}
	defer DestroyIndexKeys(w.index)
	if err := v.DB.GetContext(ctx, &w.making, `SELECT coalesce(cloakroom.index_version_in_making(), 0)`); err != nil {
		return nil, fmt.Errorf("looking for a reindex under way: %w", pg.Redact(err))
	}
	if err := w.keys(ctx); err != nil {
		return nil, err
	}
	if err := w.unneeded(ctx); err != nil {
		return nil, err
	}
	readable, err := w.layout(ctx)
	if err != nil || !readable {
		return &w.report, err
	}
	if err := w.orphans(ctx, o.All); err != nil {
		return nil, err
	}
	var months []time.Time
	if err := v.DB.SelectContext(ctx, &months, `SELECT month FROM cloakroom.months()`); err != nil {
		return nil, fmt.Errorf("listing months: %w", pg.Redact(err))
	}
	for _, month := range months {
		if err := w.month(ctx, month, o); err != nil {
			return nil, err
		}
	}
	if err := w.rejections(ctx, o); err != nil {
		return nil, err
	}
	return &w.report, nil
}

func (w *verifier) fail(f Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.FailureCount++
	if len(w.report.Failures) < maxFailures {
		w.report.Failures = append(w.report.Failures, f)
	}
}

// Blame says whether an error is the data's own fault, and so a finding, or means that verification cannot go on.
func Blame(err error) (problem string, isData bool) {
	for _, e := range []error{ErrNoKey, ErrKeyCheck, kek.ErrUnwrap} {
		if errors.Is(err, e) {
			return e.Error(), true
		}
	}
	if e := envelope.Damage(err); e != nil {
		return e.Error(), true
	}
	return "", false
}

// keys unwraps every data key that still has wrapped bytes.
func (w *verifier) keys(ctx context.Context) error {
	list, err := w.vault.DataKeys(ctx)
	if err != nil {
		return err
	}
	w.report.Keys = len(w.index)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, k := range list {
		if k.State == "shredded" {
			continue
		}
		w.report.Keys++
		group.Go(func() error {
			_, err := w.ring.Key(ctx, k.ID)
			if problem, isData := Blame(err); isData {
				w.fail(Failure{Key: fmt.Sprintf("data key %d", k.ID), Problem: problem})
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// unneeded lists the closed keys that nothing refers to: they are no fault.
func (w *verifier) unneeded(ctx context.Context) error {
	if err := w.vault.DB.SelectContext(ctx, &w.report.Unneeded, `SELECT data_key FROM cloakroom.retirable_data_keys() WHERE logins + rejections = 0 ORDER BY 1`); err != nil {
		return fmt.Errorf("looking for data keys that nothing refers to: %w", pg.Redact(err))
	}
	return nil
}

// layout checks columns, indexes and views. It reports false where a column is missing without which rows cannot be read.
func (w *verifier) layout(ctx context.Context) (readable bool, err error) {
	var members pq.StringArray
	for _, m := range w.protected {
		members = append(members, m.Name)
	}
	var problems []struct {
		Part       string `db:"part"`
		Problem    string `db:"problem"`
		Unreadable bool   `db:"unreadable"`
	}
	if err := w.vault.DB.SelectContext(ctx, &problems, `SELECT * FROM cloakroom.layout_problems($1)`, members); err != nil {
		return false, fmt.Errorf("looking at columns and views: %w", pg.Redact(err))
	}
	readable = true
	for _, p := range problems {
		w.fail(Failure{Part: p.Part, Problem: p.Problem})
		readable = readable && !p.Unreadable
	}
	return readable, nil
}

// orphans looks for rows and rejections whose data key is gone, or about to go. If all are opened, those whose key is gone are
// found then.
func (w *verifier) orphans(ctx context.Context, all bool) error {
	var list []struct {
		ID      uuid.UUID `db:"message_id"`
		DataKey uint32    `db:"data_key"`
		State   *string   `db:"state"`
	}
	if err := w.vault.DB.SelectContext(ctx, &list, `SELECT message_id, data_key, state FROM cloakroom.orphan_rows($1)`, maxFailures); err != nil {
		return fmt.Errorf("looking for rows whose key is gone: %w", pg.Redact(err))
	}
	for _, r := range list {
		problem := ErrNoKey.Error()
		switch retired := r.State != nil && *r.State == "retired"; {
		case retired:
			problem = "the data key is retired, though this needs it: it will be destroyed"
		case all:
			continue
		}
		w.fail(Failure{MessageID: r.ID.String(), Key: fmt.Sprintf("data key %d", r.DataKey), Problem: problem})
	}
	return nil
}

func (w *verifier) month(ctx context.Context, month time.Time, o VerifyOptions) error {
	var versions []uint32
	for _, k := range w.index {
		versions = append(versions, k.Version)
	}
	query := `SELECT ` + RowColumns(w.dataset, versions) + ` FROM cloakroom.scan_rows($1, $2, $3, $4)`
	after, afterDate := uuid.UUID{}, month.AddDate(0, 0, -1)
	if !o.All {
		after = uuid.New()
	}
	for {
		page, err := w.page(ctx, query, month, after, afterDate)
		if err != nil {
			return err
		}
		if err := w.checkPage(ctx, page); err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(w.report.Rows)
		}
		if len(page) < verifyPage || !o.All {
			return nil
		}
		after, afterDate = page[len(page)-1].ID, page[len(page)-1].Date
	}
}

func (w *verifier) page(ctx context.Context, query string, month time.Time, after uuid.UUID, afterDate time.Time) ([]Row, error) {
	rows, err := w.vault.DB.QueryContext(ctx, query, month.Format(dateLayout), after, afterDate.Format(dateLayout), verifyPage)
	if err != nil {
		return nil, fmt.Errorf("reading rows: %w", pg.Redact(err))
	}
	defer rows.Close()
	var page []Row
	for rows.Next() {
		r, err := ScanRow(rows, len(w.protected), len(w.index))
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading rows: %w", pg.Redact(err))
	}
	return page, nil
}

func (w *verifier) checkPage(ctx context.Context, page []Row) error {
	group, ctx := errgroup.WithContext(ctx)
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		slice := page[part*len(page)/parts : (part+1)*len(page)/parts]
		group.Go(func() error { return w.checkRows(ctx, slice) })
	}
	err := group.Wait()
	w.report.Rows += len(page)
	return err
}

func (w *verifier) checkRows(ctx context.Context, rows []Row) error {
	c := newRowChecker(w)
	var opened, erased, mismatched int
	for i := range rows {
		failures, err := c.check(ctx, &rows[i])
		switch {
		case err != nil:
			return err
		case len(failures) > 0:
			mismatched++
			for _, f := range failures {
				w.fail(f)
			}
		case !rows[i].DataKey.Valid:
			erased++
		default:
			opened++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Opened += opened
	w.report.Erased += erased
	w.report.Mismatched += mismatched
	return nil
}

// rowChecker opens rows and recomputes tokens, reusing its buffers; one a goroutine.
type rowChecker struct {
	*verifier
	hashers [][]*blindindex.Hasher
	scratch envelope.Scratch
	text    []byte
	token   []byte
}

func newRowChecker(w *verifier) *rowChecker {
	c := &rowChecker{verifier: w}
	for _, k := range w.index {
		var hashers []*blindindex.Hasher
		for _, s := range k.Subkeys {
			hashers = append(hashers, s.NewHasher())
		}
		c.hashers = append(c.hashers, hashers)
	}
	return c
}

func (c *rowChecker) check(ctx context.Context, r *Row) ([]Failure, error) {
	defer func() { clear(c.text) }()
	var failures []Failure
	if !r.DataKey.Valid {
		for v := range r.Tokens {
			for i, t := range r.Tokens[v] {
				if t.Valid {
					failures = append(failures, Failure{MessageID: r.ID.String(), Field: c.protected[i].Name, Problem: "the row is erased, but a token is left"})
				}
			}
		}
		return failures, nil
	}
	key, err := c.ring.Key(ctx, uint32(r.DataKey.Int32))
	if problem, isData := Blame(err); isData {
		return []Failure{{MessageID: r.ID.String(), Key: fmt.Sprintf("data key %d", r.DataKey.Int32), Problem: problem}}, nil
	}
	if err != nil {
		return nil, err
	}
	for i, m := range c.protected {
		if problem := c.checkField(key, r, i); problem != "" {
			failures = append(failures, Failure{MessageID: r.ID.String(), Field: m.Name, Problem: problem})
		}
	}
	return failures, nil
}

// checkField says what is wrong with one sealed value and its tokens, or nothing.
func (c *rowChecker) checkField(key *envelope.Key, r *Row, i int) string {
	m := c.protected[i]
	if r.Sealed[i] == nil {
		return "nothing is sealed, though the row has a data key"
	}
	place := r.Place(c.settings.ID, c.dataset, m.Name)
	var err error
	if c.text, err = key.Open(c.text[:0], &c.scratch, &place, m.Protect.Pad, r.Sealed[i]); err != nil {
		problem, _ := Blame(err)
		return problem
	}
	for v := range c.index {
		stored := r.Tokens[v][i]
		if !stored.Valid && c.index[v].Version == c.making {
			continue
		}
		if c.token, err = c.hashers[v][i].AppendToken(c.token[:0], string(c.text)); err != nil {
			return fmt.Sprintf("the value cannot be normalised for version %d", c.index[v].Version)
		}
		if !stored.Valid || !blindindex.EqualToken(stored.String, string(c.token)) {
			return fmt.Sprintf("the token of version %d is not that of the sealed value", c.index[v].Version)
		}
	}
	return ""
}

func (w *verifier) rejections(ctx context.Context, o VerifyOptions) error {
	var after uuid.UUID
	for {
		var page []struct {
			ID      uuid.UUID     `db:"message_id"`
			Sealed  []byte        `db:"sealed_body"`
			DataKey sql.NullInt32 `db:"data_key"`
		}
		err := w.vault.DB.SelectContext(ctx, &page, `SELECT message_id, sealed_body, data_key FROM cloakroom.scan_rejections($1, $2)`, after, rejectionPage)
		if err != nil {
			return fmt.Errorf("reading rejections: %w", pg.Redact(err))
		}
		for _, r := range page {
			w.report.Rejections++
			if !r.DataKey.Valid {
				continue
			}
			key, err := w.ring.Key(ctx, uint32(r.DataKey.Int32))
			if err == nil {
				place := RejectionPlace(w.settings.ID, w.dataset, r.ID)
				_, err = key.Open(nil, nil, &place, dataset.BodyPad, r.Sealed)
			}
			if problem, isData := Blame(err); isData {
				w.fail(Failure{MessageID: r.ID.String(), Field: dataset.BodyField, Problem: problem})
				continue
			}
			if err != nil {
				return err
			}
			w.report.RejectionsOpened++
		}
		if len(page) < rejectionPage || !o.All {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

// rejectionPage is smaller than a page of rows: a rejected body may be 1 MiB.
const rejectionPage = 16

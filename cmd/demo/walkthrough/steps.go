package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/internal/pg"
	"cloakroom/internal/sandbox"
)

// show is the walk-through: it does each step, prints it and notes what has to add up. What it counts it reads from the
// database and from the queue, not from what the programs say.
type show struct {
	*world
	*printer
	events []event
	report *report

	sent   map[uuid.UUID]string // body by row id
	device string               // the token that is recovered
	tokens string               // allTokens before the rotation
}

func (s *show) run(ctx context.Context) error {
	s.line("SQS and KMS are fakes on this machine, Postgres is a private server; the programs are the real ones.")
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"setup", s.setUp}, {"send", s.send}, {"ingest", s.ingest}, {"analyse", s.analyse},
		{"recover", s.recover}, {"rotate", s.rotate}, {"verify", s.verify},
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		s.report.Seconds[step.name] = time.Since(began).Round(time.Millisecond).Seconds()
	}
	if r := s.report; len(r.problems()) == 0 {
		s.line("%s %d sent = %d stored + %d rejected", s.paint(green, "✓"), r.Sent, r.Stored, r.Rejected)
	}
	return nil
}

func (s *show) setUp(ctx context.Context) error {
	s.step(1, "Set up: the vault holds wrapped keys. A KEK (key-encryption key), which never leaves KMS, wraps them.")
	if _, err := s.must(ctx, operator, "keys", "init"); err != nil {
		return err
	}
	if err := s.makeLogins(ctx); err != nil {
		return err
	}
	s.note("Every person and every daemon has a database login of its own:")
	for _, g := range grants {
		if _, err := s.must(ctx, operator, "keys", "grant", g.login, "--role", g.role); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) send(ctx context.Context) error {
	ids, err := s.world.send(ctx, s.events)
	if err != nil {
		return err
	}
	r := s.report
	r.Sent = len(ids)
	s.sent = map[uuid.UUID]string{}
	brokenOnes := 0
	for i, id := range ids {
		s.sent[etl.MessageID(id)] = s.events[i].body
		if s.events[i].broken {
			brokenOnes++
		}
		if s.events[i].twice {
			r.twice++
		}
	}
	what := fmt.Sprintf("Send %d events to the queue", r.Sent)
	if brokenOnes+r.twice > 0 {
		what += fmt.Sprintf(": %d are broken, %d will be delivered twice", brokenOnes, r.twice)
	}
	s.step(2, what+".")
	return nil
}

func (s *show) ingest(ctx context.Context) error {
	s.step(3, "Ingest: each protected value is sealed: AES-256-GCM under a data key. Beside it stands its token,")
	s.note("a keyed HMAC: equal values have equal tokens, and without the index key no token leads to its value.")
	before, err := s.stored(ctx) // of earlier demos in a kept directory
	if err != nil {
		return err
	}
	if _, err := s.must(ctx, daemon, "ingest", "--once"); err != nil {
		return err
	}
	after, err := s.stored(ctx)
	if err != nil {
		return err
	}
	r := s.report
	r.Delivered = s.SQS.Deliveries(sandbox.Queue)
	r.Stored = after.rows - before.rows
	for reason, n := range after.rejections {
		if n -= before.rejections[reason]; n > 0 {
			r.Rejections[etl.Reason(reason)] = n
			r.Rejected += n
		}
	}
	r.Duplicates = r.Delivered - r.Stored - r.Rejected
	return nil
}

// stock is what the database holds: rows, and rejections by reason.
type stock struct {
	rows       int64
	rejections map[string]int64
}

func (s *show) stored(ctx context.Context) (stock, error) {
	db, err := s.database(operator)
	if err != nil {
		return stock{}, err
	}
	st := stock{rejections: map[string]int64{}}
	if err := db.GetContext(ctx, &st.rows, `SELECT count(*) FROM public.user_logins`); err != nil {
		return st, pg.Redact(err)
	}
	var rejections []struct {
		Reason string `db:"reason"`
		N      int64  `db:"n"`
	}
	const byReason = `SELECT reason, count(*) AS n FROM cloakroom.rejections GROUP BY 1`
	if err := db.SelectContext(ctx, &rejections, byReason); err != nil {
		return st, pg.Redact(err)
	}
	for _, r := range rejections {
		st.rejections[r.Reason] = r.N
	}
	return st, nil
}

func (s *show) analyse(ctx context.Context) error {
	db, err := s.database(analyst)
	if err != nil {
		return err
	}
	s.step(4, "Analyse: an analyst sees that two rows share a device, not which device.")
	const query = `SELECT field, token, rows, subjects FROM public.user_logins_duplicates ORDER BY field, token LIMIT 2`
	s.command("analyst", "psql -c '"+query+"'")
	var rows []struct {
		Field    string `db:"field"`
		Token    string `db:"token"`
		Rows     int    `db:"rows"`
		Subjects int    `db:"subjects"`
	}
	if err := db.SelectContext(ctx, &rows, query); err != nil {
		return pg.Redact(err)
	}
	for _, row := range rows {
		s.block(fmt.Sprintf("%s | %s | %d | %d", row.Field, row.Token, row.Rows, row.Subjects))
	}
	for _, m := range dataset.Login().Protected() {
		var distinct int
		count := `SELECT count(DISTINCT ` + pq.QuoteIdentifier(m.ViewColumn()) + `) FROM public.user_logins`
		if err := db.GetContext(ctx, &distinct, count); err != nil {
			return pg.Redact(err)
		}
		s.report.Distinct[m.ViewColumn()] = distinct
	}
	look := "SELECT " + shared().SealedColumn() + " FROM cloakroom_data.user_logins"
	s.command("analyst", "psql -c '"+look+"'")
	_, err = db.ExecContext(ctx, look)
	s.report.Refused["an analyst's look at a sealed column"] = err != nil
	if err != nil {
		s.block(s.paint(dim, pg.Redact(err).Error()))
	}
	return nil
}

// mostShared is the token of the protected field that most rows share, and the field.
func (s *show) mostShared(ctx context.Context) (field, token string, err error) {
	db, err := s.database(analyst)
	if err != nil {
		return "", "", err
	}
	column := pq.QuoteIdentifier(shared().ViewColumn())
	err = db.GetContext(ctx, &token, `SELECT `+column+` FROM public.user_logins WHERE `+column+` IS NOT NULL
		GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1`)
	if err != nil {
		return "", "", fmt.Errorf("looking for a token to recover (is there no valid event?): %w", pg.Redact(err))
	}
	return shared().Name, token, nil
}

func (s *show) rotate(ctx context.Context) (err error) {
	s.step(6, "Rotate: every value moves from its data key to a new one, and the old key is retired. Tokens stay.")
	r := s.report
	if r.DataKeysBefore, err = s.dataKeysInUse(ctx); err != nil {
		return err
	}
	if s.tokens, err = s.allTokens(ctx); err != nil {
		return err
	}
	if _, err := s.must(ctx, rotator, "keys", "rotate", "--force"); err != nil {
		return err
	}
	r.DataKeysAfter, err = s.dataKeysInUse(ctx)
	return err
}

// dataKeysInUse are the data keys that rows refer to.
func (s *show) dataKeysInUse(ctx context.Context) ([]uint32, error) {
	db, err := s.database(operator)
	if err != nil {
		return nil, err
	}
	var ids []uint32
	err = db.SelectContext(ctx, &ids,
		`SELECT DISTINCT data_key FROM cloakroom_data.user_logins WHERE data_key IS NOT NULL ORDER BY 1`)
	return ids, pg.Redact(err)
}

// allTokens is a digest of every token in the analysts' view.
func (s *show) allTokens(ctx context.Context) (string, error) {
	db, err := s.database(analyst)
	if err != nil {
		return "", err
	}
	var columns []string
	for _, m := range dataset.Login().Protected() {
		columns = append(columns, pq.QuoteIdentifier(m.ViewColumn()))
	}
	row := strings.Join(columns, ", ")
	var digest string
	err = db.GetContext(ctx, &digest, `SELECT coalesce(md5(string_agg(t, ',' ORDER BY t)), '')
		FROM (SELECT row(`+row+`)::text AS t FROM public.user_logins) AS tokens`)
	return digest, pg.Redact(err)
}

func (s *show) verify(ctx context.Context) (err error) {
	s.step(7, "Verify: every row is opened and its tokens computed again; no value is printed.")
	r := s.report
	verified, err := s.try(ctx, rotator, "keys", "verify", "--all")
	if err != nil {
		return err
	}
	r.verified = verified.code == 0
	if r.Recovered.After, err = s.recoverAgain(ctx); err != nil {
		return err
	}
	v, err := s.vault(ctx)
	if err != nil {
		return err
	}
	if err := s.compare(ctx, v); err != nil {
		return err
	}
	if r.Canaries, err = s.countCanaries(ctx); err != nil {
		return err
	}
	after, err := s.allTokens(ctx)
	if err != nil {
		return err
	}
	r.tokensKept = after == s.tokens
	s.note(fmt.Sprintf(
		"The demo's own checks: %d of %d rows hold what was sent, to the byte · %s · %s ·",
		r.Opened,
		r.Stored,
		s.yesOrNo(r.tokensKept, "tokens unchanged", "TOKENS CHANGED"),
		s.yesOrNo(slices.Equal(r.Recovered.Before, r.Recovered.After), "the same value recovered",
			"ANOTHER VALUE RECOVERED"),
	))
	s.note(
		fmt.Sprintf("protected values in clear in a dump of the database, Postgres's log and the programs' logs: %d",
			r.Canaries),
	)
	return nil
}

func (s *show) yesOrNo(yes bool, ifYes, ifNo string) string {
	if yes {
		return ifYes
	}
	return s.paint(red, ifNo)
}

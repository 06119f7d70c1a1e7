package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/source"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// show is the walk-through: it does each step, prints it and notes what has to add up.
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
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"send", s.send}, {"ingest", s.ingest}, {"analyse", s.analyse}, {"recover", s.recover}, {"rotate", s.rotate}, {"verify", s.verify},
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		s.report.Seconds[step.name] = time.Since(began).Round(time.Millisecond).Seconds()
	}
	if len(s.report.problems()) == 0 {
		s.line("%s %d = %d + %d", s.paint(green, "✓"), s.report.Sent, s.report.Stored, s.report.Rejected)
	}
	return nil
}

func (s *show) send(ctx context.Context) error {
	ids, err := s.world.send(ctx, s.events)
	if err != nil {
		return err
	}
	s.report.Sent = len(ids)
	s.sent = map[uuid.UUID]string{}
	brokenOnes, twice := 0, 0
	for i, id := range ids {
		s.sent[etl.MessageID(id)] = s.events[i].body
		if s.events[i].broken {
			brokenOnes++
		}
		if s.events[i].twice {
			twice++
		}
	}
	if brokenOnes+twice > 0 {
		s.step(1, "sent", "%d logins (%d broken, %d delivered twice)", s.report.Sent, brokenOnes, twice)
	} else {
		s.step(1, "sent", "%d events", s.report.Sent)
	}
	return nil
}

func (s *show) ingest(ctx context.Context) error {
	v, err := s.vault(ctx, "ingest")
	if err != nil {
		return err
	}
	w, err := etl.NewWriter(ctx, v, dataset.Login(), keys.Caps{})
	if err != nil {
		return err
	}
	q, err := s.queue(ctx, "ingest")
	if err != nil {
		return err
	}
	queued := source.NewSQS(q, source.SQSOptions{Once: true, MaxOutage: time.Minute})
	summary, err := etl.Run(ctx, w, queued, etl.Options{Receivers: 4, MaxOutage: time.Minute})
	queued.Close(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	r := s.report
	r.Delivered, r.Stored, r.Duplicates, r.Rejected, r.Rejections = summary.Received, summary.Stored, summary.Duplicates, summary.Rejected, summary.Rejections
	s.step(2, "ingested", "%d stored · %d rejected · %d redeliveries dropped", r.Stored, r.Rejected, r.Duplicates)
	if r.Rejected > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(r.Rejections)) {
			reasons = append(reasons, fmt.Sprintf("%s %d", reason, r.Rejections[reason]))
		}
		s.more("by reason", "%s", strings.Join(reasons, " · "))
	}
	return nil
}

func (s *show) analyse(ctx context.Context) error {
	db, err := pg.Open(pg.Config{URL: s.URL(s.login("analyst"))})
	if err != nil {
		return err
	}
	defer db.Close()
	s.step(3, "analyst>", "SELECT * FROM user_login_duplicates LIMIT 2")
	var rows []struct {
		Field  string `db:"field"`
		Token  string `db:"token"`
		Logins int    `db:"logins"`
		Users  int    `db:"users"`
	}
	if err := db.SelectContext(ctx, &rows, `SELECT field, token, logins, users FROM public.user_login_duplicates ORDER BY field, token LIMIT 2`); err != nil {
		return pg.Redact(err)
	}
	for _, row := range rows {
		s.more("", "%-9s  %s  %d logins of %d users", row.Field, row.Token, row.Logins, row.Users)
	}
	for _, m := range dataset.Login().Protected() {
		var distinct int
		if err := db.GetContext(ctx, &distinct, `SELECT count(DISTINCT `+pq.QuoteIdentifier(m.ViewColumn())+`) FROM public.user_logins`); err != nil {
			return pg.Redact(err)
		}
		s.report.Distinct[m.ViewColumn()] = distinct
	}
	column := dataset.Login().Protected()[0].SealedColumn()
	_, err = db.ExecContext(ctx, `SELECT `+pq.QuoteIdentifier(column)+` FROM cloakroom.user_logins`)
	s.refused("an analyst's look at a sealed column", err)
	s.more("analyst>", "SELECT %s FROM cloakroom.user_logins   %s", column, s.refusal(err))
	return nil
}

// refused notes whether something that has to be refused was.
func (s *show) refused(what string, err error) { s.report.Refused[what] = err != nil }

// refusal is the first words of a refusal.
func (s *show) refusal(err error) string {
	if err == nil {
		return s.paint(red, "NOT REFUSED")
	}
	text := pg.Redact(err).Error()
	text, _, _ = strings.Cut(text, " (SQLSTATE")
	if i := strings.LastIndex(text, "database: "); i >= 0 {
		text = text[i+len("database: "):]
	}
	return s.paint(dim, "refused: "+text)
}

// mostShared is the token of the protected field that most logins share, and the field.
func (s *show) mostShared(ctx context.Context) (field, token string, err error) {
	db, err := pg.Open(pg.Config{URL: s.URL(s.login("analyst"))})
	if err != nil {
		return "", "", err
	}
	defer db.Close()
	members := dataset.Login().Protected()
	m := members[len(members)-1]
	column := pq.QuoteIdentifier(m.ViewColumn())
	err = db.GetContext(ctx, &token, `SELECT `+column+` FROM public.user_logins WHERE `+column+` IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1`)
	if err != nil {
		return "", "", fmt.Errorf("looking for a token to recover (is there no valid event?): %w", pg.Redact(err))
	}
	return m.Name, token, nil
}

func (s *show) rotate(ctx context.Context) error {
	v, err := s.vault(ctx, "rotator")
	if err != nil {
		return err
	}
	r := s.report
	if r.DataKeysBefore, err = s.dataKeysInUse(ctx); err != nil {
		return err
	}
	if s.tokens, err = s.allTokens(ctx); err != nil {
		return err
	}
	did, err := rotation.Rotate(ctx, v, dataset.Login(), rotation.Options{Force: true, Log: slog.Default()})
	if err != nil {
		return err
	}
	if r.DataKeysAfter, err = s.dataKeysInUse(ctx); err != nil {
		return err
	}
	rejections := ""
	if did.Rejections > 0 {
		rejections = fmt.Sprintf(" (and %d rejections)", did.Rejections)
	}
	s.step(5, "keys", "rotate --force   data key %s → %s · %d resealed%s · key %s retired",
		list(r.DataKeysBefore), list(r.DataKeysAfter), did.Resealed, rejections, list(did.Retired))
	return nil
}

// dataKeysInUse are the data keys that rows refer to.
func (s *show) dataKeysInUse(ctx context.Context) ([]uint32, error) {
	db, err := pg.Open(pg.Config{URL: s.URL("")})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var ids []uint32
	err = db.SelectContext(ctx, &ids, `SELECT DISTINCT data_key FROM cloakroom.user_logins WHERE data_key IS NOT NULL ORDER BY 1`)
	return ids, pg.Redact(err)
}

// allTokens is a digest of every token in the analysts' view.
func (s *show) allTokens(ctx context.Context) (string, error) {
	db, err := pg.Open(pg.Config{URL: s.URL(s.login("analyst"))})
	if err != nil {
		return "", err
	}
	defer db.Close()
	var columns []string
	for _, m := range dataset.Login().Protected() {
		columns = append(columns, pq.QuoteIdentifier(m.ViewColumn()))
	}
	row := strings.Join(columns, ", ")
	var digest string
	err = db.GetContext(ctx, &digest, `SELECT coalesce(md5(string_agg(t, ',' ORDER BY t)), '') FROM (SELECT row(`+row+`)::text AS t FROM public.user_logins) AS tokens`)
	return digest, pg.Redact(err)
}

func list(ids []uint32) string {
	if len(ids) == 0 {
		return "none"
	}
	var parts []string
	for _, id := range ids {
		parts = append(parts, fmt.Sprint(id))
	}
	return strings.Join(parts, ", ")
}

func (s *show) verify(ctx context.Context) error {
	v, err := s.vault(ctx, "rotator")
	if err != nil {
		return err
	}
	verification, err := v.Verify(ctx, dataset.Login(), keys.VerifyOptions{All: true})
	if err != nil {
		return err
	}
	r := s.report
	r.verified = verification.FailureCount == 0
	if err := s.compare(ctx, v); err != nil {
		return err
	}
	if r.Recovered.After, err = s.askAndOpen(ctx, s.device, false); err != nil {
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
	tokens := "tokens unchanged"
	if !r.tokensKept {
		tokens = s.paint(red, "TOKENS CHANGED")
	}
	same := "same value recovered"
	if !slices.Equal(r.Recovered.Before, r.Recovered.After) {
		same = s.paint(red, "ANOTHER VALUE RECOVERED")
	}
	s.step(6, "keys", "verify --all     %d/%d open · %s · %s · canaries in dump and logs: %d",
		r.Opened, r.Stored, tokens, same, r.Canaries)
	return nil
}

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/google/uuid"

	"cloakroom/dataset"
	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// sentValues are the protected values of an event as it was sent, by member; nil where it is no JSON object.
func sentValues(body string) map[string]string {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &members) != nil {
		return nil
	}
	values := map[string]string{}
	for _, m := range dataset.Login().Protected() {
		var text string
		if json.Unmarshal(members[m.Name], &text) == nil && text != "" {
			values[m.Name] = text
		}
	}
	return values
}

// compare opens every row, as only the rotator may, and compares what comes out with what was sent, byte for byte.
func (s *show) compare(ctx context.Context, v *keys.Vault) error {
	settings, err := v.Settings(ctx)
	if err != nil {
		return err
	}
	ring := keys.NewKeyring(v, settings, nil)
	defer ring.Close()
	const query = `SELECT ` + keys.RowColumns + `
		FROM cloakroom.partition_list($1) AS p,
		     cloakroom.scan_rows(p.dataset, p.from_date, '-infinity', $2, '{}', 2147483647) AS r`
	found, err := v.DB.QueryContext(ctx, query, dataset.Login().Name, uuid.UUID{})
	if err != nil {
		return pg.Redact(err)
	}
	rows, err := keys.AppendRows(nil, found, 0)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, ours := s.sent[row.ID]; !ours {
			continue // of an earlier demo in a kept directory
		}
		same, err := s.opensToSent(ctx, ring, settings.ID, &row)
		switch {
		case err != nil:
			return err
		case same:
			s.report.Opened++
		default:
			s.report.Mismatched++
		}
	}
	return nil
}

func (s *show) opensToSent(ctx context.Context, ring *keys.Keyring, vault uuid.UUID, row *keys.Row) (bool, error) {
	if row.DataKey == (sql.NullInt32{}) {
		return false, nil
	}
	key, err := ring.Key(ctx, uint32(row.DataKey.Int32))
	if err != nil {
		return false, err
	}
	want := sentValues(s.sent[row.ID])
	for i, m := range dataset.Login().Protected() {
		place := row.Place(vault, dataset.Login(), m.Name)
		text, err := key.Open(nil, nil, &place, m.Protect.Pad, row.Sealed[i])
		if err != nil || string(text) != want[m.Name] {
			return false, nil
		}
	}
	return true, nil
}

// shortest is the length below which a value is no canary: it may stand anywhere by chance.
const shortest = 8

// countCanaries looks for every protected value that was sent in a dump of the database, in Postgres's own log, which
// has every statement in it, and in ours.
func (s *show) countCanaries(ctx context.Context) (int, error) {
	canaries := map[string]bool{}
	for _, e := range s.events {
		for _, value := range sentValues(e.body) {
			if len(value) >= shortest {
				canaries[value] = true
			}
		}
	}
	dump, err := s.dump(ctx)
	if err != nil {
		return 0, err
	}
	log, err := os.ReadFile(s.Postgres.LogPath())
	if err != nil {
		return 0, fmt.Errorf("reading Postgres's log: %w", err)
	}
	if len(dump) == 0 || len(log) == 0 {
		return 0, fmt.Errorf("looking for canaries: the dump has %d bytes and Postgres's log %d", len(dump), len(log))
	}
	found := 0
	for canary := range canaries {
		for _, text := range [][]byte{dump, log, s.log.Bytes()} {
			if bytes.Contains(text, []byte(canary)) {
				found++
			}
		}
	}
	return found, nil
}

// dump is pg_dump's output; where Postgres came without pg_dump, every row of every table as text.
func (s *show) dump(ctx context.Context) ([]byte, error) {
	if path, err := s.Postgres.Program("pg_dump"); err == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, "--dbname", s.URL("")).Output()
		if err != nil {
			return nil, fmt.Errorf("dumping the database: %w", err)
		}
		return out, nil
	}
	db, err := s.database(operator)
	if err != nil {
		return nil, err
	}
	var tables []string
	const list = `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname IN ('cloakroom', 'cloakroom_data')`
	if err := db.SelectContext(ctx, &tables, list); err != nil {
		return nil, pg.Redact(err)
	}
	var all bytes.Buffer
	for _, table := range tables {
		var rows []string
		if err := db.SelectContext(ctx, &rows, `SELECT t::text FROM `+table+` AS t`); err != nil {
			return nil, pg.Redact(err)
		}
		for _, row := range rows {
			all.WriteString(row + "\n")
		}
	}
	return all.Bytes(), nil
}

package keystest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// Fill seals n events and stores them as a daemon would, in one COPY: event is the JSON text of one, sent when it was.
// v is the rotator's vault. It makes partitions where they are missing. Row ids are made of the table and the number.
func (e *Env) Fill(t testing.TB, v *keys.Vault, name string, n int, event func(int) string, sent func(int) time.Time) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := v.Datasets(t.Context())
	must(err)
	d, err := list.Find(name)
	must(err)
	settings, err := v.Settings(t.Context())
	must(err)
	issuer, err := keys.NewIssuer(v, settings, d.Name, keys.Caps{})
	must(err)
	index, err := v.IndexKeys(t.Context(), settings, d)
	must(err)
	maker, err := dataset.NewTokeniser(d, index[0].Subkeys)
	must(err)
	columns := d.TableColumns([]uint32{index[0].Version})
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	db := e.Open(t, "")
	var begin int
	must(db.Get(&begin, `SELECT count(*) FROM cloakroom_data.`+pq.QuoteIdentifier(d.Table)))
	months := map[string]bool{}
	tx, err := db.BeginTxx(t.Context(), nil)
	must(err)
	defer tx.Rollback()
	for i := range n {
		if day := sent(i).UTC().Format(time.DateOnly); !months[day] {
			months[day] = true
			_, err := tx.Exec(`SELECT cloakroom.make_partition($1, $2)`, d.Name, day)
			must(err)
		}
	}
	for i := range names {
		names[i] = pq.QuoteIdentifier(names[i])
	}
	into, err := tx.Prepare(fmt.Sprintf(`COPY %s.%s (%s) FROM STDIN`, dataset.Schema, pq.QuoteIdentifier(d.Table),
		strings.Join(names, ", ")))
	must(err)
	decoder := dataset.NewDecoder(d)
	var scratch envelope.Scratch
	for i := range n {
		ev, rejection := decoder.Decode([]byte(event(i)))
		if rejection != (dataset.Rejection{}) {
			t.Fatalf("%s: %+v", event(i), rejection)
		}
		at := sent(i).UTC()
		key, err := issuer.Acquire(t.Context(), at, 100, 100_000)
		must(err)
		sum := sha256.Sum256(fmt.Append(nil, d.Table, begin+i))
		id := uuid.UUID(sum[:16])
		row := keys.Row{ID: id, Date: at, Subject: string(ev.Subject)}
		values := make([]any, len(columns))
		for c, column := range columns {
			if values[c], err = value(d, column, ev, row, key, settings.ID, maker, &scratch); err != nil {
				t.Fatalf("%s: %v", column.Name, err)
			}
		}
		_, err = into.Exec(values...)
		must(err)
	}
	_, err = into.Exec()
	must(err)
	must(into.Close())
	must(tx.Commit())
	_, err = db.Exec(`ANALYZE cloakroom_data.` + pq.QuoteIdentifier(d.Table))
	must(err)
}

// value is what a column of a row gets.
func value(d *dataset.Dataset, c dataset.Column, ev *dataset.Event, row keys.Row, key *keys.SealingKey, vault uuid.UUID,
	maker *dataset.Tokeniser, scratch *envelope.Scratch) (any, error) {
	switch c.Role {
	case dataset.RoleSent, dataset.RoleSending:
		return row.Date, nil
	case dataset.RoleRow:
		return row.ID.String(), nil
	case dataset.RoleMessage:
		return uuid.NewString(), nil
	case dataset.RoleDate:
		return row.Date.Format(time.DateOnly), nil
	case dataset.RoleKey:
		return int64(key.ID()), nil
	}
	m, v := &d.Members[c.Member], ev.Values[c.Member]
	if v.Null {
		return nil, nil
	}
	switch c.Role {
	case dataset.RoleText:
		return string(v.Text), nil
	case dataset.RoleClear:
		if m.Type == dataset.Version {
			return int64(v.Version), nil
		}
		return string(v.Canonical), nil
	case dataset.RoleSealed:
		place := row.Place(vault, d, m.Name)
		return key.Key.Seal(nil, scratch, &place, m.Protect.Pad, v.Text)
	case dataset.RoleReveal:
		shown, ok := maker.AppendReveal(nil, c.Member, v.Text)
		if !ok {
			return nil, nil
		}
		return string(shown), nil
	}
	token, reason, err := maker.AppendToken(nil, c.Index, v.Text)
	if reason != "" {
		err = fmt.Errorf("no token: %s", reason)
	}
	return string(token), err
}

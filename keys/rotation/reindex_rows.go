package rotation

import (
	"context"
	"fmt"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/keys"
)

// tokenWorker opens rows and makes their tokens under one index key: to write them (backfill), or to compare them (check).
type tokenWorker struct {
	*rowReader
	rotation int64
	pass     string
	version  uint32
	hashers  []*blindindex.Hasher
	scratch  envelope.Scratch
	text     []byte
	token    []byte
}

func newTokenWorker(j *job, rotation int64, pass string, index keys.IndexKey) *tokenWorker {
	w := &tokenWorker{rotation: rotation, pass: pass, version: index.Version}
	w.rowReader = newRowReader(j, nil)
	if pass == "check" {
		w.rowReader = newRowReader(j, []uint32{index.Version})
	}
	for _, s := range index.Subkeys {
		w.hashers = append(w.hashers, s.NewHasher())
	}
	return w
}

func (w *tokenWorker) batch(ctx context.Context, s session, at slice) (batch, error) {
	rows, err := w.read(ctx, s, `cloakroom.reindex_page($1, $2, $3, $4, $5, $6, $7, $8)`,
		w.rotation, w.members, w.pass, day(at.Month), at.AfterID, at.AfterDate, at.LastID, w.o.BatchRows)
	if err != nil || len(rows) == 0 {
		return batch{done: true}, err
	}
	var q quarantine
	var names, dates textArray
	tokens := make([]tokenArray, len(w.protected))
	for i := range rows {
		made, problem, err := w.tokens(ctx, &rows[i])
		switch {
		case err != nil:
			return batch{}, err
		case problem != "":
			q.add(&rows[i], problem)
			continue
		}
		names, dates = append(names, rows[i].ID.String()), append(dates, day(rows[i].Date))
		for m := range tokens {
			tokens[m] = append(tokens[m], made[m])
		}
	}
	last := rows[len(rows)-1]
	b := batch{read: len(rows), afterID: last.ID, after: day(last.Date), done: len(rows) < w.o.BatchRows}
	if w.pass == "backfill" && len(names) > 0 {
		var flat tokenArray
		for m := range tokens {
			flat = append(flat, tokens[m]...)
		}
		if err := s.get(ctx, &b.changed, `SELECT cloakroom.index_rows($1, $2, $3, $4, $5, $6)`,
			w.rotation, day(at.Month), w.members, names, dates, flat); err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reindex")
}

// tokens makes a row's tokens, empty where nothing is sealed, or says what is wrong with the row.
func (w *tokenWorker) tokens(ctx context.Context, row *keys.Row) (tokens []string, problem string, err error) {
	key, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
	if problem, isData := keys.Blame(err); isData {
		return nil, problem, nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { clear(w.text) }()
	for i, m := range w.protected {
		if row.Sealed[i] == nil {
			tokens = append(tokens, "")
			continue
		}
		place := row.Place(w.settings.ID, w.dataset, m.Name)
		if w.text, err = key.Open(w.text[:0], &w.scratch, &place, m.Protect.Pad, row.Sealed[i]); err != nil {
			problem, _ := keys.Blame(err)
			return nil, m.Name + ": " + problem, nil
		}
		if w.token, err = w.hashers[i].AppendToken(w.token[:0], string(w.text)); err != nil {
			return nil, fmt.Sprintf("%s: the value cannot be normalised for version %d", m.Name, w.version), nil
		}
		if w.pass == "check" && !(row.Tokens[0][i].Valid && blindindex.EqualToken(row.Tokens[0][i].String, string(w.token))) {
			return nil, fmt.Sprintf("%s: the token of version %d is not that of the sealed value", m.Name, w.version), nil
		}
		tokens = append(tokens, string(w.token))
	}
	return tokens, "", nil
}

package rotation

import (
	"context"
	"fmt"

	"cloakroom/crypto/blindindex"
	"cloakroom/crypto/envelope"
	"cloakroom/keys"
)

// tokenWorker opens rows and makes their tokens under one index key, to write them (backfill) or to
// compare them (check).
type tokenWorker struct {
	*rowReader
	rotation int64
	pass     string
	version  uint32
	hashers  []*blindindex.Hasher
	scratch  envelope.Scratch
	text     []byte
	token    []byte
	made     []string // a row's tokens
}

func newTokenWorker(j *job, rotation int64, pass string, index keys.IndexKey) *tokenWorker {
	w := &tokenWorker{rotation: rotation, pass: pass, version: index.Version, hashers: index.NewHashers()}
	w.rowReader = newRowReader(j, nil)
	if pass == "check" {
		w.rowReader = newRowReader(j, []uint32{index.Version})
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
	names, dates := make(textArray, 0, len(rows)), make(textArray, 0, len(rows))
	tokens := make([]textArray, len(w.protected))
	for m := range tokens {
		tokens[m] = make(textArray, 0, len(rows))
	}
	for i := range rows {
		place := rows[i].Place(w.settings.ID, w.dataset, "")
		problem, err := w.tokens(ctx, &rows[i], &place)
		switch {
		case err != nil:
			return batch{}, err
		case problem != "":
			q.add(&rows[i], problem)
			continue
		}
		names, dates = append(names, rows[i].ID.String()), append(dates, place.Date)
		for m := range tokens {
			tokens[m] = append(tokens[m], w.made[m])
		}
	}
	last := rows[len(rows)-1]
	b := batch{read: len(rows), afterID: last.ID, after: day(last.Date), done: len(rows) < w.o.BatchRows}
	if w.pass == "backfill" && len(names) > 0 {
		var flat textArray
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

// tokens makes a row's tokens in w.made, or says what is wrong with the row. A token is empty if
// nothing is sealed, or if it only had to be compared. The place is the row's.
func (w *tokenWorker) tokens(ctx context.Context, row *keys.Row, place *envelope.Place) (problem string, err error) {
	w.made = w.made[:0]
	key, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		return problem, nil
	}
	if err != nil {
		return "", err
	}
	defer func() { clear(w.text) }()
	for i, m := range w.protected {
		if row.Sealed[i] == nil {
			w.made = append(w.made, "")
			continue
		}
		place.Field = m.Name
		if w.text, err = key.Open(w.text[:0], &w.scratch, place, m.Protect.Pad, row.Sealed[i]); err != nil {
			problem, _ := keys.DataProblem(err)
			return m.Name + ": " + problem, nil
		}
		if w.token, err = w.hashers[i].AppendToken(w.token[:0], string(w.text)); err != nil {
			return fmt.Sprintf("%s: the value cannot be normalised for version %d", m.Name, w.version), nil
		}
		if w.pass == "check" && !blindindex.EqualToken(row.Tokens[0][i].String, string(w.token)) {
			return fmt.Sprintf("%s: the token of version %d is not that of the sealed value", m.Name, w.version), nil
		}
		made := ""
		if w.pass == "backfill" {
			made = string(w.token)
		}
		w.made = append(w.made, made)
	}
	return "", nil
}

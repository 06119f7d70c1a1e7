package rotation

import (
	"context"
	"fmt"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// tokenWorker opens rows and makes their tokens under one index key, to write them (backfill) or to
// compare them (check).
type tokenWorker struct {
	*rowReader
	rotation int64
	pass     string
	version  uint32
	index    map[string]keys.IndexKey // by dataset
	makers   map[string]*tokenMaker   // by dataset, made when first needed
	scratch  envelope.Scratch
	text     []byte
	token    []byte
	made     []string // a row's tokens
}

// tokenMaker makes the tokens of one dataset.
type tokenMaker struct {
	*target
	*dataset.Tokeniser
	member []int // of each index: position of its member among the protected ones
}

func newTokenWorker(j *job, rotation int64, pass string, version uint32, index map[string]keys.IndexKey) *tokenWorker {
	return &tokenWorker{
		rowReader: &rowReader{job: j, versions: 1}, rotation: rotation, pass: pass, version: version,
		index: index, makers: map[string]*tokenMaker{},
	}
}

// maker gives the maker of a dataset's tokens.
func (w *tokenWorker) maker(name string) (*tokenMaker, error) {
	if m := w.makers[name]; m != nil {
		return m, nil
	}
	t, err := w.target(name)
	if err != nil {
		return nil, err
	}
	tokeniser, err := dataset.NewTokeniser(t.Dataset, w.index[name].Subkeys)
	if err != nil {
		return nil, err
	}
	m := &tokenMaker{target: t, Tokeniser: tokeniser}
	for _, ix := range t.Indexes() {
		for i, p := range t.protected {
			if p.Name == ix.Member.Name {
				m.member = append(m.member, i)
			}
		}
	}
	w.makers[name] = m
	return m, nil
}

func (w *tokenWorker) batch(ctx context.Context, s session, at slice) (batch, error) {
	maker, err := w.maker(at.Dataset)
	if err != nil {
		return batch{}, err
	}
	rows, err := w.read(ctx, s, `cloakroom.reindex_page($1, $2, $3, $4, $5, $6, $7, $8)`,
		w.rotation, w.pass, at.Dataset, day(at.Part), at.After.Sent, at.After.ID, at.Last, w.o.BatchRows)
	if err != nil || len(rows) == 0 {
		return batch{done: true}, err
	}
	var q quarantine
	ids, sents := make(textArray, 0, len(rows)), make(textArray, 0, len(rows))
	tokens := make([]textArray, len(maker.member))
	for i := range rows {
		problem, err := w.tokens(ctx, maker, &rows[i])
		switch {
		case err != nil:
			return batch{}, err
		case problem != "":
			q.addRow(&rows[i], problem)
			continue
		}
		ids, sents = append(ids, rows[i].ID.String()), append(sents, positionOf(&rows[i]).Sent)
		for n := range tokens {
			tokens[n] = append(tokens[n], w.made[n])
		}
	}
	b := batch{read: len(rows), after: positionOf(&rows[len(rows)-1]), done: len(rows) < w.o.BatchRows}
	if w.pass == "backfill" && len(ids) > 0 {
		var flat textArray
		for n := range tokens {
			flat = append(flat, tokens[n]...)
		}
		if err := s.get(ctx, &b.changed, `SELECT cloakroom.index_rows($1, $2, $3, $4, $5, $6)`,
			w.rotation, at.Dataset, day(at.Part), ids, sents, flat); err != nil {
			return batch{}, err
		}
	}
	return b, q.write(ctx, s, "reindex", at.Dataset)
}

// tokens makes a row's tokens in w.made, index by index, or says what is wrong with the row. A token is empty if nothing is
// sealed, or if it only had to be compared.
func (w *tokenWorker) tokens(ctx context.Context, maker *tokenMaker, row *keys.Row) (problem string, err error) {
	w.made = w.made[:0]
	key, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
	if problem, isData := keys.DataProblem(err); isData {
		return problem, nil
	}
	if err != nil {
		return "", err
	}
	defer func() { clear(w.text) }()
	place := row.Place(w.settings.ID, maker.Dataset, "")
	opened := -1 // the member whose value w.text holds
	for n, i := range maker.member {
		m := maker.protected[i]
		if row.Sealed[i] == nil {
			w.made = append(w.made, "")
			continue
		}
		if i != opened {
			place.Field = m.Name
			clear(w.text)
			if w.text, err = key.Open(w.text[:0], &w.scratch, &place, m.Protect.Pad, row.Sealed[i]); err != nil {
				problem, _ := keys.DataProblem(err)
				return m.Name + ": " + problem, nil
			}
			opened = i
		}
		var reason dataset.Reason
		if w.token, reason, err = maker.AppendStored(w.token[:0], n, w.text); err != nil || reason != "" {
			return fmt.Sprintf("%s: the value cannot be normalised for version %d", m.Name, w.version), nil
		}
		stored := row.Tokens[0][n]
		if w.pass == "check" && !(stored.Valid && dataset.SameToken(stored.String, string(w.token))) {
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

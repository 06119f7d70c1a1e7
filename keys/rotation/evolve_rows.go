package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/keys"
)

// filler brings rows up to a new definition: it seals what is in clear, and makes the tokens and the reveals that are
// missing. A row has one data key, so a row that gets a sealed value has its others sealed again, under the same key.
type filler struct {
	*rowReader
	at      evolution
	index   keys.IndexKey
	target  *target
	makers  []fillMember // by protected member
	scratch envelope.Scratch
	text    []byte
	again   []byte
}

// fillMember is what a protected member needs.
type fillMember struct {
	clear   int   // position among the members to be sealed; -1: it was sealed before
	tokens  []int // position of each of its indexes among the columns to be filled; -1: it is filled already
	first   int   // its first index among Dataset.Indexes
	reveal  int   // position among the reveals to be filled; -1: none
	member  int   // position among Dataset.Members
	maker   *dataset.Tokeniser
	needsIt bool // something is made of its value
}

func newFiller(j *job, at evolution, index keys.IndexKey) *filler {
	return &filler{rowReader: &rowReader{job: j, versions: 1}, at: at, index: index}
}

// prepare looks up the positions of everything, once the definition is in force.
func (w *filler) prepare() error {
	t, err := w.job.target(w.at.Dataset)
	if err != nil || w.target != nil && w.target.Hash() == t.Hash() {
		w.target = t
		return err
	}
	if string(t.Canonical()) != w.at.Definition {
		return fmt.Errorf("the new definition is not in force: %w: run it again", keys.ErrUnfinished)
	}
	maker, err := dataset.NewTokeniser(t.Dataset, w.index.Subkeys)
	if err != nil {
		return err
	}
	w.target, w.makers = t, nil
	first := 0
	for _, m := range t.protected {
		f := fillMember{clear: slices.Index(w.at.Members, m.Name), reveal: -1, first: first, maker: maker}
		f.member = slices.IndexFunc(t.Members, func(o dataset.Member) bool { return o.Name == m.Name })
		for _, ix := range m.Indexes() {
			n := slices.Index(w.at.Tokens, ix.TokenColumn(w.at.Version))
			f.tokens = append(f.tokens, n)
			f.needsIt = f.needsIt || n >= 0
		}
		if m.Protect.Reveal != "" {
			f.reveal = slices.Index(w.at.Reveals, m.RevealColumn())
			f.needsIt = f.needsIt || f.reveal >= 0
		}
		first += len(f.tokens)
		w.makers = append(w.makers, f)
	}
	return nil
}

// filled is a page of rows as cloakroom.evolve_rows takes it, column by column.
type filled struct {
	ids, sents             textArray
	old, new               [][][]byte // by protected member
	clear, tokens, reveals [][]*string
}

func (w *filler) newFilled() *filled {
	k := len(w.target.protected)
	return &filled{
		old: make([][][]byte, k), new: make([][][]byte, k), clear: make([][]*string, len(w.at.Members)),
		tokens: make([][]*string, len(w.at.Tokens)), reveals: make([][]*string, len(w.at.Reveals)),
	}
}

func flat[T any](columns [][]T) []T { return append([]T{}, slices.Concat(columns...)...) }

func (w *filler) batch(ctx context.Context, s session, at slice) (batch, error) {
	if err := w.prepare(); err != nil {
		return batch{}, err
	}
	rows, err := w.read(ctx, s, `cloakroom.evolve_page($1, $2, $3, $4, $5, $6, $7)`,
		w.at.rotation, at.Dataset, day(at.Part), at.After.Sent, at.After.ID, at.Last, w.o.BatchRows)
	if err != nil || len(rows) == 0 {
		return batch{done: true}, err
	}
	var sealing, filling []*keys.Row
	seals, size := 0, 0
	for i := range rows {
		row := &rows[i]
		here := len(sealing)
		for _, c := range row.Tokens[0] {
			if c.Valid {
				seals, size = seals+1, size+len(c.String)+envelope.PrefixSize
				sealing = append(sealing[:here], row)
			}
		}
		if len(sealing) == here {
			filling = append(filling, row)
			continue
		}
		for _, sealed := range row.Sealed {
			seals, size = seals+1, size+len(sealed)
		}
	}
	b := batch{read: len(rows), after: positionOf(&rows[len(rows)-1]), done: len(rows) < w.o.BatchRows}
	var q quarantine
	if len(sealing) > 0 {
		key, err := w.acquire(ctx, w.target, keys.MonthOf(at.Part), seals, size)
		if err != nil {
			return batch{}, err
		}
		n, err := w.write(ctx, s, at, sealing, key, &q)
		if err != nil {
			return batch{}, err
		}
		b.changed += n
	}
	n, err := w.write(ctx, s, at, filling, nil, &q)
	if err != nil {
		return batch{}, err
	}
	b.changed += n
	return b, q.write(ctx, s, "evolve", at.Dataset)
}

// write makes what rows lack, and stores it. With a key it seals every value of the rows, else it makes tokens and reveals
// alone.
func (w *filler) write(
	ctx context.Context, s session, at slice, rows []*keys.Row, key *keys.SealingKey, q *quarantine,
) (changed int, err error) {
	f := w.newFilled()
	for _, row := range rows {
		problem, err := w.add(ctx, f, row, key)
		if err != nil {
			return 0, err
		}
		if problem != "" {
			q.addRow(row, problem)
		}
	}
	if len(f.ids) == 0 {
		return 0, nil
	}
	var id *uint32
	var check []byte
	if key != nil {
		n := key.ID()
		id, check = &n, key.Check[:]
	}
	err = s.get(ctx, &changed, `SELECT cloakroom.evolve_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		w.epoch.Load(), w.at.rotation, at.Dataset, day(at.Part), f.ids, f.sents, pq.ByteaArray(flat(f.old)),
		pq.ByteaArray(flat(f.new)), pq.Array(flat(f.clear)), pq.Array(flat(f.tokens)), pq.Array(flat(f.reveals)), id, check)
	return changed, err
}

// add makes what one row lacks, or says what is wrong with it: then nothing is added.
func (w *filler) add(ctx context.Context, f *filled, row *keys.Row, key *keys.SealingKey) (problem string, err error) {
	place := row.Place(w.settings.ID, w.target.Dataset, "")
	sealed := make([][]byte, len(w.makers))
	tokens, reveals := make([]*string, len(w.at.Tokens)), make([]*string, len(w.at.Reveals))
	for i := range w.makers {
		m, p := &w.makers[i], w.target.protected[i]
		place.Field = p.Name
		switch {
		case row.Sealed[i] != nil && (key != nil || m.needsIt):
			opening, err := w.ring.Key(ctx, uint32(row.DataKey.Int32))
			if err == nil {
				clear(w.text)
				w.text, err = opening.Open(w.text[:0], &w.scratch, &place, p.Protect.Pad, row.Sealed[i])
			}
			if problem, isData := keys.DataProblem(err); isData {
				return p.Name + ": " + problem, nil
			}
			if err != nil {
				return "", err
			}
		case row.Sealed[i] == nil && m.clear >= 0 && row.Tokens[0][m.clear].Valid:
			clear(w.text)
			w.text = append(w.text[:0], row.Tokens[0][m.clear].String...)
		default:
			continue
		}
		if key != nil {
			if sealed[i], err = sealAndCompare(nil, key.Key, &w.scratch, &place, p.Protect.Pad, w.text, &w.again); err != nil {
				return "", err
			}
		}
		if problem, err := w.make(m, tokens, reveals); problem != "" || err != nil {
			return p.Name + ": " + problem, err
		}
	}
	clear(w.text)
	clear(w.again)
	f.ids, f.sents = append(f.ids, row.ID.String()), append(f.sents, positionOf(row).Sent)
	for i, old := range row.Sealed {
		f.old[i] = append(f.old[i], old[:min(len(old), envelope.PrefixSize)])
		f.new[i] = append(f.new[i], sealed[i])
	}
	for i, c := range row.Tokens[0] {
		var text *string
		if c.Valid {
			text = &c.String
		}
		f.clear[i] = append(f.clear[i], text)
	}
	for i := range tokens {
		f.tokens[i] = append(f.tokens[i], tokens[i])
	}
	for i := range reveals {
		f.reveals[i] = append(f.reveals[i], reveals[i])
	}
	return "", nil
}

// make makes the tokens and the reveal of the member whose value is in w.text.
func (w *filler) make(m *fillMember, tokens, reveals []*string) (problem string, err error) {
	for n, at := range m.tokens {
		if at < 0 {
			continue
		}
		token, reason, err := m.maker.AppendStored(nil, m.first+n, w.text)
		if err != nil {
			return "", err
		}
		if reason != "" {
			return fmt.Sprintf("the value cannot be normalised (%s)", reason), nil
		}
		made := string(token)
		tokens[at] = &made
	}
	if m.reveal >= 0 {
		if shown, ok := m.maker.AppendReveal(nil, m.member, w.text); ok {
			made := string(shown)
			reveals[m.reveal] = &made
		}
	}
	return "", nil
}

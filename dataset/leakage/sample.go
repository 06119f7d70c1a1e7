package leakage

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"cloakroom/crypto/blindindex"
	"cloakroom/dataset"
)

// sampleRow is what analysts would see of an event.
type sampleRow struct {
	tokens []string // one for each index; empty: NULL
	clear  []string // one for each of ClearColumns
	user   int64
	day    string
	known  bool // in the half that the attacker knows
}

// Sample reckons what a dataset gives away from the events that a function hands over one by one. One half of them,
// drawn with a fixed seed, is what the attacker knows; the other is attacked. rejected counts those that would be
// rejections.
func Sample(d *dataset.Dataset, events func(take func(body []byte)) error, rate float64) (
	report *Report, rejected int, err error) {
	s, err := newSampler(d)
	if err != nil {
		return nil, 0, err
	}
	if err := events(func(body []byte) {
		if !s.add(body) {
			rejected++
		}
	}); err != nil {
		return nil, 0, fmt.Errorf("reading the sample: %w", err)
	}
	if len(s.rows) == 0 {
		return nil, rejected, fmt.Errorf("reading the sample: none of its %d events is one of dataset %s: "+
			"ingest test says why", rejected, d.Name)
	}
	return s.report(rate), rejected, nil
}

type sampler struct {
	d       *dataset.Dataset
	decoder *dataset.Decoder
	tokens  *dataset.Tokeniser
	half    *rand.Rand
	rows    []sampleRow
	reused  map[string]string // one copy of each text
}

func newSampler(d *dataset.Dataset) (*sampler, error) {
	// It protects nothing: who has the sample has the values. Always the same, it makes the same report again.
	key := sha256.Sum256([]byte("sample"))
	var subkeys []*blindindex.Subkey
	for _, ix := range d.Indexes() {
		subkey, err := blindindex.Derive(key[:], d.Name, ix.Member.Name, ix.Transform, 1)
		if err != nil {
			return nil, err
		}
		subkeys = append(subkeys, subkey)
	}
	tokens, err := dataset.NewTokeniser(d, subkeys)
	return &sampler{
		d: d, decoder: dataset.NewDecoder(d), tokens: tokens, half: rand.New(rand.NewPCG(15, 5)),
		reused: map[string]string{},
	}, err
}

// add reports false for an event that would be a rejection.
func (s *sampler) add(line []byte) bool {
	event, rejection := s.decoder.Decode(line)
	if rejection != (dataset.Rejection{}) {
		return false
	}
	row := sampleRow{known: s.half.Uint64()&1 == 0}
	if len(event.Subject) > 0 {
		sum := sha256.Sum256(event.Subject)
		row.user = int64(binary.BigEndian.Uint64(sum[:]) | 1) // 0: nobody's
	}
	if !event.Time.IsZero() {
		row.day = s.once(event.Time.UTC().AppendFormat(nil, "2006-01-02"))
	}
	var token []byte
	for i, ix := range s.d.Indexes() {
		at := slices.IndexFunc(s.d.Members, func(m dataset.Member) bool { return m.Name == ix.Member.Name })
		token = token[:0]
		if v := &event.Values[at]; !v.Null {
			var reason dataset.Reason
			var err error
			if token, reason, err = s.tokens.AppendToken(token, i, v.Text); reason != "" || err != nil {
				return false
			}
		}
		row.tokens = append(row.tokens, s.once(token))
	}
	for i := range s.d.Members {
		m, v := &s.d.Members[i], &event.Values[i]
		switch {
		case !slices.Contains(ClearColumns(s.d), m.Name) && (m.Protect == nil || m.Protect.Reveal == ""):
		case v.Null:
			row.clear = append(row.clear, "")
		case m.Protect == nil && v.HasVersion:
			row.clear = append(row.clear, s.once(strconv.AppendInt(nil, int64(v.Version), 10)))
		case m.Protect == nil && v.Canonical != nil:
			row.clear = append(row.clear, s.once(v.Canonical))
		case m.Protect == nil:
			row.clear = append(row.clear, s.once(v.Text))
		default:
			shown, _ := s.tokens.AppendReveal(nil, i, v.Text)
			row.clear = append(row.clear, s.once(shown))
		}
	}
	s.rows = append(s.rows, row)
	return true
}

// once keeps one copy of each text.
func (s *sampler) once(text []byte) string {
	if kept, ok := s.reused[string(text)]; ok {
		return kept
	}
	kept := string(text)
	s.reused[kept] = kept
	return kept
}

func (s *sampler) report(rate float64) *Report {
	r := &Report{Dataset: s.d.Name, Known: "the other half of the sample", Rate: rate, Indexes: []Index{}}
	names, values := ClearColumns(s.d), map[string]int{}
	for i, name := range names {
		seen := map[string]bool{}
		for _, row := range s.rows {
			if len(seen) <= FewValues {
				seen[row.clear[i]] = true
			}
		}
		values[name] = len(seen)
	}
	r.Clear, r.Left = ChooseClear(names, values)
	cellOf := func(row *sampleRow) string {
		var parts []string
		for i, name := range names {
			if slices.Contains(r.Clear, name) {
				parts = append(parts, row.clear[i])
			}
		}
		return strings.Join(parts, "\x00")
	}
	indexes := s.d.Indexes()
	for i, ix := range indexes {
		data := s.count(func(row *sampleRow) string { return row.tokens[i] }, cellOf)
		data.Index, data.Halves = ix, true
		if len(r.Clear) == 0 {
			data.Cells = nil
		}
		data.Users, data.Holders = s.users(i)
		r.Indexes = append(r.Indexes, Measure(data, rate))
	}
	for i := range s.d.Members {
		s.together(r, indexes, &s.d.Members[i], names)
	}
	return r
}

// together takes all that a member shows at once.
func (s *sampler) together(r *Report, indexes []dataset.Index, m *dataset.Member, clear []string) {
	if len(m.Indexes()) == 0 || len(m.Indexes()) == 1 && m.Protect.Reveal == "" {
		return
	}
	var tokens []int // the finest first
	for _, ix := range Finest(m.Indexes()) {
		tokens = append(tokens, slices.IndexFunc(indexes, func(o dataset.Index) bool {
			return o.Member.Name == m.Name && o.Kind == ix.Kind
		}))
	}
	tuple := func(row *sampleRow, of []int) string {
		var parts []string
		for _, i := range of {
			parts = append(parts, row.tokens[i])
		}
		return strings.Join(parts, "\x00")
	}
	symbol := func(row *sampleRow) string {
		if t := row.tokens[tokens[0]]; t == "" || t == dataset.NoToken {
			return t
		}
		return tuple(row, tokens)
	}
	var right []float64
	if len(tokens) > 1 {
		coarse := func(row *sampleRow) string { return tuple(row, tokens[1:]) }
		right = append(right, s.count(symbol, coarse).Cells.Guessed())
	}
	if m.Protect.Reveal != "" {
		at := slices.Index(clear, m.RevealColumn())
		right = append(right, s.count(symbol, func(row *sampleRow) string { return row.clear[at] }).Cells.Labelled())
	}
	r.All(m.Name, indexes[tokens[0]].Kind, right...)
}

// count counts symbols alone and by cell, as the vault's function does.
func (s *sampler) count(symbol, cell func(*sampleRow) string) Data {
	type place struct{ cell, symbol string }
	var data Data
	counts, inCell := map[string][2]int64{}, map[place][2]int64{}
	for i := range s.rows {
		row := &s.rows[i]
		text, half := symbol(row), 0
		if row.known {
			half = 1
		}
		switch text {
		case "":
			continue
		case dataset.NoToken:
			data.Nothing++
			continue
		}
		n := counts[text]
		n[half]++
		counts[text] = n
		at := place{cell(row), text}
		n = inCell[at]
		n[half]++
		inCell[at] = n
	}
	data.Histogram = histogramOf(counts)
	numbers, byCell, vectors := map[string]int{}, map[string]map[string][2]int64{}, map[string]*Vector{}
	for at, n := range inCell {
		if byCell[at.cell] == nil {
			byCell[at.cell] = map[string][2]int64{}
		}
		byCell[at.cell][at.symbol] = n
	}
	data.Cells = &Cells{}
	for i, name := range slices.Sorted(maps.Keys(byCell)) {
		numbers[name] = i
		data.Cells.Add(histogramOf(byCell[name]))
	}
	for at, n := range inCell {
		v := vectors[at.symbol]
		if v == nil {
			if len(numbers) > MaxCells {
				break
			}
			v = &Vector{Rows: make([]int64, len(numbers)), Known: make([]int64, len(numbers))}
			vectors[at.symbol] = v
		}
		v.Rows[numbers[at.cell]], v.Known[numbers[at.cell]] = n[0], n[1]
	}
	for _, symbol := range slices.Sorted(maps.Keys(vectors)) {
		data.Vectors = append(data.Vectors, *vectors[symbol])
	}
	MarkHeads(data.Vectors)
	return data
}

func histogramOf(counts map[string][2]int64) Histogram {
	tokens := map[[2]int64]int64{}
	for _, n := range counts {
		tokens[n]++
	}
	var h Histogram
	for n, k := range tokens {
		h = append(h, Count{n[0], n[1], k})
	}
	// Sums of floating-point numbers depend on the order.
	slices.SortFunc(h, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(b.Known, a.Known))
	})
	return h
}

// users draws subjects and their pairs of an index.
func (s *sampler) users(index int) ([]User, map[Pair][]int64) {
	pairs := map[int64]map[Pair]bool{}
	for i := range s.rows {
		row := &s.rows[i]
		if t := row.tokens[index]; row.user != 0 && t != "" && t != dataset.NoToken {
			if pairs[row.user] == nil {
				pairs[row.user] = map[Pair]bool{}
			}
			pairs[row.user][Pair{t, row.day}] = true
		}
	}
	var ids []int64
	for id := range pairs {
		ids = append(ids, id)
	}
	slices.Sort(ids) // They are hashes: this order is a draw.
	ids = ids[:min(Users, len(ids))]
	random := rand.New(rand.NewPCG(2, 4))
	holders := map[Pair][]int64{}
	var users []User
	for _, id := range ids {
		user := User{ID: id}
		for p := range pairs[id] {
			user.Pairs = append(user.Pairs, p)
		}
		slices.SortFunc(user.Pairs, func(a, b Pair) int { return strings.Compare(a.Token+a.Day, b.Token+b.Day) })
		random.Shuffle(len(user.Pairs), func(i, j int) { user.Pairs[i], user.Pairs[j] = user.Pairs[j], user.Pairs[i] })
		user.Pairs = user.Pairs[:min(4, len(user.Pairs))]
		for _, p := range user.Pairs {
			holders[p] = nil
		}
		users = append(users, user)
	}
	for id, has := range pairs {
		for p := range has {
			if list, drawn := holders[p]; drawn {
				holders[p] = append(list, id)
			}
		}
	}
	return users, holders
}

package infer

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// Limits of what is kept about a sample. Beyond them it is counted, and the draft says so.
const (
	maxNodes    = 2000 // places in events
	maxDepth    = 8    // of objects that are taken apart; what lies deeper stays JSON
	maxChildren = 300  // of one object: with more, its names are data
	maxName     = 128  // bytes of a member's name
	maxNamed    = 5    // lines that are named
	// firstEvents are held back, to learn what most events look like.
	firstEvents = 200
	firstBytes  = 4 << 20
)

// Sample is what was learnt of events. It is not for concurrent use.
type Sample struct {
	seed    maphash.Seed
	strict  *dataset.Decoder
	root    *node
	nodes   int
	strange int // members left out: too many, or with names that look like values

	events  int64
	broken  map[dataset.Reason]*lines
	foreign lines // events that share no member with most others
	first   []held
	size    int
	core    map[string]bool // members that most of the first events have; nil: not known yet
	hash    uint64          // of the event in hand
	wide    int             // places that keep many values
}

// held is an event that waits until the core is known.
type held struct {
	line int64
	body []byte
}

// lines count lines and name the first ones.
type lines struct {
	N     int64
	First []int64
}

func (l *lines) add(line int64) {
	l.N++
	if len(l.First) < maxNamed {
		l.First = append(l.First, line)
	}
}

// NewSample begins a sample.
func NewSample() *Sample {
	// No dataset is at hand yet. Any one judges the text of an event as a whole; this one has a member that no event has.
	any, err := dataset.Parse([]byte("dataset: any\ntable: any\nmembers: [{name: any, type: boolean, from: \"/\\u0000\"}]"))
	if err != nil {
		panic(fmt.Sprintf("infer: %v", err))
	}
	return &Sample{
		seed: maphash.MakeSeed(), strict: dataset.NewDecoder(any), root: &node{}, broken: map[dataset.Reason]*lines{},
	}
}

// Add takes an event. line says where it stood, for messages.
func (s *Sample) Add(line int64, body []byte) {
	if _, rejection := s.strict.Decode(body); rejection.Reason != "" {
		s.Reject(line, rejection.Reason)
		return
	}
	if s.core != nil {
		s.take(line, body)
		return
	}
	s.first = append(s.first, held{line, bytes.Clone(body)})
	if s.size += len(body); len(s.first) >= firstEvents || s.size >= firstBytes {
		s.learnCore()
	}
}

// Reject counts an event that could not be got at, such as one in an envelope that is broken.
func (s *Sample) Reject(line int64, reason dataset.Reason) {
	if s.broken[reason] == nil {
		s.broken[reason] = &lines{}
	}
	s.broken[reason].add(line)
}

// learnCore finds the members that more than half of the first events have, and takes those events.
func (s *Sample) learnCore() {
	counts := map[string]int{}
	for _, e := range s.first {
		for _, name := range namesOf(e.body) {
			counts[name]++
		}
	}
	s.core = map[string]bool{}
	for name, n := range counts {
		if 2*n > len(s.first) {
			s.core[name] = true
		}
	}
	// With many that differ, or few events, there is no telling which kind was meant.
	strange := 0
	for _, e := range s.first {
		if !s.ofKind(e.body) {
			strange++
		}
	}
	if len(s.first) < enough || 10*strange > len(s.first) {
		clear(s.core)
	}
	for _, e := range s.first {
		s.take(e.line, e.body)
	}
	s.first = nil
}

// ofKind: the event has a member that most have.
func (s *Sample) ofKind(body []byte) bool {
	return slices.ContainsFunc(namesOf(body), func(name string) bool { return s.core[name] })
}

// namesOf are the names at the top of an event that was read strictly.
func namesOf(body []byte) []string {
	var names []string
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	for d.PeekKind() == jsontext.KindString {
		token, err := d.ReadToken()
		if err != nil {
			return names
		}
		names = append(names, token.String())
		if err := d.SkipValue(); err != nil {
			return names
		}
	}
	return names
}

// take counts an event, if it is one of the kind that most are.
func (s *Sample) take(line int64, body []byte) {
	if len(s.core) > 0 && !s.ofKind(body) {
		s.foreign.add(line)
		return
	}
	s.events++
	s.hash = maphash.Bytes(s.seed, bytes.TrimSpace(body))
	s.object(s.root, bytes.TrimSpace(body), 0)
}

// object takes an object apart.
func (s *Sample) object(at *node, raw []byte, depth int) {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if _, err := d.ReadToken(); err != nil {
		return
	}
	for d.PeekKind() == jsontext.KindString {
		token, err := d.ReadToken()
		if err != nil {
			return
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return
		}
		if child := s.child(at, name); child != nil {
			s.value(child, value, depth+1)
		} else if at != s.root {
			at.inside().text(s, []byte(name))
			s.scan(at, value)
		}
	}
}

// child is the place of a name below another, or nil where it is not looked at.
func (s *Sample) child(at *node, name string) *node {
	if child := at.children[name]; child != nil {
		return child
	}
	if at.open {
		return nil
	}
	if len(name) > maxName || nameIsValue(name) || len(at.children) >= maxChildren || s.nodes >= maxNodes {
		// Below the top, the object is kept whole instead.
		at.open = at != s.root
		s.strange++
		return nil
	}
	s.nodes++
	child := &node{parent: at, name: name, path: append(at.path[:len(at.path):len(at.path)], name), place: s.nodes}
	if at.children == nil {
		at.children = map[string]*node{}
	}
	at.children[name] = child
	return child
}

// nameIsValue reports whether a member's name looks like data: an object that maps addresses to counts.
func nameIsValue(name string) bool {
	found := inspect(name)
	digits, _, _, _, _, _ := look(name)
	for _, h := range []hit{hitEmail, hitEmailIn, hitIP, hitIPIn, hitCard, hitIBAN, hitSecret, hitMAC, hitSSN, hitName} {
		if found.has(h) {
			return true
		}
	}
	return digits >= 6 || dataset.Reads(dataset.UUID, jsontext.KindString, []byte(name)) || !utf8.ValidString(name)
}

// value counts a value at its place.
func (s *Sample) value(at *node, raw jsontext.Value, depth int) {
	size := utf8.RuneCount(raw)
	at.rawMax = max(at.rawMax, size)
	if size > maxJSON {
		at.tooLong++
	}
	if kind := raw.Kind(); kind != jsontext.KindNull && !dataset.Reads(dataset.JSON, kind, raw) {
		at.unstorable++
	}
	switch kind := raw.Kind(); kind {
	case jsontext.KindNull:
		at.nulls++
	case jsontext.KindBeginObject:
		at.objects++
		if depth < maxDepth {
			s.object(at, raw, depth)
		} else {
			s.scan(at, raw)
		}
	case jsontext.KindBeginArray:
		at.arrays++
		s.array(at, raw, depth)
	case jsontext.KindString:
		var room [256]byte
		text, _ := jsontext.AppendUnquote(room[:0], raw)
		at.text(s, text)
	case jsontext.KindNumber:
		at.number(s, raw)
	default:
		at.booleans++
		at.distinct(s, raw)
	}
}

// array counts the elements of an array at one place of their own.
func (s *Sample) array(at *node, raw []byte, depth int) {
	if depth >= maxDepth {
		s.scan(at, raw)
		return
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if _, err := d.ReadToken(); err != nil {
		return
	}
	for d.PeekKind() != jsontext.KindEndArray {
		value, err := d.ReadValue()
		if err != nil {
			return
		}
		s.value(at.inside(), value, depth+1)
	}
}

// inside is the place of all that is within an array, or is not taken apart.
func (n *node) inside() *node {
	if n.elements == nil {
		n.elements = &node{parent: n, name: n.name, path: n.path, place: n.place}
	}
	return n.elements
}

// scan looks at every text of a value that is not taken apart, names included.
func (s *Sample) scan(at *node, raw []byte) {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return
		}
		if token.Kind() == jsontext.KindString {
			at.inside().text(s, []byte(token.String()))
		}
	}
}

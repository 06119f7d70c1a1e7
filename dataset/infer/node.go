package infer

import (
	"bytes"
	"hash/maphash"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/dataset"
)

// Limits of what a place keeps of its values.
const (
	manyValues = 1100    // distinct values, as hashes; it is more than lint calls few
	idValues   = 1 << 17 // of a member that may be the id
	maxIDs     = 8       // members that may be the id
	maxCodes   = 12      // values that may be quoted
	maxCode    = 24      // their bytes
	maxNones   = 8       // spellings of none
)

// node is a place in the events, and what was counted there.
type node struct {
	parent   *node
	name     string
	path     []string
	place    int // in the order of first appearance
	children map[string]*node
	elements *node // of arrays, and of what lies too deep: all its values together
	open     bool  // its names are data, or too many: it stays JSON

	nulls, objects, arrays, texts, numbers, booleans int64
	rawMax                                           int   // characters of the JSON text
	unstorable, tooLong                              int64 // values that a jsonb cannot hold; that no json may be

	textMax     int   // characters
	textBytes   int   // bytes
	empty       int64 // texts of no character
	blank       int64 // texts without a letter or a number, the empty ones not counted
	nul         int64 // texts with U+0000
	noDigit     int64 // texts without a digit
	nones       map[string]int64
	otherNones  int64 // texts that mean none, in further spellings
	reads       [readsEnd]int64
	hits        [hitsEnd]int64
	numbersRead [readsEnd]int64
	whole       int // digits of numbers before the point
	fraction    int // and after it

	seen  map[uint64]uint64 // hashes of values, and of the event that had each first
	wide  bool              // it may be the id: more are kept
	full  bool              // there are more
	same  int64             // values that came again, in the same event sent again
	twice int64             // in another event
	codes map[string]int64  // nil, once there are too many

	numberHits [hitsEnd]int64
}

// read is a type that values are tried as.
type read int

const (
	readIP read = iota
	readUUID
	readHyphens // a uuid with its hyphens
	readDate
	readTimestamp
	readVersion
	readNumber  // a number, also within a text
	readDecimal // a text that is a number with a decimal point
	readInteger
	readsEnd
)

var readAs = map[read]dataset.Type{
	readIP: dataset.IP, readUUID: dataset.UUID, readDate: dataset.Date, readTimestamp: dataset.Timestamp,
	readVersion: dataset.Version,
}

// values are how many values there were, nulls not counted.
func (n *node) values() int64 { return n.objects + n.arrays + n.texts + n.numbers + n.booleans }

// text counts a text.
func (n *node) text(s *Sample, text []byte) {
	n.texts++
	n.distinct(s, text)
	size := utf8.RuneCount(text)
	n.textMax, n.textBytes = max(n.textMax, size), max(n.textBytes, len(text))
	if size == 0 {
		n.empty++
		return
	}
	if bytes.IndexByte(text, 0) >= 0 {
		n.nul++
	}
	if meansNone(string(text)) {
		n.none(string(text))
		return
	}
	if !bytes.ContainsAny(text, "0123456789") {
		n.noDigit++
	}
	if !bytes.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.L, unicode.N) }) {
		n.blank++
	}
	n.try(text, size)
	found := inspect(string(text))
	for h := range hitsEnd {
		if found.has(h) {
			n.hits[h]++
		}
	}
}

// try reads a text as each type.
func (n *node) try(text []byte, size int) {
	if size > 64 {
		return
	}
	for what, t := range readAs {
		if dataset.Reads(t, jsontext.KindString, text) {
			n.reads[what]++
			if what == readUUID && size == 36 {
				n.reads[readHyphens]++
			}
		}
	}
	if whole, fraction, ok := dataset.Digits(text); ok {
		n.reads[readNumber]++
		if bytes.IndexByte(text, '.') >= 0 {
			n.reads[readDecimal]++
		}
		n.whole, n.fraction = max(n.whole, whole), max(n.fraction, fraction)
	}
}

// none counts a text that means none by its spelling.
func (n *node) none(text string) {
	if n.nones == nil {
		n.nones = map[string]int64{}
	}
	if _, known := n.nones[text]; !known && len(n.nones) >= maxNones {
		n.otherNones++
		return
	}
	n.nones[text]++
}

func (n *node) noneCount() int64 {
	total := n.otherNones
	for _, count := range n.nones {
		total += count
	}
	return total
}

// number counts a number.
func (n *node) number(s *Sample, raw []byte) {
	n.numbers++
	n.distinct(s, raw)
	if dataset.Reads(dataset.Integer, jsontext.KindNumber, raw) {
		n.numbersRead[readInteger]++
	}
	if dataset.Reads(dataset.Version, jsontext.KindNumber, raw) {
		n.numbersRead[readVersion]++
	}
	if whole, fraction, ok := dataset.Digits(raw); ok {
		n.numbersRead[readNumber]++
		n.whole, n.fraction = max(n.whole, whole), max(n.fraction, fraction)
	}
	found := inspect(string(raw))
	for h := range hitsEnd {
		if found.has(h) {
			n.numberHits[h]++
		}
	}
}

// distinct counts different values, as far as that is of use.
func (n *node) distinct(s *Sample, value []byte) {
	if n.codes == nil && n.seen == nil {
		n.codes = map[string]int64{}
	}
	if n.codes != nil {
		if _, known := n.codes[string(value)]; !known && (len(value) > maxCode || len(n.codes) >= maxCodes) {
			n.codes = nil
		} else {
			n.codes[string(value)]++
		}
	}
	if n.seen == nil {
		n.seen = map[uint64]uint64{}
	}
	hash := maphash.Bytes(s.seed, value)
	event, known := n.seen[hash]
	most := manyValues
	if n.wide || len(n.seen) == manyValues && n.mayBeID() && s.wide < maxIDs {
		if !n.wide {
			n.wide = true
			s.wide++
		}
		most = idValues
	}
	switch {
	case known && event == s.hash:
		n.same++
	case known:
		n.twice++
	case len(n.seen) < most:
		n.seen[hash] = s.hash
	default:
		n.full = true
	}
}

// mayBeID: no value has come twice yet in events that differ, and the name speaks of an id.
func (n *node) mayBeID() bool { return n.twice == 0 && n.elements == nil && namesID(n.path) }

// all reports whether every value that is neither empty nor a way to say none was read as a type.
func (n *node) all(what read) bool {
	count := n.meant()
	return count > 0 && n.reads[what] == count
}

// meant is how many texts hold something.
func (n *node) meant() int64 { return n.texts - n.empty - n.noneCount() }

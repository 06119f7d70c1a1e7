package dataset

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"cloakroom/crypto/blindindex"
)

// Tokeniser makes the tokens of protected members under one version of the index key, and the forms that they
// reveal. What it takes is the text that is sealed, so that the same function serves ingest, verification and
// reindex. It is not for concurrent use.
type Tokeniser struct {
	fields  []field
	indexes []Index
	member  []int                  // of each index, its member's position
	direct  []bool                 // of each member: the hasher takes its text as it is
	steps   []blindindex.Transform // of each member, its normalisation whole; empty: none
	reveal  []blindindex.Transform // of each member; empty: nothing
	nothing []map[string]bool      // of each member, the values that mean "none", normalised
	hashers []*blindindex.Hasher
	room    []byte
	normal  []byte
}

// NewTokeniser takes one subkey for each of [Dataset.Indexes], in their order. Without subkeys it reveals and makes
// no tokens.
func NewTokeniser(d *Dataset, subkeys []*blindindex.Subkey) (*Tokeniser, error) {
	t := &Tokeniser{indexes: d.Indexes()}
	if len(subkeys) != 0 && len(subkeys) != len(t.indexes) {
		return nil, fmt.Errorf("preparing tokens: dataset %s has %d indexes, and there are %d subkeys", d.Name,
			len(t.indexes), len(subkeys))
	}
	for _, s := range subkeys {
		t.hashers = append(t.hashers, s.NewHasher())
	}
	for _, ix := range t.indexes {
		t.member = append(t.member, d.index(ix.Member.Name))
	}
	for i := range d.Members {
		m := &d.Members[i]
		// What is stored may be older than a bound: it is held to its form alone.
		form := *m
		form.Least, form.Most, form.Pattern, form.Enum = "", "", "", nil
		form.Precision, form.Scale = 2*maxExponent, maxExponent
		t.fields = append(t.fields, newField(&form))
		// An address and a text are normalised by their transform.
		t.direct = append(t.direct, (m.Type == Text || m.Type == IP) && (m.Protect == nil || len(m.Protect.Nothing) == 0))
		var steps, reveal blindindex.Transform
		nothing := map[string]bool{}
		if m.Protect != nil && len(m.Protect.Normalise) > 0 {
			var err error
			if steps, err = m.Protect.Transform(Exact); err != nil {
				return nil, fmt.Errorf("preparing tokens of %s: %w", m.Name, err)
			}
			if m.Protect.Reveal != "" {
				if reveal, err = m.Protect.revealTransform(); err != nil {
					return nil, fmt.Errorf("preparing what %s reveals: %w", m.Name, err)
				}
			}
			for _, value := range m.Protect.Nothing {
				// What has no normal form means "none" as it is listed.
				if normal, err := steps.Normalise(value); err == nil {
					nothing[normal] = true
				}
			}
		}
		t.steps, t.reveal, t.nothing = append(t.steps, steps), append(t.reveal, reveal), append(t.nothing, nothing)
	}
	return t, nil
}

// AppendToken appends the token of a value for the index at a position among [Dataset.Indexes]:
// [blindindex.TokenLength] bytes, or [NoToken] for a value that means "none" or lacks the part that is indexed.
// text is what is sealed.
//
// A reason says that the value cannot be stored: a required member of which normalising leaves nothing, or one that
// [Decoder] would not have let pass. dst is then as it was.
func (t *Tokeniser) AppendToken(dst []byte, index int, text []byte) ([]byte, Reason, error) {
	at, value := t.member[index], text
	if !t.direct[at] {
		var nothing bool
		var reason Reason
		if value, nothing, reason = t.canonical(at, text); reason != "" {
			return dst, reason, nil
		}
		if nothing {
			return append(dst, NoToken...), "", nil
		}
	}
	out, err := t.hashers[index].AppendToken(dst, stringOf(value))
	switch {
	case err == nil:
		return out, "", nil
	case errors.Is(err, blindindex.ErrPart):
		return append(dst, NoToken...), "", nil
	case errors.Is(err, blindindex.ErrEmpty) && t.fields[at].Required:
		return dst, MissingField, nil
	case errors.Is(err, blindindex.ErrEmpty):
		return append(dst, NoToken...), "", nil
	case errors.Is(err, blindindex.ErrAddress):
		return dst, BadIP, nil
	case errors.Is(err, blindindex.ErrUTF8):
		return dst, InvalidUTF8, nil
	}
	return dst, "", err
}

// SameToken reports whether a stored token is the one that AppendToken gave, NoToken included.
func SameToken(stored, token string) bool {
	return stored == NoToken && token == NoToken || blindindex.EqualToken(stored, token)
}

// AppendStored is AppendToken for a value that is stored already. Of a required member normalising may leave nothing, if
// it was in clear, or not required, when it was stored: it has [NoToken].
func (t *Tokeniser) AppendStored(dst []byte, index int, text []byte) ([]byte, Reason, error) {
	out, reason, err := t.AppendToken(dst, index, text)
	if reason == MissingField {
		return append(dst, NoToken...), "", err
	}
	return out, reason, err
}

// minLast4 is the fewest characters of which the last four are shown: of less they would be half of the value or more.
const minLast4 = 9

// AppendReveal appends what a member, by its position, shows of a value in clear. It reports false where that is
// NULL: the member reveals nothing, the value means "none", it has no such part, or it is too short to show four
// characters of it.
func (t *Tokeniser) AppendReveal(dst []byte, member int, text []byte) ([]byte, bool) {
	if t.reveal[member] == "" {
		return dst, false
	}
	value, nothing, reason := t.canonical(member, text)
	if nothing || reason != "" {
		return dst, false
	}
	if t.fields[member].Protect.Reveal == revealLast4 {
		normal, err := t.steps[member].AppendNormal(t.normal[:0], stringOf(value))
		t.normal = normal[:0]
		n := utf8.RuneCount(normal)
		clear(normal)
		if err != nil || n < minLast4 {
			return dst, false
		}
	}
	out, err := t.reveal[member].AppendNormal(dst, stringOf(value))
	return out, err == nil
}

// canonical is what a token is made of: a text as it is, another value in the canonical form of its type.
func (t *Tokeniser) canonical(member int, text []byte) (value []byte, nothing bool, reason Reason) {
	f := &t.fields[member]
	if len(f.nothing) > 0 && f.nothing[string(text)] {
		return nil, true, ""
	}
	value = text
	if f.Type != Text && f.Type != IP {
		clear(t.room)
		v := Value{Kind: jsontext.KindString, Text: text, Canonical: text}
		if t.room, reason = f.read(&v, t.room[:0]); reason != "" {
			return nil, false, reason
		}
		value = v.Canonical
	}
	if len(t.nothing[member]) > 0 {
		normal, err := t.steps[member].AppendNormal(t.normal[:0], stringOf(value))
		nothing = err == nil && t.nothing[member][string(normal)]
		clear(normal)
		t.normal = normal[:0]
	}
	return value, nothing, ""
}

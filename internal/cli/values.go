package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Range is what a number or a duration may be. The ends are part of it.
type Range[T cmp.Ordered] struct {
	Min, Max T
	// Zero is what 0 means where it is allowed although it lies outside: "no limit".
	Zero string
	// Unset is what the default 0 means although 0 may not be given: "the policy's".
	Unset string
}

// Between is the range from min to max, both included.
func Between[T cmp.Ordered](min, max T) Range[T] { return Range[T]{Min: min, Max: max} }

// OrUnset lets the default be 0, which nobody may give, and says what it means.
func (r Range[T]) OrUnset(meaning string) Range[T] { r.Unset = meaning; return r }

// OrZero also allows 0, and says what it means.
func (r Range[T]) OrZero(meaning string) Range[T] { r.Zero = meaning; return r }

func (r Range[T]) holds(v T) bool {
	var zero T
	return v >= r.Min && v <= r.Max || r.Zero != "" && v == zero
}

// kind is how values of a type are read, written and described.
type kind[T any] struct {
	name  string // in help: --workers NUMBER
	form  string // in errors: "a whole number"
	parse func(string) (T, error)
	show  func(T) string
}

// value is a flag's value. It is a pflag.Value.
type value[T any] struct {
	kind[T]
	p      *T
	limits string // "from 1 to 64"; empty: none
	within func(T) bool
}

func (v *value[T]) Set(text string) error {
	got, err := v.parse(text)
	if err == nil && (v.within == nil || v.within(got)) {
		*v.p = got
		return nil
	}
	want := "want " + v.form
	if v.limits != "" {
		want += " " + v.limits
	}
	var because *reason
	if errors.As(err, &because) {
		want += " (" + because.text + ")"
	}
	return errors.New(want)
}

func (v *value[T]) String() string {
	if v.p == nil {
		return ""
	}
	return v.show(*v.p)
}

// Type names the value in help texts.
func (v *value[T]) Type() string { return v.name }

// reason is a parser's error that helps beside what is wanted.
type reason struct{ text string }

func (r *reason) Error() string { return r.text }

func ranged[T cmp.Ordered](k kind[T], p *T, r Range[T]) *value[T] {
	limits := fmt.Sprintf("from %s to %s", k.show(r.Min), k.show(r.Max))
	if r.Zero != "" {
		limits += ", or 0: " + r.Zero
	}
	return &value[T]{kind: k, p: p, limits: limits, within: r.holds}
}

var (
	intKind = kind[int]{"NUMBER", "a whole number", strconv.Atoi, strconv.Itoa}
	bigKind = kind[int64]{"NUMBER", "a whole number",
		func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) },
		func(n int64) string { return strconv.FormatInt(n, 10) }}

	floatKind = kind[float64]{"NUMBER", "a number",
		func(s string) (float64, error) { return strconv.ParseFloat(s, 64) },
		func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }}

	durationKind = kind[time.Duration]{
		"DURATION", "a duration such as 30s, 10m, 24h or 90d", parseDurationFlag, FormatDuration,
	}

	sizeKind = kind[int64]{"SIZE", "a size such as 512KiB, 64MiB or 2GiB", parseSize, formatSize}
	textKind = kind[string]{"TEXT", "a text", func(s string) (string, error) { return s, nil }, strings.Clone}
	boolKind = kind[bool]{"bool", "true or false", strconv.ParseBool, strconv.FormatBool}

	dateKind  = timeKind("DATE", "a date, YYYY-MM-DD", time.DateOnly)
	monthKind = timeKind("MONTH", "a month, YYYY-MM", "2006-01")

	uuidKind = kind[uuid.UUID]{"ID", "an id such as 0198c2f0-5f0e-7000-8000-000000000000", uuid.Parse, formatUUID}
)

func parseDurationFlag(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil // the one duration that is the same in every unit
	}
	d, err := ParseDuration(text)
	if err != nil {
		err = &reason{err.Error()}
	}
	return d, err
}

// formatUUID writes the zero id, which is no request's, as an empty text: the flag was not given.
func formatUUID(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func timeKind(name, form, layout string) kind[time.Time] {
	parse := func(s string) (time.Time, error) { return time.Parse(layout, s) }
	return kind[time.Time]{name, form, parse, func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(layout)
	}}
}

var sizes = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(text string) (int64, error) {
	for _, unit := range sizes {
		number, found := strings.CutSuffix(text, unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n > 1<<62/unit.bytes {
			return 0, &reason{"it is not a whole number of " + unit.suffix}
		}
		return n * unit.bytes, nil
	}
	if text == "0" {
		return 0, nil
	}
	return 0, &reason{"it needs a unit: B, KiB, MiB or GiB"}
}

func formatSize(n int64) string {
	for _, unit := range sizes {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.suffix
		}
	}
	return "0"
}

// oneOf is a text from a list.
func oneOf(p *string, allowed []string) *value[string] {
	k := textKind
	k.name, k.form = strings.Join(allowed, "|"), "one of "+strings.Join(allowed, ", ")
	return &value[string]{kind: k, p: p, within: func(s string) bool { return slices.Contains(allowed, s) }}
}

// list is a list of texts: with commas, or the flag repeated. It is a pflag.Value.
type list struct {
	p       *[]string
	changed bool
	check   func(string) error // of one element; may be nil
}

func (l *list) Set(text string) error {
	if !l.changed {
		*l.p, l.changed = nil, true // the default goes
	}
	for element := range strings.SplitSeq(text, ",") {
		if err := l.add(strings.TrimSpace(element)); err != nil {
			return err
		}
	}
	return nil
}

func (l *list) add(element string) error {
	switch {
	case element == "":
		return errors.New("want one text or several, none of them empty")
	case slices.Contains(*l.p, element):
		return fmt.Errorf("%q is named twice", element)
	}
	if l.check != nil {
		if err := l.check(element); err != nil {
			return err
		}
	}
	*l.p = append(*l.p, element)
	return nil
}

func (l *list) String() string {
	if l.p == nil {
		return ""
	}
	return strings.Join(*l.p, ",")
}

// Type names the value in help texts.
func (l *list) Type() string { return "LIST" }

// each is a list of texts that may hold commas: the flag is repeated, or semicolons stand between them. It is a
// pflag.Value.
type each struct {
	list
}

func (l *each) Set(text string) error {
	if !l.changed {
		*l.p, l.changed = nil, true
	}
	for element := range strings.SplitSeq(text, ";") {
		if err := l.add(strings.TrimSpace(element)); err != nil {
			return err
		}
	}
	return nil
}

func (l *each) String() string {
	if l.p == nil {
		return ""
	}
	return strings.Join(*l.p, "; ")
}

// Type names the value in help texts.
func (l *each) Type() string { return "TEXT" }

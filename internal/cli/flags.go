package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Flags declares the flags of one command. Each flag is also an environment variable and a key of
// the YAML file, and has one variable that a command reads: nothing asks for a flag by its name.
//
// Every number and every duration has a range. A value outside is an error that says the range and
// the form, whatever it came from, before the command runs.
type Flags struct {
	cmd *cobra.Command
	set *pflag.FlagSet
}

// Of declares flags of a command alone.
func Of(cmd *cobra.Command) Flags { return Flags{cmd, cmd.Flags()} }

// Shared declares flags of a command and of all below it.
func Shared(cmd *cobra.Command) Flags { return Flags{cmd, cmd.PersistentFlags()} }

func (f Flags) add(v pflag.Value, name, help string) { f.addWithin(v, name, help, "", "") }

// addWithin declares a flag whose values have limits. unset is what its default means where that is
// not one of them.
func (f Flags) addWithin(v pflag.Value, name, help, limits, unset string) {
	text := limits
	if unset != "" {
		text += "; default: " + unset
	}
	if text != "" {
		text = help + " (" + text + ")"
	}
	f.set.Var(v, name, cmp.Or(text, help))
	f.annotate(name, partsAnnotation, help, limits, unset)
}

func number[T cmp.Ordered](f Flags, k kind[T], p *T, name string, def T, r Range[T], help string) {
	var zero T
	switch {
	case r.Unset != "" && def == zero:
		show := k.show
		k.show = func(v T) string {
			if v == zero {
				return "" // not a default for pflag to print
			}
			return show(v)
		}
	case !r.holds(def):
		panic(fmt.Sprintf("the default of --%s is outside its range", name))
	}
	*p = def
	v := ranged(k, p, r)
	f.addWithin(v, name, help, v.limits, r.Unset)
}

// Int declares a whole number.
func (f Flags) Int(p *int, name string, def int, r Range[int], help string) {
	number(f, intKind, p, name, def, r, help)
}

// Int64 declares a whole number.
func (f Flags) Int64(p *int64, name string, def int64, r Range[int64], help string) {
	number(f, bigKind, p, name, def, r, help)
}

// Float declares a number.
func (f Flags) Float(p *float64, name string, def float64, r Range[float64], help string) {
	number(f, floatKind, p, name, def, r, help)
}

// Duration declares a duration. A unit is compulsory.
func (f Flags) Duration(p *time.Duration, name string, def time.Duration, r Range[time.Duration], help string) {
	number(f, durationKind, p, name, def, r, help)
}

// Size declares a number of bytes, written with a unit.
func (f Flags) Size(p *int64, name string, def int64, r Range[int64], help string) {
	number(f, sizeKind, p, name, def, r, help)
}

// Bool declares a switch, which is off by default.
func (f Flags) Bool(p *bool, name, help string) {
	f.add(&value[bool]{kind: boolKind, p: p}, name, help)
	f.set.Lookup(name).NoOptDefVal = "true"
}

// String declares a text.
func (f Flags) String(p *string, name, def, help string) {
	*p = def
	f.add(&value[string]{kind: textKind, p: p}, name, help)
}

// Check declares a text that must pass a check. The check's error says what is wanted.
func (f Flags) Check(p *string, name, help string, check func(string) error) {
	k := textKind
	k.parse = func(s string) (string, error) {
		if err := check(s); err != nil {
			return "", &reason{err.Error()}
		}
		return s, nil
	}
	f.add(&value[string]{kind: k, p: p}, name, help)
}

// wideList is the width from which the values of a list stand in the help's text and not in its
// column of names: that column is as wide as its widest entry, and squeezes every other flag's text.
const wideList = 40

// OneOf declares a text from a list, which the shell completes.
func (f Flags) OneOf(p *string, name, def string, allowed []string, help string) {
	if def != "" && !slices.Contains(allowed, def) {
		panic("the default of --" + name + " is not among its values")
	}
	*p = def
	v, limits := oneOf(p, allowed), ""
	if len(v.name) > wideList {
		v.name, limits = "NAME", v.form
	}
	f.addWithin(v, name, help, limits, "")
	f.complete(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
}

// List declares a list of texts: with commas, or the flag repeated. check is of one element and may
// be nil.
func (f Flags) List(p *[]string, name, help string, check func(string) error) {
	f.add(&list{p: p, check: check}, name, help)
}

// Each declares a list of texts that may hold commas: the flag is repeated, or semicolons stand between them. check is
// of one element and may be nil.
func (f Flags) Each(p *[]string, name, help string, check func(string) error) {
	f.add(&each{list{p: p, check: check}}, name, help)
}

// Date declares a date, UTC.
func (f Flags) Date(p *time.Time, name, help string) {
	f.add(&value[time.Time]{kind: dateKind, p: p}, name, help)
}

// Month declares a month: its first day, UTC.
func (f Flags) Month(p *time.Time, name, help string) {
	f.add(&value[time.Time]{kind: monthKind, p: p}, name, help)
}

// UUID declares an id.
func (f Flags) UUID(p *uuid.UUID, name, help string) {
	f.add(&value[uuid.UUID]{kind: uuidKind, p: p}, name, help)
}

// Annotations of flags and commands.
const (
	secretAnnotation  = "cloakroom-secret"   // of a flag: its value is not printed
	partsAnnotation   = "cloakroom-parts"    // of a flag: what its help text is made of
	needsAnnotation   = "cloakroom-needs"    // of a flag: it means nothing without one of these
	excludeAnnotation = "cloakroom-excludes" // of a flag: it does not go with these
	requireAnnotation = "cloakroom-require"  // of a command: flags that it needs
	oneOfAnnotation   = "cloakroom-one-of"   // of a command: flags of which it needs exactly one
	groupAnnotation   = "cloakroom-group"    // of a command: it is there for those below it
)

// Secret declares a text that is never printed, and --NAME-file, which reads it from a file.
func (f Flags) Secret(p *string, name, help string) {
	f.add(&value[string]{kind: textKind, p: p}, name, help)
	f.annotate(name, secretAnnotation, "true")
	f.String(new(string), name+"-file", "", "file to read --"+name+" from")
}

// Hide leaves flags out of help texts: those for tuning that nobody should need.
func (f Flags) Hide(names ...string) {
	for _, name := range names {
		f.lookup(name).Hidden = true
	}
}

// Require makes flags compulsory.
func (f Flags) Require(names ...string) { f.rule(requireAnnotation, names) }

// ExactlyOne wants one of these flags, and one only.
func (f Flags) ExactlyOne(names ...string) { f.rule(oneOfAnnotation, names) }

// Needs refuses a flag on the command line that would be ignored: it means something only beside
// one of others.
func (f Flags) Needs(name string, others ...string) {
	f.annotate(name, needsAnnotation, f.known(others)...)
}

// Excludes refuses a flag on the command line beside others.
func (f Flags) Excludes(name string, others ...string) {
	f.annotate(name, excludeAnnotation, f.known(others)...)
}

func (f Flags) lookup(name string) *pflag.Flag {
	flag := f.set.Lookup(name)
	if flag == nil {
		panic("there is no flag --" + name)
	}
	return flag
}

func (f Flags) known(names []string) []string {
	for _, name := range names {
		f.lookup(name)
	}
	return names
}

func (f Flags) annotate(name, key string, values ...string) {
	flag := f.lookup(name)
	if flag.Annotations == nil {
		flag.Annotations = map[string][]string{}
	}
	flag.Annotations[key] = append(flag.Annotations[key], values...)
}

func (f Flags) rule(key string, names []string) {
	if f.cmd.Annotations == nil {
		f.cmd.Annotations = map[string]string{}
	}
	f.cmd.Annotations[key] = strings.Join(f.known(names), " ")
}

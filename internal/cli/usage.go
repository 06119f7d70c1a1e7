package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a mistake on the command line. It is shown with the command's usage and an example.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string {
	var b strings.Builder
	b.WriteString(e.err.Error())
	usage := e.cmd.UseLine()
	if e.cmd.Annotations[groupAnnotation] != "" {
		usage = e.cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "\nusage: %s", usage)
	if example := firstExample(e.cmd); example != "" {
		fmt.Fprintf(&b, "\nexample: %s", example)
	}
	fmt.Fprintf(&b, "\nhelp: %s --help", e.cmd.CommandPath())
	return b.String()
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// Usage makes a command's own complaint about its arguments, shown with its usage and an example.
func Usage(cmd *cobra.Command, err error) error { return &usageError{cmd, err} }

func firstExample(cmd *cobra.Command) string {
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}

// Args wants exactly these arguments, by the names that the usage line gives them.
func Args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef(cmd, "%s is missing", strings.Join(names[len(args):], " and "))
		case len(args) > len(names) && len(names) == 0 && !cmd.HasSubCommands():
			return usagef(cmd, "it takes no argument, and got %q", args[0])
		case len(args) > len(names) && len(names) == 0:
			return unknownCommand(cmd, args[0])
		case len(args) > len(names):
			return usagef(cmd, "there is one argument too many: %q", args[len(names)])
		}
		return nil
	}
}

// prepare gives a command and all below it our texts instead of cobra's.
func prepare(root *cobra.Command) {
	root.SetFlagErrorFunc(flagError) // commands without one of their own inherit it
	prepareArgs(root)
}

// prepareArgs lets no command take arguments that it would ignore.
func prepareArgs(cmd *cobra.Command) {
	if cmd.Args == nil {
		cmd.Args = Args()
	}
	if !cmd.Runnable() {
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[groupAnnotation] = "true"
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return cmd.Help() }
	}
	for _, sub := range cmd.Commands() {
		prepareArgs(sub)
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := Nearest(name, names); len(near) > 0 {
		return usagef(cmd, "unknown command %q: did you mean %s %s?",
			name, cmd.CommandPath(), strings.Join(near, " or "))
	}
	return usagef(cmd, "unknown command %q: there are %s", name, strings.Join(names, ", "))
}

// flagError says what is wrong with a flag in our words.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case cmd.HasSubCommands() && cmd.Flags().NArg() > 0: // its flags are another command's than was meant
		return unknownCommand(cmd, cmd.Flags().Arg(0))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		err = fmt.Errorf("unknown flag -%s: every flag begins with two dashes", unknown.GetSpecifiedShortnames())
	case errors.As(err, &unknown):
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		hint := ""
		if near := Nearest(unknown.GetSpecifiedName(), names); len(near) > 0 {
			hint = ": did you mean --" + strings.Join(near, " or --") + "?"
		}
		err = fmt.Errorf("unknown flag --%s%s", unknown.GetSpecifiedName(), hint)
	case errors.As(err, &missing):
		err = fmt.Errorf("--%s needs a value: %s", missing.GetSpecifiedName(), missing.GetFlag().Usage)
	case errors.As(err, &invalid):
		err = badValue("--"+invalid.GetFlag().Name, invalid.GetFlag(), invalid.GetValue(), invalid.Unwrap())
	case errors.Is(err, pflag.ErrHelp):
		return err
	}
	return &usageError{cmd, err}
}

// NegativeArgument returns the argument that a command line has by a flag's error: "-1" is read as a
// flag unless "--" stands before it.
func NegativeArgument(err error) (string, bool) {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return "", false
	}
	name := unknown.GetSpecifiedShortnames()
	return "-" + name, name != "" && name[0] >= '0' && name[0] <= '9'
}

// Nearest are the names that a text may be meant for: at most two typing mistakes away, or begun
// alike, and none nearer.
func Nearest(text string, names []string) []string {
	near := map[string]int{}
	for _, name := range names {
		d := distance(text, name)
		if len(text) >= 3 && (strings.HasPrefix(name, text) || strings.HasPrefix(text, name)) {
			d = min(d, 2)
		}
		if d <= 2 && d < len(name) {
			near[name] = d
		}
	}
	var out []string
	for name, d := range near {
		if d == slices.Min(slices.Collect(maps.Values(near))) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// distance is how many letters must be added, removed or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

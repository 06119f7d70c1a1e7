package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is what a command of a program is and takes, for the reference page.
type Command struct {
	Path                        string // keys policy set
	Usage, Short, Long, Example string
	Group                       bool // it is there for the commands below it
	Own, Shared                 []Flag
	ExactlyOne                  []string // flags of which it needs one, and one only
}

// Flag is a flag of a command.
type Flag struct {
	Name, Value      string // Value names what it takes: NUMBER; empty: a switch
	Help, Limits     string
	Default          string // empty: none
	Environment, Key string // empty: it can only be given on the command line
	Hidden, Needed   bool
	Needs, Excludes  []string
}

// Describe lists the commands of a program, the program itself first, those below a command after
// it. Cobra's own (help, completion) are left out. Own are the flags of a command alone, Shared
// those that the commands below it have, too.
func Describe(root *cobra.Command) []Command {
	long := root.Long // setUp adds the exit codes
	setUp(root, &logFlags{})
	commands := describe(root)
	commands[0].Long = strings.TrimSpace(long)
	return commands
}

func describe(cmd *cobra.Command) []Command {
	needed := strings.Fields(cmd.Annotations[requireAnnotation])
	c := Command{
		Path: cmd.CommandPath(), Usage: strings.TrimSuffix(cmd.UseLine(), " [flags]"),
		Short: cmd.Short, Long: cmd.Long, Example: cmd.Example,
		Group: cmd.Annotations[groupAnnotation] != "", ExactlyOne: strings.Fields(cmd.Annotations[oneOfAnnotation]),
		Shared: describeFlags(cmd.PersistentFlags(), needed),
	}
	c.Own = slices.DeleteFunc(describeFlags(cmd.LocalFlags(), needed), func(f Flag) bool {
		return cmd.PersistentFlags().Lookup(f.Name) != nil
	})
	all := []Command{c}
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			all = append(all, describe(sub)...)
		}
	}
	return all
}

func describeFlags(set *pflag.FlagSet, needed []string) []Flag {
	var flags []Flag
	set.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[partsAnnotation] == nil {
			return // cobra's own: --help, --version
		}
		parts := f.Annotations[partsAnnotation]
		d := Flag{
			Name: f.Name, Value: f.Value.Type(), Help: parts[0], Limits: parts[1], Default: f.DefValue,
			Hidden: f.Hidden,
			Needed: slices.Contains(needed, f.Name), Needs: f.Annotations[needsAnnotation],
			Excludes: f.Annotations[excludeAnnotation], Environment: EnvName(f.Name),
		}
		if d.Value == boolKind.name {
			d.Value, d.Default = "", ""
		}
		if parts[2] != "" {
			d.Default = parts[2]
		}
		if !slices.Contains(noSetting, f.Name) {
			d.Key = keyName(f.Name)
		}
		flags = append(flags, d)
	})
	return flags
}

package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What follows serves commands that do not declare their flags with Flags yet.

// Value is a flag's value as text; empty where the command has no such flag.
func Value(cmd *cobra.Command, flag string) string {
	f := cmd.Flag(flag)
	if f == nil {
		return ""
	}
	return f.Value.String()
}

// DatabaseURL is the configured database.
func DatabaseURL(cmd *cobra.Command) (string, error) {
	return (&VaultFlags{DatabaseURL: Value(cmd, "database-url")}).URL()
}

// MarkSecret keeps a flag's value out of printed settings, and adds --FLAG-file, which reads it
// from a file.
func MarkSecret(flags *pflag.FlagSet, flag string) {
	f := Flags{set: flags}
	f.annotate(flag, secretAnnotation, "true")
	f.String(new(string), flag+"-file", "", "file that holds its text")
}

package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// Completer finds what may stand at a place of the command line. A tab after a text adds an
// explanation.
type Completer func(ctx context.Context, cmd *cobra.Command) ([]string, error)

// completeTimeout bounds a question to the database: a shell that hangs is worse than one that
// completes nothing.
const completeTimeout = 3 * time.Second

// Complete lets the shell complete a flag's value.
func (f Flags) Complete(name string, find Completer) {
	f.lookup(name)
	f.complete(name, func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return found(cmd, find)
	})
}

func (f Flags) complete(name string, find cobra.CompletionFunc) {
	if err := f.cmd.RegisterFlagCompletionFunc(name, find); err != nil {
		panic(err) // the flag is declared twice
	}
}

// CompleteArgs lets the shell complete a command's arguments, the first by the first completer. nil
// completes nothing.
func CompleteArgs(cmd *cobra.Command, finds ...Completer) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) (
		[]cobra.Completion, cobra.ShellCompDirective,
	) {
		if len(args) >= len(finds) || finds[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found(cmd, finds[len(args)])
	}
}

// Fixed completes from a list.
func Fixed(words ...string) Completer {
	return func(context.Context, *cobra.Command) ([]string, error) { return words, nil }
}

// found runs a completer with the settings of the command, which cobra does not resolve while it
// completes. An error completes nothing: there is no place to show it.
func found(cmd *cobra.Command, find Completer) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	cmd.SetContext(ctx)
	file, err := settingsFile(cmd)
	if err == nil {
		_, err = resolveFlags(cmd.Flags(), file)
	}
	if err == nil {
		err = readSecretFiles(cmd.Flags())
	}
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words, err := find(ctx, cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for i := range words {
		words[i] = escape(words[i], "\t")
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

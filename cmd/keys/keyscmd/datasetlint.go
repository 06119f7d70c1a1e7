package keyscmd

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cloakroom/dataset"
	"cloakroom/dataset/infer"
	"cloakroom/internal/cli"
)

// lintFile reads a definition and prints what is wrong with it to standard error. It fails if that keeps it from being
// used.
func lintFile(cmd *cobra.Command, path string) (*dataset.Dataset, error) {
	d, problems, err := lint(cmd, path, "")
	if err != nil {
		return nil, err
	}
	return d, printProblems(cmd, path, problems)
}

// printProblems fails if one of them is a mistake.
func printProblems(cmd *cobra.Command, path string, problems dataset.Problems) error {
	for _, p := range problems {
		cli.Note(cmd, "%s:%s", path, p)
	}
	if n := len(problems.Errors()); n > 0 {
		return fmt.Errorf("%s has %s", path, cli.Count(n, "mistake"))
	}
	return nil
}

// lint reads a definition; with a sample, its clear members are judged by that, too.
func lint(cmd *cobra.Command, path, from string) (*dataset.Dataset, dataset.Problems, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the dataset: %w", err)
	}
	if from == "" {
		d, problems := dataset.Lint(text)
		return d, problems, nil
	}
	sample := infer.NewSample()
	if _, err := cli.ReadEvents(cmd, from, func(line int64, body []byte) error {
		sample.Add(line, body)
		return nil
	}); err != nil {
		return nil, nil, err
	}
	d, problems := dataset.LintWith(text, sample.Clear)
	return d, problems, nil
}

func newDatasetLintCommand() *cobra.Command {
	var from string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Check a dataset's file: every mistake with its line, column and a hint",
		Long: `Check a dataset's file: every mistake with its line, column and a hint. A warning is about what can be
used, but gives more away than its author may think: an index over few values, a member in clear whose
name speaks of a person, a pad that shows how long a value is, an index that hides what is revealed.

With --from it looks at a sample of events, too, and warns of members in clear whose values look
personal. That it finds none proves nothing.`,
		Example: "  keys dataset lint orders.yaml\n  keys dataset lint orders.yaml --from sample.jsonl --json",
		Args:    cli.Args("FILE"),
	}
	f := cli.Of(cmd)
	f.String(&from, "from", "", "sample: JSON Lines or a JSON array, plain or gzip; - for standard input")
	f.Bool(&asJSON, "json", "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, problems, err := lint(cmd, args[0], from)
		if err != nil {
			return err
		}
		if asJSON {
			if problems == nil {
				problems = dataset.Problems{}
			}
			if err := cli.PrintJSON(cmd.OutOrStdout(), problems); err != nil || len(problems.Errors()) == 0 {
				return err
			}
			return cli.Exit(cli.ExitOther, nil)
		}
		if err := printProblems(cmd, args[0], problems); err != nil {
			return err
		}
		cli.Printf(cmd.OutOrStdout(), "dataset %s can be applied\n", d.Name)
		return nil
	}
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli"
)

// keepHere is the directory of --keep where none is named.
const keepHere = "cloakroom-demo"

type demoFlags struct {
	events               int
	input                string
	keep                 string
	asJSON, serve, crack bool
}

func newDemoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show cloakroom whole on this machine; needs nothing but Go (and Postgres, or the network to fetch it)",
		Long: `Show cloakroom whole on this machine: events go through a queue, are sealed and stored; an auditor
recovers a value that somebody else approves; every key is rotated; everything is verified. It runs the programs ingest,
keys and recover and prints what they print. The queue, the KMS and an S3 are fakes in this process; they and a
private Postgres go with it.

With --serve it starts only those four, prints how to reach them, one "export NAME=value" a line, and stays: for trying
the programs by hand.`,
		Args: cobra.MaximumNArgs(1), // the DIR of --keep
	}
	flags := cmd.Flags()
	flags.IntVar(&f.events, "events", 500, "events to generate")
	flags.StringVar(&f.input, "input", "",
		"send the events of FILE (JSON Lines or a JSON array) instead of generated ones")
	flags.StringVar(&f.keep, "keep", "", "keep the database and the KMS key in DIR, and go on there the next time")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object at the end and nothing else on standard output")
	flags.BoolVar(&f.serve, "serve", false,
		"start queue, KMS, S3 and Postgres, print how to reach them, and stay; sends only with --events or --input")
	flags.BoolVar(&f.crack, "crack", false,
		"show how long unsalted hashes and tokens withstand somebody who tries every address")
	flags.Lookup("keep").NoOptDefVal = keepHere
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		// A flag whose value may be left out takes it after "=" alone.
		if len(args) == 1 {
			if f.keep != keepHere {
				return fmt.Errorf("unknown argument %q", args[0])
			}
			f.keep = args[0]
		}
		if f.events < 1 || f.events > 1_000_000 {
			return fmt.Errorf("--events takes 1 to 1000000, not %d", f.events)
		}
		if f.serve && f.crack {
			return errors.New("--serve and --crack do not go together")
		}
		events, err := f.load()
		if err != nil {
			return err
		}
		switch {
		case f.crack:
			return runCrack(cmd, events)
		case f.serve:
			if !cmd.Flags().Changed("events") && f.input == "" {
				events = nil
			}
			return serve(cmd, f.keep, events)
		}
		return runDemo(cmd, &f, events)
	}
	return cmd
}

func (f *demoFlags) load() ([]event, error) {
	if f.input != "" {
		return readEvents(f.input)
	}
	return generate(f.events), nil
}

// runDemo walks through the product and checks that everything adds up.
func runDemo(cmd *cobra.Command, f *demoFlags, events []event) error {
	out := cmd.OutOrStdout()
	p := &printer{out: out, quiet: f.asJSON}
	if cli.IsTerminal(out) && os.Getenv("NO_COLOR") == "" {
		p.out, p.colour = cli.Raw(out), true
	}
	w, err := openWorld(cmd.Context(), f.keep)
	if err != nil {
		return err
	}
	defer w.close()
	s := &show{world: w, printer: p, events: events, report: newReport()}
	if err := s.run(cmd.Context()); err != nil {
		return err
	}
	if f.asJSON {
		if err := s.report.print(out); err != nil {
			return err
		}
	}
	if problems := s.report.problems(); len(problems) > 0 {
		p.fail(problems)
		return cli.Exit(1, fmt.Errorf("it does not add up: %s", problems[0]))
	}
	return nil
}

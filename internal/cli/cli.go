// Package cli is what the programs share at the command line: one way to declare flags, to find
// settings, to open the vault, to print, to show progress, and to end.
//
// A setting is a flag. --queue-url is CLOAKROOM_QUEUE_URL in the environment and queue_url in the
// YAML file that --config names; flags win over the environment, the environment over the file, the
// file over the default.
//
// A command declares its flags on a struct (Of, Shared), prints with Printf, Table, PrintJSON and
// Note, shows progress with StartProgress, and returns an error. Main makes exit codes of errors.
package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs a program's commands until they end or the process is asked to stop, and returns its
// exit code. Errors go to standard error.
func Main(root *cobra.Command) int {
	denyCoreDumps()
	stdout, stderr := &stream{w: os.Stdout}, &stream{w: os.Stderr}
	root.SetOut(stdout)
	root.SetErr(stderr)
	var l logFlags
	setUp(root, &l)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	cmd, err := root.ExecuteContextC(ctx)
	stderr.draw("")
	code := ExitCode(err)
	if err == nil || err.Error() == "" {
		return code
	}
	if l.format == "json" || asksForJSON(os.Args[1:]) {
		l.format = "json"
		l.logger(stderr).Error(err.Error(), "command", cmd.CommandPath(), "exit_code", code)
		return code
	}
	// Further lines are indented: none of them can pass for a message of its own.
	Printf(stderr, "%s: ", cmd.CommandPath())
	for i, line := range strings.Split(err.Error(), "\n") {
		if i > 0 {
			_, _ = fmt.Fprint(stderr, "  ")
		}
		Printf(stderr, "%s\n", line)
	}
	return code
}

// setUp gives a program what all have: the settings file, logs, the version, exit codes in its
// help, and our texts for wrong usage.
func setUp(root *cobra.Command, l *logFlags) {
	root.SilenceErrors, root.SilenceUsage = true, true
	f := Shared(root)
	f.String(new(string), "config", "", "YAML file with settings")
	l.declare(f)
	root.Version = version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Long = strings.TrimSpace(root.Long) + "\n\n" + exitCodesHelp()
	root.InitDefaultHelpCmd()
	prepare(root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := resolve(cmd); err != nil {
			return err
		}
		cmd.SetContext(withLog(cmd.Context(), l, cmd.ErrOrStderr()))
		slog.SetDefault(logger(cmd))
		return nil
	}
}

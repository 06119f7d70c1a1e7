// Package cli is what the programs share at the command line: where settings come from, how errors leave, how logs are
// written.
//
// A setting is a flag. --queue-url is CLOAKROOM_QUEUE_URL in the environment and queue_url in the YAML file that
// --config names; flags win over the environment, the environment over the file, the file over the default.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// ExitError carries an exit code. An empty message prints nothing: the command has said it already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Exit makes an ExitError.
func Exit(code int, err error) error { return &ExitError{Code: code, Err: err} }

// Main runs a program's commands until they end or the process is asked to stop, and returns its exit code: 0, that of an
// ExitError, or what classify makes of another error. Errors go to standard error.
func Main(root *cobra.Command, classify func(error) int) int {
	denyCoreDumps()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentFlags().String("config", "", "YAML file with settings")
	AddLogFlags(root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := resolve(cmd)
		if err != nil {
			return err
		}
		cmd.SetContext(context.WithValue(cmd.Context(), settingsKey{}, settings))
		return SetUpLog(cmd)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		exit = &ExitError{Code: classify(err), Err: err}
	}
	if text := exit.Error(); text != "" {
		fmt.Fprintf(root.ErrOrStderr(), "%s: %s\n", cmd.CommandPath(), Printable(text))
	}
	return exit.Code
}

// Printable replaces control characters, so that no error text moves a terminal's cursor or fakes a second line.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, text)
}

// AddLogFlags adds --log-format and --log-level.
func AddLogFlags(root *cobra.Command) {
	root.PersistentFlags().String("log-format", "text", "log format: text or json")
	root.PersistentFlags().String("log-level", "info", "log level: debug, info, warn or error")
}

// SetUpLog makes the process's logger, on standard error.
func SetUpLog(cmd *cobra.Command) error {
	format, level := Value(cmd, "log-format"), Value(cmd, "log-level")
	var at slog.Level
	if err := at.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("reading --log-level %q: want debug, info, warn or error", level)
	}
	handler, err := logHandler(cmd.ErrOrStderr(), format, at)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(handler))
	return nil
}

func logHandler(w io.Writer, format string, level slog.Level) (slog.Handler, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.NewTextHandler(w, options), nil
	case "json":
		return slog.NewJSONHandler(w, options), nil
	}
	return nil, fmt.Errorf("reading --log-format %q: want text or json", format)
}

// Value is a flag's value as text; empty where the command has no such flag.
func Value(cmd *cobra.Command, flag string) string {
	f := cmd.Flag(flag)
	if f == nil {
		return ""
	}
	return f.Value.String()
}

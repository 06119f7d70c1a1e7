package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// logFlags say how the process logs, on standard error.
type logFlags struct{ format, level string }

func (l *logFlags) declare(f Flags) {
	f.OneOf(&l.format, "log-format", "text", []string{"text", "json"},
		"how to log, and to print errors: lines for people, or JSON")
	f.OneOf(&l.level, "log-level", "info", []string{"debug", "info", "warn", "error"},
		"the least important lines to log")
}

func (l *logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.level)) // it is one of the four
	options := &slog.HandlerOptions{Level: level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

type logKey struct{}

// logState is what a running command knows of its log.
type logState struct {
	*slog.Logger
	json bool
}

func withLog(ctx context.Context, l *logFlags, w io.Writer) context.Context {
	return context.WithValue(ctx, logKey{}, logState{l.logger(w), l.format == "json"})
}

func logsJSON(cmd *cobra.Command) bool {
	state, _ := cmd.Context().Value(logKey{}).(logState)
	return state.json
}

func logger(cmd *cobra.Command) *slog.Logger {
	if state, ok := cmd.Context().Value(logKey{}).(logState); ok {
		return state.Logger
	}
	return slog.Default()
}

// asksForJSON guesses how to print an error that came before the flags were read: the command line
// may be wrong.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--log-format="); ok {
			return value == "json"
		}
		if arg == "--log-format" && i+1 < len(args) {
			return args[i+1] == "json"
		}
	}
	return os.Getenv(EnvName("log-format")) == "json"
}

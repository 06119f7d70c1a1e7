package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"cloakroom/internal/sandbox"
)

// run is how one of the programs ended.
type run struct {
	out  string // standard output
	err  string // standard error, without its log
	code int    // exit code
}

// failed makes an error of an exit code that is not 0.
func (r run) failed() error {
	if r.code == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d: %s", r.code, strings.TrimSpace(r.err))
}

// do runs one of the programs as a person or a daemon would: a process with its own database login, access key of KMS
// and SQS, and nothing else from this one. It logs all it can, for the canaries that are looked for in its log.
func (w *world) do(ctx context.Context, who actor, program string, args ...string) (run, error) {
	self, err := os.Executable()
	if err != nil {
		return run{}, fmt.Errorf("finding this program, to run it as %s: %w", program, err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = program
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "CLOAKROOM_LOG_LEVEL=debug"}
	settings := append(w.Environment(who.accessKey),
		sandbox.Var{Name: "DATABASE_URL", Value: w.URL(who.login)},
		sandbox.Var{Name: "CLOAKROOM_QUEUE_URL", Value: w.QueueURL},
		sandbox.Var{Name: "CLOAKROOM_KEK", Value: kekURI})
	for _, v := range settings {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	w.log.Write(errs.Bytes())
	r := run{out: out.String(), err: withoutLog(errs.String()), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("running %s: %w", program, err)
	}
	return r, nil
}

// withoutLog takes a program's log, slog's text format, out of what it wrote to standard error.
func withoutLog(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "time=") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// shell writes a command as one would type it.
func shell(program string, args []string) string {
	words := []string{program}
	for _, a := range args {
		words = append(words, shellQuote(a))
	}
	return strings.Join(words, " ")
}

// try runs a program and shows command and output, whatever its exit code.
func (s *show) try(ctx context.Context, who actor, program string, args ...string) (run, error) {
	r, err := s.do(ctx, who, program, args...)
	if err != nil {
		return r, err
	}
	s.command(who.name, shell(program, args))
	s.block(r.out)
	s.block(r.err)
	if r.code != 0 {
		s.block(s.paint(dim, fmt.Sprintf("exit code %d", r.code)))
	}
	return r, nil
}

// must is try where the program has to succeed.
func (s *show) must(ctx context.Context, who actor, program string, args ...string) (run, error) {
	r, err := s.try(ctx, who, program, args...)
	if err == nil {
		err = r.failed()
	}
	return r, err
}

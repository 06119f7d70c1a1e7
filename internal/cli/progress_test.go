//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"cloakroom/internal/cli/ptytest"
)

// asJob makes the test binary run as a program that shows progress.
const asJob = "CLI_TEST_AS_JOB"

func TestMain(m *testing.M) {
	if os.Getenv(asJob) != "" {
		os.Exit(Main(job()))
	}
	os.Exit(m.Run())
}

// job does FROM to TO of about TOTAL rows, 40 ms each.
func job() *cobra.Command {
	var fail bool
	root := &cobra.Command{Use: "job FROM TO TOTAL", Args: Args("FROM", "TO", "TOTAL")}
	Of(root).Bool(&fail, "fail", "fail in the end")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		var n [3]int64
		for i, arg := range args {
			n[i], _ = strconv.ParseInt(arg, 10, 64)
		}
		p := StartProgress(cmd)
		defer p.End()
		for done := n[0]; done < n[1]; done++ {
			p.Step("reseal of everything there is", "row", done, n[2])
			if done == n[0]+15 {
				slog.Info("pausing", "because", "somebody said so")
			}
			select {
			case <-time.After(40 * time.Millisecond):
			case <-cmd.Context().Done():
				return Exit(ExitUnfinished, fmt.Errorf("it was asked to stop: %w", context.Canceled))
			}
		}
		p.End()
		if fail {
			return errors.New("the disk is full")
		}
		Printf(cmd.OutOrStdout(), "done\n")
		return nil
	}
	return root
}

func startJob(t *testing.T, columns int, args ...string) *ptytest.Program {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asJob+"=1")
	return ptytest.Start(t, columns, cmd)
}

// However wrong the total is, the line is taken off at the end, fits the terminal, and nothing
// waits for the total.
func TestProgressOnATerminal(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		last string // on the screen
		line string // drawn at some time
	}{
		"an exact estimate":   {[]string{"0", "40", "40"}, 0, "done", "of about 40 rows"},
		"a high estimate":     {[]string{"0", "40", "20219"}, 0, "done", "of about 20219 rows"},
		"a low estimate":      {[]string{"0", "40", "3"}, 0, "done", ": 2"},
		"no estimate":         {[]string{"0", "40", "0"}, 0, "done", " rows"},
		"resumed":             {[]string{"19950", "19990", "20219"}, 0, "done", "of about 20219 rows (98%)"},
		"nothing to do":       {[]string{"0", "0", "20219"}, 0, "done", ""},
		"an error in the end": {[]string{"0", "40", "20219", "--fail"}, 1, "job: the disk is full", "of about 20219 rows"},
	} {
		for _, columns := range []int{46, 65, 200} {
			t.Run(fmt.Sprintf("%s, %d columns", name, columns), func(t *testing.T) {
				t.Parallel()
				p := startJob(t, columns, c.args...)
				if code := p.Wait(); code != c.code {
					t.Errorf("exit code %d, want %d", code, c.code)
				}
				screen := p.Screen()
				if last := screen[len(screen)-2:]; last[0] != c.last || last[1] != "" {
					t.Errorf("the screen ends in %q, want %q", last, c.last)
				}
				for _, line := range screen {
					if strings.HasPrefix(line, "reseal") {
						t.Errorf("a progress line was left: %q", line)
					}
				}
				drawn := strings.Join(p.Drawn(), "\n")
				if columns == 200 && !strings.Contains(drawn, c.line) {
					t.Errorf("%q was never drawn:\n%s", c.line, drawn)
				}
				if c.args[1] != "0" && !strings.Contains(p.Seen(), "msg=pausing") {
					t.Error("a log line was lost")
				}
			})
		}
	}
}

// Ctrl-C is answered at once, and the program ends with what it says of itself.
func TestProgressInterrupted(t *testing.T) {
	t.Parallel()
	p := startJob(t, 65, "0", "2000", "2000")
	p.WaitFor("reseal")
	p.Type("\x03")
	p.WaitFor("stopping: what is in hand is finished first")
	if code := p.Wait(); code != ExitUnfinished {
		t.Errorf("exit code %d", code)
	}
	screen := strings.Join(p.Screen(), "\n")
	if !strings.HasSuffix(screen, "job: it was asked to stop: context canceled\n") {
		t.Errorf("the screen is\n%s", screen)
	}
}

// With JSON logs everything on standard error is a line of JSON, and no line is drawn.
func TestProgressAsJSON(t *testing.T) {
	t.Parallel()
	p := startJob(t, 200, "0", "2000", "2000", "--log-format", "json")
	time.Sleep(time.Second)
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(); code != ExitUnfinished {
		t.Errorf("exit code %d", code)
	}
	for _, line := range p.Screen() {
		if line != "" && !strings.HasPrefix(line, "{") {
			t.Errorf("no JSON: %q", line)
		}
	}
	if seen := p.Seen(); !strings.Contains(seen, `"msg":"it was asked to stop`) || strings.Contains(seen, "\x1b") {
		t.Errorf("%s", seen)
	}
}

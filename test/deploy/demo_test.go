package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// demo runs the demo with no more of our environment than finding Postgres needs.
func demo(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "demo"), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo %s: %v\n%s\n%s", strings.Join(args, " "), err, out, &errs)
	}
	return string(out)
}

// The demo runs the programs and shows what they print, each under the command that would be typed for it.
func TestDemoShowsWhatTheProgramsPrint(t *testing.T) {
	out := demo(t, "--events", "60")
	for command, printed := range map[string]string{
		"operator$ keys init":            " is ready",
		"ingest$ ingest --once":          "61 received",
		"auditor$ recover request":       "-",
		"rotator$ keys rotate --force":   "data key 1 → 2",
		"rotator$ keys verify --all":     " unwrapped",
		"auditor$ recover log show":      "LEAF",
		"auditor$ recover open":          "exit code 3",
		"operator$ keys grant demo_inge": "demo_ingest holds ingest",
	} {
		_, after, ok := strings.Cut(out, "  "+command)
		if after, _, _ = strings.Cut(after, "$ "); !ok || !strings.Contains(after, printed) {
			t.Errorf("%s: %q is not below it:\n%s", command, printed, out)
		}
	}
	if !strings.HasSuffix(out, "✓ 60 sent = 59 stored + 1 rejected\n") {
		t.Errorf("it does not end with what adds up:\n%s", out)
	}
}

// A kept directory takes a second demo; what it counts is its own events alone.
func TestDemoGoesOnInAKeptDirectory(t *testing.T) {
	dir, err := os.MkdirTemp("", "cloakroom-demotest-") // t.TempDir's parent keeps out the user that Postgres runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "events.jsonl")
	const events = `{"user_id":"u1","ip":"192.0.2.1","device_id":"a device of mine"}
{"user_id":"u2","ip":"192.0.2.2","device_id":"a device of mine"}
not an event
`
	if err := os.WriteFile(file, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got struct {
			Sent, Stored, Rejected, Opened, Canaries int
			Recovered                                struct{ Before, After []string }
		}
		out := demo(t, "--json", "--input", file, "--keep="+filepath.Join(dir, "kept"))
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got.Sent != 3 || got.Stored != 2 || got.Rejected != 1 || got.Opened != 2 || got.Canaries != 0 {
			t.Errorf("%s", out)
		}
		if len(got.Recovered.After) != 1 || got.Recovered.After[0] != "a device of mine" {
			t.Errorf("recovered %q", got.Recovered.After)
		}
	}
}

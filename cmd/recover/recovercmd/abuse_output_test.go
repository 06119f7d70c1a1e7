package recovercmd

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"cloakroom/internal/cli"
	recovery "cloakroom/recover"
)

// canaries are the protected values of the first login in every spelling that a careless print
// might give them.
func canaries() []string {
	var out []string
	for _, v := range []string{canaryIP, canaryDevice} {
		decimal := strings.Trim(fmt.Sprint([]byte(v)), "[]")
		out = append(out, v, hex.EncodeToString([]byte(v)), base64.StdEncoding.EncodeToString([]byte(v))[:12], decimal)
	}
	return out
}

func wantNoCanary(t *testing.T, where, text string) {
	t.Helper()
	for _, canary := range canaries() {
		if strings.Contains(strings.ToLower(text), strings.ToLower(canary)) {
			t.Errorf("%s has %s", where, canary)
		}
	}
}

func abuseCanary(t *testing.T) {
	c := newFixture(t)
	c.admin.MustExec(`ALTER DATABASE ` + c.Name() + ` SET log_statement = 'all'`)
	c.admin.MustExec(`ALTER DATABASE ` + c.Name() + ` SET log_min_error_statement = 'debug5'`)
	log := c.Server().LogPath()
	begins := fileSize(t, log)

	// Every program that meets a value and must not show it; what is asked for ends in a file.
	out := filepath.Join(t.TempDir(), "values.json")
	valueRequest := []string{"request", "--purpose", "fraud", "--ticket", "T-1", "--reason", "why", "--fields", "ip,device_id", "--value"}
	run := func(url, stdin string, args ...string) *process {
		p := c.startWith(t, url, stdin, args...)
		p.wait()
		wantNoCanary(t, strings.Join(args, " ")+": standard error", p.stderr.String())
		wantNoCanary(t, strings.Join(args, " ")+": standard output", p.stdout.String())
		return p
	}
	p := run(c.aliceURL, canaryDevice, append(valueRequest, "device_id")...)
	id := strings.TrimSpace(p.stdout.String())
	run(c.aliceURL, canaryDevice, append(valueRequest, "ip")...)           // no address
	run(c.aliceURL, canaryIP+"\x00", append(valueRequest, "ip")...)        // no address either
	run(c.aliceURL, canaryIP, append(valueRequest, "locale")...)           // not protected
	run(c.aliceURL, canaryIP, append(valueRequest, "ip", "--nonsense")...) // usage
	run(c.bobURL, "", "show", id)
	run(c.bobURL, "", "approve", id, "--yes")
	unpause := c.pauseAt("closed")
	// All goroutines' stacks, while the opened rows are in memory.
	p = c.start(t, c.aliceURL, "open", id, "--out", out)
	c.awaitPause(t)
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	p.wait()
	unpause()
	if !strings.Contains(p.stderr.String(), "goroutine") {
		t.Errorf("no stacks on standard error: %s", &p.stderr)
	}
	wantNoCanary(t, "stack dump", p.stderr.String())
	wantNothingLeft(t, filepath.Dir(out))

	opened, err := c.alice.Open(t.Context(), c.approved(t, params(nil)), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var text bytes.Buffer
	for _, v := range []any{opened, *opened, c.alice, *c.alice, c.alice.Vault} {
		fmt.Fprintf(&text, "%v %+v %#v %s %x\n", v, v, v, v, v)
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
		line, _ := json.Marshal(v)
		text.Write(line)
	}
	if err := opened.Each(func(r recovery.Record) error {
		line, err := json.Marshal(r)
		fmt.Fprintf(&text, "%v %+v %#v %s %x %s\n", r, r, r, r, r, line)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	wantNoCanary(t, "what was opened, printed", text.String())

	written, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(written[begins:], []byte("cloakroom.begin_opening")) {
		t.Error("the server's log has no statements: the test does not look where it means to")
	}
	wantNoCanary(t, "the server's log", string(written[begins:]))
	var leaves string
	if err := c.admin.Get(&leaves, `SELECT string_agg(convert_from(leaf, 'UTF8'), '') FROM cloakroom.audit_leaves`); err != nil {
		t.Fatal(err)
	}
	wantNoCanary(t, "the audit log", leaves)
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func abuseEscapes(t *testing.T) {
	c := newFixture(t)
	const device = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202egnirts\u200b\u2066\r\n\tend \\u0041"
	quoted, err := json.Marshal(device)
	if err != nil {
		t.Fatal(err)
	}
	ingest(t, c.Env, event(`{"user_id":"user-9","ip":"192.0.2.1","device_id":`+string(quoted)+`,"locale":"\u001b[31m"}`))
	opened, err := c.alice.Open(t.Context(), c.approved(t, params(func(a *recovery.RequestParams) {
		a.Subject, a.Fields = "user-9", []string{"device_id", "locale"}
	})), recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for _, format := range []string{"table", "json", "csv"} {
		var out bytes.Buffer
		if err := (encoding{format: format, terminal: true}).write(&out, opened); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if !strings.Contains(text, "gnirts") || !utf8.ValidString(text) {
			t.Errorf("%s: %q", format, text)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); cli.Text(line) != line {
				t.Errorf("%s lets a terminal obey %q", format, line)
			}
		}
		if format != "json" {
			continue
		}
		var back []map[string]string
		if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0]["device_id"] != device {
			t.Errorf("JSON gives back %q, %v", back, err)
		}
	}
	// What a requester types is shown to an approver.
	id := c.request(t, params(func(a *recovery.RequestParams) { a.Reason, a.Ticket = "\x1b[1A approved by bob", "\x1b[8m" }))
	for _, args := range [][]string{{"show", id.String()}, {"list"}, {"log", "show"}} {
		p := c.start(t, c.bobURL, args...)
		if p.wait() != 0 || strings.ContainsAny(p.stdout.String(), "\x1b\x07") {
			t.Errorf("%v: %q %s", args, &p.stdout, &p.stderr)
		}
	}
}

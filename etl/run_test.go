package etl

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloakroom/dataset"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

// oneByOne is real input that nobody on this project wrote. It stays where it is.
const oneByOne = "../../shared/data/login_events.json"

func realInput(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(oneByOne)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the shared events are not beside the checkout: %v", err)
	}
	return path
}

func newWriter(t testing.TB, env *keystest.Env) *Writer {
	t.Helper()
	v := env.Vault(t, env.As(t, "ingest", "ingest"))
	w, err := NewWriter(t.Context(), v, dataset.Login(), keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func ingestFile(t *testing.T, w *Writer, o FileOptions) Summary {
	t.Helper()
	src, closeFile, err := OpenFile(t.Context(), w, o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFile()
	s, err := Run(t.Context(), w, src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifyAll(t *testing.T, env *keystest.Env) *keys.Verification {
	t.Helper()
	v := env.Vault(t, env.As(t, "rotator", "rotator"))
	report, err := v.Verify(context.Background(), dataset.Login(), keys.VerifyOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTakeHomeEvents(t *testing.T) {
	path := realInput(t)
	env := keystest.New(t)
	w := newWriter(t, env)

	got := ingestFile(t, w, FileOptions{Path: path})
	got.Seconds = 0
	want := Summary{Received: 100, Stored: 99, Rejected: 1, Rejections: map[Reason]int64{MissingField: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	got = ingestFile(t, newWriter2(t, env), FileOptions{Path: path})
	got.Seconds = 0
	want = Summary{Received: 100, Duplicates: 100, Rejections: map[Reason]int64{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}

	report := verifyAll(t, env)
	report.Keys = 0
	if diff := cmp.Diff(&keys.Verification{Rows: 99, Opened: 99, Rejections: 1, RejectionsOpened: 1}, report); diff != "" {
		t.Errorf("verification (-want +got):\n%s", diff)
	}
	var rows, tokens int
	db := env.Open(t, "")
	if err := db.QueryRow(`SELECT count(*), count(DISTINCT masked_ip) FROM public.user_logins`).Scan(&rows, &tokens); err != nil {
		t.Fatal(err)
	}
	if rows != 99 || tokens != 99 {
		t.Errorf("%d rows and %d distinct masked_ip, want 99 and 99", rows, tokens)
	}
}

func newWriter2(t *testing.T, env *keystest.Env) *Writer {
	t.Helper()
	v := env.Vault(t, env.As(t, "ingest2", "ingest"))
	w, err := NewWriter(t.Context(), v, dataset.Login(), keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

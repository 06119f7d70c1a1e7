package source_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/etl/source"
	"cloakroom/keys/keystest"
	"cloakroom/keys/verify"
	"cloakroom/test/corpus"
)

func verifyAll(t *testing.T, env *keystest.Env) *verify.Report {
	t.Helper()
	v := env.Vault(t, env.As(t, "rotator", "rotator"))
	report, err := verify.Run(context.Background(), v, verify.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTakeHomeEvents(t *testing.T) {
	path := corpus.Path(t, "login_events.json")
	env := keystest.New(t)
	run := func(login string) etl.Summary {
		s, err := ingest(t, etltest.NewWriter(t, env, login), source.FileOptions{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	got := run("first")
	got.Seconds = 0
	want := etl.Summary{Received: 100, Stored: 99, Rejected: 1, Rejections: map[etl.Reason]int64{etl.MissingField: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}
	got = run("second")
	got.Seconds = 0
	want = etl.Summary{Received: 100, Duplicates: 100, Rejections: map[etl.Reason]int64{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}

	report := verifyAll(t, env)
	report.Keys = 0
	if diff := cmp.Diff(&verify.Report{Rows: 99, Opened: 99, Rejections: 1, RejectionsOpened: 1}, report); diff != "" {
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

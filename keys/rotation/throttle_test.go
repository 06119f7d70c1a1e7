package rotation_test

import (
	"testing"
	"time"

	"cloakroom/keys/rotation"
)

// The job rests while loads run, and only then.
func TestRestsWhileLoadsRun(t *testing.T) {
	s := newFixture(t, 1000)
	reseal := func() time.Duration {
		t.Helper()
		report, err := rotation.Reseal(t.Context(), s.vault, rotation.Options{Force: true, Workers: 1, BatchRows: 100, Rest: 20})
		if err != nil || report.Resealed != 1000 {
			t.Fatalf("%+v (%v)", report, err)
		}
		return time.Duration(report.Seconds * float64(time.Second))
	}
	alone := reseal()
	tx := s.Pool(t, s.As(t, "loading", "ingest")).MustBegin()
	defer tx.Rollback()
	tx.MustExec(`SELECT 1`)
	if beside := reseal(); beside < 3*alone {
		t.Errorf("%v while a load runs, %v without: it has not rested", beside, alone)
	}
}

// The number of rows in a large month is estimated from a sample.
func TestProgressOfManyRows(t *testing.T) {
	t.Parallel()
	const rows = 40_000
	s := newFixture(t, rows)
	var pages int
	if err := s.Open(t, "").Get(&pages, `SELECT (sum(pg_relation_size(relid)) / 8192)::integer FROM pg_partition_tree('cloakroom_data.user_logins') WHERE isleaf`); err != nil {
		t.Fatal(err)
	}
	if pages < 1100 {
		t.Fatalf("there are %d pages: all are counted, and the test does not try what it means to", pages)
	}
	var told rotation.Progress
	_, err := rotation.Reseal(t.Context(), s.vault, rotation.Options{Force: true, Workers: 1, Progress: func(p rotation.Progress) {
		if p.Step == "reseal" {
			told = p
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if told.Done != rows || told.Rows < rows*9/10 || told.Rows > rows*11/10 {
		t.Errorf("told of %d of %d rows, want %d of about %[3]d", told.Done, told.Rows, rows)
	}
}

package rotation_test

import (
	"testing"
	"time"

	"cloakroom/internal/dataset"
	"cloakroom/keys/rotation"
)

// The job leaves most of the time to loads while they run, and all of it is its own when none does.
func TestRestsWhileLoadsRun(t *testing.T) {
	s := newStock(t, 1000)
	reseal := func() time.Duration {
		t.Helper()
		report, err := rotation.Reseal(t.Context(), s.vault, dataset.Login(), rotation.Options{Force: true, Workers: 1, BatchRows: 100, Rest: 20})
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

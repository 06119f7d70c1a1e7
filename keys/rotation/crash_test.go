package rotation_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/etl/etltest"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
)

// Batches commit asynchronously, so a crash of the server undoes the last ones, with their
// watermarks. The job waits for the server and does them again.
func TestServerCrashUndoesBatches(t *testing.T) {
	t.Parallel()
	const rows = 1000
	server := pgtest.Server(t, pgserver.Config{})
	url := func(login string) string { return server.URL(login, "postgres") }
	env := &keystest.Env{KEK: keystest.WriteKEK(t, []byte("cloakroom crash test: a KEK, 32b"))}
	set, err := kek.Open(t.Context(), env.KEK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(t.Context(), url(server.SuperUser()), set); err != nil {
		t.Fatal(err)
	}
	admin := sqlx.MustConnect("postgres", url(server.SuperUser()))
	t.Cleanup(func() { admin.Close() })
	admin.MustExec(`CREATE ROLE ingest LOGIN IN ROLE cloakroom_ingest; CREATE ROLE rotator LOGIN IN ROLE cloakroom_rotator`)
	s := &fixture{Env: env, writer: etltest.WriterAt(t, env, url("ingest"), keys.Caps{}), vault: env.Vault(t,
		url("rotator"))}
	s.ingest(t, etltest.Logins(0, rows))

	var first int
	if err := admin.Get(&first, `SELECT max(data_key) FROM cloakroom_data.user_logins`); err != nil {
		t.Fatal(err)
	}
	resealed := func() (n int) {
		// After a crash the first query on a connection fails.
		for range 100 {
			if err = admin.Get(&n, `SELECT count(*) FROM cloakroom_data.user_logins WHERE data_key > $1`, first); err == nil {
				return n
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error(err)
		return 0
	}
	// Stop the WAL writer: then only synchronous commits flush the WAL.
	var writer int
	if err := admin.Get(&writer, `SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'`); err != nil {
		t.Fatal(err)
	}
	admin.MustExec(`CHECKPOINT`)
	if err := syscall.Kill(writer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(writer, syscall.SIGKILL) })
	batches := 0
	crash := func(rotation.Progress) {
		if batches++; batches != 5 {
			return
		}
		before := resealed()
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		after := resealed()
		if before != 5*50 || after >= before {
			t.Errorf("%d rows were resealed before the crash, want 250, and %d after it, want fewer: the test "+
				"does not try what it means to", before, after)
		}
	}
	report, err := rotation.Reseal(t.Context(), s.vault, rotation.Options{Force: true, Workers: 1, BatchRows: 50, Progress: crash})
	if err != nil {
		t.Fatal(err)
	}
	if n := resealed(); n != rows {
		t.Errorf("%d of %d rows were resealed", n, rows)
	}
	if states := s.states(t); states[uint32(first)] != "retired" {
		t.Errorf("states %v, want key %d retired; report %+v", states, first, report)
	}
	s.verify(t, rows)
}

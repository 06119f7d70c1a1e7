package keys_test

import (
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/keys/keystest"
)

// A login registers a data key under an id that it has reserved, once, for a month whose rows may
// be stored.
func TestDataKeysAreRegisteredUnderReservedIDs(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	admin, mine, others := env.Open(t, ""), env.Pool(t, env.As(t, "mine", "ingest")), env.Pool(t, env.As(t, "others",
		"ingest"))
	admin.MustExec(`SELECT cloakroom.add_kek('file:///kek', 'file:00')`)
	reserve := func(db *sqlx.DB) (id int) {
		t.Helper()
		if err := db.Get(&id, `SELECT cloakroom.reserve_data_key()`); err != nil {
			t.Fatal(err)
		}
		return id
	}
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	register := func(db *sqlx.DB, id int, month time.Time, wrapped int) error {
		_, err := db.Exec(`SELECT cloakroom.register_data_key($1, 'login', $2, 'file:00', $3, $4)`,
			id, month.Format(time.DateOnly), make([]byte, wrapped), make([]byte, 16))
		return err
	}
	used := reserve(mine)
	if err := register(mine, used, month, 64); err != nil {
		t.Fatal(err)
	}
	late := reserve(mine)
	admin.MustExec(`UPDATE cloakroom.data_key_reservations SET reserved_at = now() - interval '2 hours' WHERE id = $1`, late)
	next := reserve(mine)
	for _, c := range []struct {
		name    string
		id      int
		month   time.Time
		wrapped int
		code    string
	}{
		{"never reserved", 1 << 30, month, 64, pg.NotAllowedByVault},
		{"registered already", used, month, 64, pg.NotAllowedByVault},
		{"somebody else's", reserve(others), month, 64, pg.NotAllowedByVault},
		{"reserved long ago", late, month, 64, pg.NotAllowedByVault},
		{"for the far future", reserve(mine), month.AddDate(1, 0, 0), 64, pg.StaleEpoch},
		{"for the far past", reserve(mine), month.AddDate(-20, 0, 0), 64, pg.StaleEpoch},
		{"of nothing", reserve(mine), month, 4, "23514"},
		{"of a megabyte", reserve(mine), month, 1 << 20, "23514"},
	} {
		if err := register(mine, c.id, c.month, c.wrapped); pg.Code(err) != c.code {
			t.Errorf("%s: %v, want SQLSTATE %s", c.name, err, c.code)
		}
	}
	// Rows of a month that no longer may be stored are resealed anyway.
	admin.MustExec(`UPDATE cloakroom.settings SET days_back = 0`)
	old := month.AddDate(0, -3, 0)
	if err := register(mine, next, old, 64); pg.Code(err) != pg.StaleEpoch {
		t.Errorf("a month before days_back: %v", err)
	}
	admin.MustExec(`INSERT INTO cloakroom.data_keys (id, dataset, month, kek, kek_id, wrapped, key_check) VALUES (1000000, 'login', $1, 'k', 'k', $2, $3)`,
		old.Format(time.DateOnly), make([]byte, 64), make([]byte, 16))
	if err := register(mine, next, old, 64); err != nil {
		t.Errorf("a month that has a data key: %v", err)
	}
}

// A login that reserves and never registers gets no further.
func TestReservationsAreBounded(t *testing.T) {
	t.Parallel()
	env := keystest.New(t)
	mine := env.Pool(t, env.As(t, "mine", "ingest"))
	if _, err := mine.Exec(`SELECT cloakroom.reserve_data_key() FROM generate_series(1, 1000)`); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Exec(`SELECT cloakroom.reserve_data_key()`); pg.Code(err) != pg.NotAllowedByVault {
		t.Errorf("the 1001st: %v", err)
	}
	if _, err := env.Pool(t, env.As(t, "others", "ingest")).Exec(`SELECT cloakroom.reserve_data_key()`); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	env.Open(t, "").MustExec(`UPDATE cloakroom.data_key_reservations SET reserved_at = now() - interval '2 hours'`)
	if _, err := mine.Exec(`SELECT cloakroom.reserve_data_key()`); err != nil {
		t.Errorf("two hours later: %v", err)
	}
}

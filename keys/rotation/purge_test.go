package rotation_test

import (
	"testing"
	"time"

	"cloakroom/internal/pg"
	"cloakroom/keys/rotation"
)

// A rejection is purged when it is old by the database's clock and as many days have been seen
// since: neither a clock that was slow when it was stored nor one that was fast when the purge ran
// makes it old.
func TestPurgeNeedsDaysThatWereSeen(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 1)
	admin := s.Open(t, "")
	// Stored while the clocks of host and database were both 40 days slow; the policy keeps
	// rejections 30 days.
	admin.MustExec(`UPDATE cloakroom.rejections SET rejected_at = rejected_at - interval '40 days'`)
	purged := func() int64 {
		t.Helper()
		r, err := rotation.Rotate(t.Context(), s.vault, rotation.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Purged
	}
	if n := purged(); n != 0 {
		t.Fatalf("%d rejections purged on the day on which they were stored", n)
	}
	seeDays := func(n int) {
		admin.MustExec(`INSERT INTO cloakroom.observed_days (day) SELECT (SELECT max(day) FROM cloakroom.observed_days) + i FROM generate_series(1, $1) AS i`, n)
	}
	seeDays(29)
	if n := purged(); n != 0 {
		t.Fatalf("%d rejections purged after 29 days, the policy keeps them 30", n)
	}
	seeDays(1)
	dry, err := rotation.Rotate(t.Context(), s.vault, rotation.Options{DryRun: true})
	if err != nil || dry.Purged != 2 {
		t.Errorf("a dry run would purge %d (%v), want 2", dry.Purged, err)
	}
	// Days alone are not enough, either.
	admin.MustExec(`UPDATE cloakroom.rejections SET rejected_at = now() - interval '29 days' WHERE reason = 'not_json'`)
	if n := purged(); n != 1 {
		t.Errorf("%d rejections purged after 30 days, want 1", n)
	}
}

// A rotation whose clock is not the database's purges, closes and shreds nothing.
func TestRotateComparesClocks(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 1)
	s.Open(t, "").MustExec(`UPDATE cloakroom.rejections SET rejected_at = rejected_at - interval '40 days', observed_day = 0;
		INSERT INTO cloakroom.observed_days (day) SELECT DATE '2001-01-01' + i FROM generate_series(1, 40) AS i`)
	for _, ahead := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		s.vault.Clock = func() time.Time { return time.Now().Add(ahead) }
		r, err := rotation.Rotate(t.Context(), s.vault, rotation.Options{Force: true})
		if pg.Code(err) != pg.ClocksDiffer || !pg.IsUnavailable(err) || r.Purged != 0 || len(r.Closed) > 0 {
			t.Errorf("a clock %v ahead: %+v, %v", ahead, r, err)
		}
		if _, err := s.vault.DB.Exec(`SELECT cloakroom.purge_rejections($1)`,
			s.vault.Now()); pg.Code(err) != pg.ClocksDiffer {
			t.Errorf("purging by itself: %v", err)
		}
	}
	s.vault.Clock = nil
	if r, err := rotation.Rotate(t.Context(), s.vault, rotation.Options{}); err != nil || r.Purged != 2 {
		t.Errorf("once the clocks agree: %+v, %v", r, err)
	}
}

package rotation_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
)

func TestRewrap(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 100)
	other := keystest.WriteKEK(t, []byte("cloakroom rotation: another KEK."))
	open := func(uris string) *keys.Vault {
		set, err := kek.Open(t.Context(), uris)
		if err != nil {
			t.Fatal(err)
		}
		return &keys.Vault{DB: s.vault.DB, KEK: set}
	}
	both := open(other + "," + s.KEK)

	// The owner says first that the vault takes keys under it.
	_, err := rotation.Rewrap(t.Context(), both, other, rotation.Options{})
	if !errors.Is(err, kek.ErrNotConfigured) || !strings.Contains(err.Error(), "keys kek add "+other) {
		t.Errorf("under a KEK that the vault does not know: %v", err)
	}
	s.AddKEK(t, other)
	report, err := rotation.Rewrap(t.Context(), both, other, rotation.Options{DryRun: true})
	if err != nil || report.Rewrapped != 2 {
		t.Fatalf("dry run: %+v (%v), want 2 keys", report, err)
	}
	s.verify(t, 100) // under the old KEK still
	if report, err = rotation.Rewrap(t.Context(), both, other, rotation.Options{}); err != nil || report.Rewrapped != 2 {
		t.Fatalf("%+v (%v), want 2 keys", report, err)
	}
	s.vault = open(other)
	s.verify(t, 100)
	if report, err = rotation.Rewrap(t.Context(), both, other, rotation.Options{}); err != nil || report.Rewrapped != 0 {
		t.Errorf("again: %+v (%v), want nothing to do", report, err)
	}
}

// A KEK that is lost is reported before anything changes.
func TestRewrapLostKEK(t *testing.T) {
	t.Parallel()
	s := newFixture(t, 10)
	other := keystest.WriteKEK(t, []byte("cloakroom rotation: another KEK."))
	set, err := kek.Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(strings.TrimPrefix(s.KEK, "file://")); err != nil {
		t.Fatal(err)
	}
	s.AddKEK(t, other)
	_, err = rotation.Rewrap(t.Context(), &keys.Vault{DB: s.vault.DB, KEK: set}, other, rotation.Options{})
	if !errors.Is(err, kek.ErrNotConfigured) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("the old KEK is lost: %v", err)
	}
	s.verify(t, 10) // the test's vault holds the old KEK in memory
}

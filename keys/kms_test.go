package keys_test

import (
	"sync"
	"testing"
	"time"

	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
)

// withKMS is a vault under a KMS of this test's own, and a Vault for a login that holds ingest. The
// SDK tries once.
func withKMS(t *testing.T) (*keystest.Env, *kmsserver.Server, *keys.Vault) {
	t.Helper()
	srv := kmsserver.New(kmsserver.Config{})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_KMS": srv.URL(), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "a secret of sixteen and more",
		"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	set, err := kek.Open(t.Context(), "awskms:///alias/cloakroom")
	if err != nil {
		t.Fatal(err)
	}
	env := keystest.New(t)
	env.AddKEK(t, "awskms:///alias/cloakroom")
	return env, srv, &keys.Vault{DB: env.Pool(t, env.As(t, "ingest", "ingest")), KEK: set}
}

// generated counts the calls that asked for a data key.
func generated(srv *kmsserver.Server) int {
	n := 0
	for _, c := range srv.Calls() {
		if c.Op == "GenerateDataKey" {
			n++
		}
	}
	return n - 1 // withKMS asked which key the alias names
}

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newIssuer is an issuer with a clock of its own.
func newIssuer(t *testing.T, v *keys.Vault, caps keys.Caps) (*keys.Issuer, *clock) {
	t.Helper()
	s, err := v.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i, err := keys.NewIssuer(v, s, "login", caps)
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	i.SetClock(c.Now)
	return i, c
}

// eventually waits for what a goroutine of the issuer brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

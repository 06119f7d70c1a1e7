package ingestcmd

import "testing"

func TestProbeAsksTheDaemonOnItsOwnMachine(t *testing.T) {
	for addr, want := range map[string]string{
		":9464":            "http://localhost:9464/readyz",
		"0.0.0.0:9464":     "http://localhost:9464/readyz",
		"[::]:9464":        "http://localhost:9464/readyz",
		"127.0.0.1:9464":   "http://127.0.0.1:9464/readyz",
		"[::1]:9464":       "http://[::1]:9464/readyz",
		"metrics.lan:9464": "http://metrics.lan:9464/readyz",
		"":                 "",
		"9464":             "",
	} {
		got, err := probeURL(addr, "/readyz")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("probeURL(%q) = %q, %v; want %q", addr, got, err, want)
		}
	}
}

package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// unit is a systemd unit's settings, in order; a setting may come more than once.
type unit map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	u := unit{}
	section := ""
	for line := range strings.Lines(read(t, "deploy/systemd/"+name)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Fatalf("%s: %q", name, line)
			}
			u[section+"."+key] = append(u[section+"."+key], value)
		}
	}
	return u
}

func (u unit) one(key string) string {
	if len(u[key]) == 0 {
		return ""
	}
	return u[key][len(u[key])-1]
}

var services = []string{"cloakroom-ingest.service", "cloakroom-rotate.service"}

func TestUnitsAreHardened(t *testing.T) {
	for _, name := range services {
		u := readUnit(t, name)
		for key, want := range map[string]string{
			"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
			"MemoryDenyWriteExecute": "yes", "LimitCORE": "0", "KillSignal": "SIGTERM", "CapabilityBoundingSet": "", "DynamicUser": "yes",
			"UMask": "0077", "Restart": "on-failure",
		} {
			if _, set := u["Service."+key]; !set || u.one("Service."+key) != want {
				t.Errorf("%s: %s=%s, want %s", name, key, u.one("Service."+key), want)
			}
		}
		if u.one("Service.LoadCredential") == "" || u.one("Service.User") == "root" {
			t.Errorf("%s: the database's URL is no credential, or it runs as root", name)
		}
		if regexp.MustCompile(`(?i)://[^/\s]*:[^/\s]*@|password`).
			MatchString(strings.Join(slices.Concat(u["Service.Environment"], u["Service.ExecStart"]), " ")) {
			t.Errorf("%s: a secret in the unit", name)
		}
	}
}

func TestUnitsWaitLongerThanAStopTakes(t *testing.T) {
	u := readUnit(t, "cloakroom-ingest.service")
	timeout, err := time.ParseDuration(u.one("Service.TimeoutStopSec") + "s")
	if err != nil {
		t.Fatal(err)
	}
	if timeout <= stopTime(t) {
		t.Errorf("systemd kills the daemon after %v; it may need %v", timeout, stopTime(t))
	}
}

func TestUnitsRunCommandsThatThereAre(t *testing.T) {
	for _, name := range services {
		words := strings.Fields(readUnit(t, name).one("Service.ExecStart"))
		if len(words) == 0 {
			t.Fatalf("%s starts nothing", name)
		}
		checkCommand(t, name, words)
	}
}

func TestUnitsPassSystemdsOwnCheck(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	switch {
	case err != nil && runtime.GOOS == "linux":
		t.Fatal("there is no systemd-analyze here: install systemd (apt-get install systemd); nothing of it need run")
	case err != nil:
		t.Skip("units are Linux's: there is no systemd-analyze elsewhere")
	}
	// The programs are not installed where the units have them.
	dir := t.TempDir()
	var paths []string
	for _, name := range append(services, "cloakroom-rotate.timer") {
		path := filepath.Join(dir, name)
		text := strings.ReplaceAll(read(t, "deploy/systemd/"+name), "/usr/local/bin", bin)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out, err := exec.Command(analyze, append([]string{"verify"}, paths...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "cloakroom-") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// settingsOf runs ingest config with a file: the loader that the daemon itself uses.
func settingsOf(t *testing.T, path string) map[string]struct{ Flag, Value, Source string } {
	t.Helper()
	secretFile := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(secretFile, []byte("postgres://ingest@db.example/cloakroom?sslmode=verify-full\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"config", "--json", "--database-url-file", secretFile}
	if path != "" {
		args = append(args, "--config", path)
	}
	out, errs, err := program(t, nil, "ingest", args...)
	if err != nil {
		t.Fatalf("ingest config: %v: %s", err, errs)
	}
	var list []struct{ Flag, Value, Source string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	settings := map[string]struct{ Flag, Value, Source string }{}
	for _, s := range list {
		settings[s.Flag] = s
	}
	return settings
}

func TestExampleConfigurationLoads(t *testing.T) {
	settings := settingsOf(t, filepath.Join(root, "deploy/ingest.yaml"))
	for _, flag := range []string{"queue-url", "kek", "http-addr", "log-format"} {
		if !strings.HasPrefix(settings[flag].Source, "file ") {
			t.Errorf("%s comes from %q", flag, settings[flag].Source)
		}
	}
}

// What the example has commented out are real keys, at their defaults.
func TestExampleConfigurationShowsTheDefaults(t *testing.T) {
	var lines []string
	commented := regexp.MustCompile(`^# ([a-z_]+: \S+)$`)
	for line := range strings.Lines(read(t, "deploy/ingest.yaml")) {
		if m := commented.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			lines = append(lines, m[1])
		}
	}
	if len(lines) < 10 {
		t.Fatalf("only %d settings are commented out", len(lines))
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, defaults := settingsOf(t, path), settingsOf(t, "")
	for _, line := range lines {
		key, _, _ := strings.Cut(line, ":")
		flag := strings.ReplaceAll(key, "_", "-")
		if set[flag].Value != defaults[flag].Value {
			t.Errorf("%s: the example says %s, the default is %s", flag, set[flag].Value, defaults[flag].Value)
		}
	}
}

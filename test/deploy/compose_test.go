package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// service is what this test looks at of a service; yaml merges the anchors.
type service struct {
	Image       string
	Build       any
	Restart     string
	User        string
	Profiles    []string
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck *struct {
		Test              []string
		Interval, Timeout string
		Retries           int
		StartPeriod       string `yaml:"start_period"`
	}
	StopGracePeriod string `yaml:"stop_grace_period"`
}

type composition struct {
	Services map[string]service
	Volumes  map[string]any
}

func compose(t *testing.T) composition {
	t.Helper()
	var c composition
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) < 5 {
		t.Fatalf("only %d services", len(c.Services))
	}
	return c
}

// oneShot is a service that ends by itself, and is not started again.
func (s service) oneShot() bool { return s.Restart == "no" }

func TestComposeConfigPasses(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if err != nil || exec.Command(docker, "compose", "version").Run() != nil {
		t.Skip("there is no docker compose here")
	}
	cmd := exec.Command(docker, "compose", "--profile", "*", "config", "--quiet")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker compose config: %v\n%s", err, out)
	}
}

func TestComposeImagesArePinned(t *testing.T) {
	for name, s := range compose(t).Services {
		if s.Build == nil && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %q is not pinned to a version", name, s.Image)
		}
		if strings.HasPrefix(s.Image, "localstack/") && s.Image != "localstack/localstack:4.12" {
			t.Errorf("%s: %s may ask for an account: 4.12 is the last tag that needs none", name, s.Image)
		}
		for _, st := range stages(t) {
			if strings.HasPrefix(s.Image, "postgres:") && strings.HasPrefix(st.image, "postgres:") &&
				s.Image != st.image {
				t.Errorf("%s runs %s, the Dockerfile has %s", name, s.Image, st.image)
			}
		}
	}
}

func TestComposeServicesAreHealthyOrEnd(t *testing.T) {
	c := compose(t)
	for name, s := range c.Services {
		if s.Healthcheck == nil && !s.oneShot() {
			t.Errorf("%s goes on running and has no health check", name)
		}
		for on, d := range s.DependsOn {
			other, ok := c.Services[on]
			switch {
			case !ok:
				t.Errorf("%s depends on %s, which is not there", name, on)
			case other.oneShot() && d.Condition != "service_completed_successfully":
				t.Errorf("%s does not wait until %s has ended", name, on)
			case !other.oneShot() && d.Condition != "service_healthy":
				t.Errorf("%s does not wait until %s is healthy", name, on)
			}
		}
		if h := s.Healthcheck; h != nil {
			if len(h.Test) < 2 || h.Test[0] != "CMD" {
				t.Errorf("%s: the health check goes through a shell, which our image has not", name)
			}
			for _, d := range []string{h.Interval, h.Timeout} {
				if _, err := time.ParseDuration(d); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestComposeStopsTheDaemonNoSoonerThanItCanEnd(t *testing.T) {
	grace, err := time.ParseDuration(compose(t).Services["ingest"].StopGracePeriod)
	if err != nil {
		t.Fatal(err)
	}
	if grace < stopTime(t) {
		t.Errorf("the daemon is killed after %v; it may need %v", grace, stopTime(t))
	}
}

// stopTime is what a stop may take: --grace, and the deletes after it.
func stopTime(t *testing.T) time.Duration {
	t.Helper()
	text, _, err := program(t, nil, "ingest", "--help")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`--grace DURATION .*deletes then take up to (\w+) more .*\(default (\w+)\)`).
		FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the help text of --grace does not say how long a stop takes:\n%s", text)
	}
	grace, err := time.ParseDuration(m[2])
	if err != nil {
		t.Fatal(err)
	}
	deletes, err := time.ParseDuration(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return grace + deletes
}

// programOf is the program that a service of ours runs.
func programOf(s service) string {
	if s.Build == nil {
		return ""
	}
	if len(s.Entrypoint) == 0 {
		return "keys" // the init image's script: what it is given is for keys init and keys grant
	}
	return filepath.Base(s.Entrypoint[0])
}

func TestComposeSetsOnlyWhatTheProgramsKnow(t *testing.T) {
	// What other people's images read.
	theirs := map[string][]string{
		"postgres": {
			"POSTGRES_DB",
			"POSTGRES_PASSWORD_FILE",
			"POSTGRES_INITDB_ARGS",
			"PGHOST",
			"PGDATABASE",
			"PGUSER",
			"PGPASSFILE",
		},
		"localstack": {
			"SERVICES",
			"SQS_ENDPOINT_STRATEGY",
			"AWS_DEFAULT_REGION",
			"DISABLE_EVENTS",
			"AWS_ENDPOINT_URL",
			"AWS_ACCESS_KEY_ID",
			"AWS_SECRET_ACCESS_KEY",
		},
	}
	for name, s := range compose(t).Services {
		p := programOf(s)
		if p == "" {
			image, _, _ := strings.Cut(s.Image[strings.LastIndex(s.Image, "/")+1:], ":")
			for v := range s.Environment {
				if !slices.Contains(theirs[image], v) {
					t.Errorf("%s: %s does not read %s, as far as this test knows", name, image, v)
				}
			}
			continue
		}
		h, ok := helpOf(t, p)
		if !ok {
			t.Errorf("%s runs %s, which is none of our programs", name, p)
			continue
		}
		for v := range s.Environment {
			if !knownVariable(h, v) {
				t.Errorf("%s: %s does not know %s", name, p, v)
			}
		}
		checkCommand(t, name, append(append([]string{p}, s.Entrypoint[min(1, len(s.Entrypoint)):]...), s.Command...))
		if s.Healthcheck != nil {
			checkCommand(t, name, s.Healthcheck.Test[1:])
		}
	}
}

func TestComposeKeepsSecretsOffTheCommandLine(t *testing.T) {
	// A URL with a password, or a word that says it is one.
	secret := regexp.MustCompile(`(?i)://[^/\s]*:[^/\s]*@|passw(or)?d=|secret=`)
	c := compose(t)
	for name, s := range c.Services {
		words := slices.Concat(s.Entrypoint, s.Command)
		if s.Healthcheck != nil {
			words = append(words, s.Healthcheck.Test...)
		}
		for _, w := range words {
			if secret.MatchString(w) {
				t.Errorf("%s: a secret on the command line: %s", name, w)
			}
		}
		for v, value := range s.Environment {
			if secret.MatchString(value) || strings.Contains(v, "PASSWORD") && !strings.HasSuffix(v, "_FILE") {
				t.Errorf("%s: %s holds a secret in the file itself", name, v)
			}
		}
	}
}

func TestComposeShowsEachLoginsPasswordToItselfAlone(t *testing.T) {
	c := compose(t)
	for name, s := range c.Services {
		var logins []string
		for _, v := range s.Volumes {
			from, to, _ := strings.Cut(v, ":")
			if login, ok := strings.CutPrefix(from, "login-"); ok {
				logins = append(logins, login)
				if name != "passwords" && !strings.HasSuffix(to, ":ro") {
					t.Errorf("%s can change %s", name, from)
				}
			}
			if !strings.HasPrefix(from, ".") {
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s: the volume %s is not named", name, from)
				}
			} else if _, err := os.Stat(filepath.Join(root, from)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		switch name {
		case "passwords", "init":
			if len(logins) != 7 {
				t.Errorf("%s sees the logins %v", name, logins)
			}
		case "postgres":
			if !slices.Equal(logins, []string{"admin"}) {
				t.Errorf("postgres sees the logins %v", logins)
			}
		default:
			if len(logins) > 1 || len(logins) == 1 && logins[0] != name {
				t.Errorf("%s sees the logins %v", name, logins)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, p)
			}
		}
	}
}

func TestComposeScriptsParse(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "deploy/compose/*.sh"))
	if err != nil || len(scripts) != 4 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, path := range scripts {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o111 != 0o111 {
			t.Errorf("%s cannot be executed (mode %o)", filepath.Base(path), info.Mode().Perm())
		}
		if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(path), err, out)
		}
	}
	text := read(t, "deploy/compose/init.sh")
	for _, line := range regexp.MustCompile(`(?m)^ *(keys .*)$`).FindAllStringSubmatch(text, -1) {
		checkCommand(t, "init.sh", strings.Fields(line[1]))
	}
	queue := read(t, "deploy/compose/localstack.sh")
	for _, want := range []string{"--queue-name login-queue ", "deadLetterTargetArn", `maxReceiveCount\\\":\\\"5`, "alias/cloakroom"} {
		if !strings.Contains(queue, want) {
			t.Errorf("localstack.sh does not say %s", want)
		}
	}
}

// The sample is ten entries a file, as SendMessageBatch takes them, and a dry run says what becomes of each.
func TestSampleIsTaken(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy/compose/sample/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample: %v", err)
	}
	total := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var entries []map[string]string
		if err := json.Unmarshal(text, &entries); err != nil {
			t.Fatalf("%s: %v", filepath.Base(path), err)
		}
		ids := map[string]bool{}
		for _, e := range entries {
			if keys := slices.Sorted(maps.Keys(e)); fmt.Sprint(keys) != "[Id MessageBody]" {
				t.Errorf("%s: an entry has %v", filepath.Base(path), keys)
			}
			if !json.Valid([]byte(e["MessageBody"])) {
				t.Errorf("%s: entry %s is no JSON", filepath.Base(path), e["Id"])
			}
			ids[e["Id"]] = true
		}
		if len(ids) != len(entries) || len(ids) > 10 {
			t.Errorf("%s: %d entries with %d ids: at most 10, each its own", filepath.Base(path), len(entries),
				len(ids))
		}
		total += len(entries)
	}
	if total != 40 {
		t.Errorf("%d sample logins, docker-compose.yml says 40", total)
	}
}

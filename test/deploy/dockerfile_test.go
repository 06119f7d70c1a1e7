package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// stage is a FROM and what follows it.
type stage struct {
	image, name string
	lines       []string // an instruction each, continuations joined
}

func stages(t *testing.T) []stage {
	t.Helper()
	var out []stage
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if words[0] == "FROM" {
			s := stage{image: words[1]}
			if len(words) == 4 && words[2] == "AS" {
				s.name = words[3]
			}
			out = append(out, s)
			continue
		}
		if len(out) == 0 {
			t.Fatalf("%s comes before FROM", line)
		}
		out[len(out)-1].lines = append(out[len(out)-1].lines, line)
	}
	return out
}

func (s stage) all(instruction string) (args []string) {
	for _, line := range s.lines {
		if rest, ok := strings.CutPrefix(line, instruction+" "); ok {
			args = append(args, rest)
		}
	}
	return args
}

// pinned is an image with a tag that names a version.
var pinned = regexp.MustCompile(`^[a-z0-9/-]+:[0-9]+[a-z0-9.-]*$`)

func TestDockerfileBuildsWithTheModulesGo(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))
	var found bool
	for _, s := range stages(t) {
		tag, ok := strings.CutPrefix(s.image, "golang:")
		if !ok {
			continue
		}
		found = true
		have, _, _ := strings.Cut(tag, "-")
		if !atLeast(have, want[1]) {
			t.Errorf("the image's Go is %s, go.mod wants %s", have, want[1])
		}
		if !slices.ContainsFunc(s.all("RUN"),
			func(r string) bool { return strings.Contains(r, "CGO_ENABLED=0 go build") }) {
			t.Error("the programs are not built with CGO_ENABLED=0, and scratch has no C library")
		}
		for _, p := range programs {
			if !slices.ContainsFunc(s.all("RUN"), func(r string) bool { return strings.Contains(r, "./cmd/"+p) }) {
				t.Errorf("%s is not built", p)
			}
		}
	}
	if !found {
		t.Error("no stage builds with Go")
	}
}

func atLeast(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range w {
		if i >= len(h) {
			return false // a shorter tag moves
		}
		a, _ := strconv.Atoi(h[i])
		b, _ := strconv.Atoi(w[i])
		if a != b {
			return a > b
		}
	}
	return true
}

func TestImagesRunAsNobodyAndArePinned(t *testing.T) {
	all := stages(t)
	names := map[string]bool{}
	for i, s := range all {
		if s.image != "scratch" && !names[s.image] && !pinned.MatchString(s.image) {
			t.Errorf("the image %s is not pinned to a version", s.image)
		}
		names[s.name] = s.name != ""
		if i == 0 {
			continue // builds, does not run
		}
		users := s.all("USER")
		if len(users) == 0 {
			t.Fatalf("stage %d (%s) sets no USER: it runs as root", i, s.image)
		}
		uid, _, _ := strings.Cut(users[len(users)-1], ":")
		if n, err := strconv.Atoi(uid); err != nil || n == 0 {
			t.Errorf("stage %d runs as %q: want a number other than 0, which orchestrators can check", i, uid)
		}
	}
	last := all[len(all)-1]
	if last.image != "scratch" {
		return
	}
	if !slices.ContainsFunc(last.all("COPY"),
		func(c string) bool { return strings.HasSuffix(c, "/etc/ssl/certs/ca-certificates.crt") }) {
		t.Error("the image has no certificate authorities: neither KMS nor SQS nor Postgres could be checked")
	}
	if !slices.ContainsFunc(last.all("COPY"), func(c string) bool { return strings.HasSuffix(c, " /tmp/") }) {
		t.Error("the image has no /tmp, where recover spools large openings")
	}
}

func TestImagesHoldNoSecret(t *testing.T) {
	for _, s := range stages(t) {
		for _, line := range append(s.all("ENV"), s.all("ARG")...) {
			if regexp.MustCompile(`(?i)password|secret|token|_key`).MatchString(line) {
				t.Errorf("a secret in the image: %s", line)
			}
		}
	}
}

// The build sees only what .dockerignore lets through: everything that Go embeds and compiles has to be among it.
func TestBuildContextHoldsTheSources(t *testing.T) {
	var allowed []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			allowed = append(allowed, path)
		}
	}
	through := func(path string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") })
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != "." {
			return filepath.SkipDir
		}
		if d.IsDir() && name == "test" {
			return filepath.SkipDir // no program is built from it
		}
		if !d.IsDir() && filepath.Ext(name) == ".go" && !through(name) {
			t.Errorf("%s is not in the build's context: name its directory in .dockerignore", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages(t) {
		for _, c := range s.all("COPY") {
			words := strings.Fields(c)
			if strings.HasPrefix(words[0], "--from") || words[0] == "." {
				continue
			}
			for _, from := range words[:len(words)-1] {
				if !through(from) {
					t.Errorf("COPY %s: it is not in the build's context", from)
				}
				if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(from))); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The versions cloakroom supports.
const (
	oldestMajor = 14
	newestMajor = 18
)

// binaries is one installation of Postgres.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// usualPlaces is where packages put Postgres without putting it on PATH.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/usr/local/pgsql/bin",
	"/usr/local/pgsql-*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// findBinaries prefers what is on PATH, then the newest of the usual places,
// then a download. A major version other than 0 is the only one accepted: a
// cluster can be read by its own version alone.
func findBinaries(ctx context.Context, major int) (binaries, error) {
	accepted := func(b binaries) bool {
		if major != 0 {
			return b.major == major
		}
		return oldestMajor <= b.major && b.major <= newestMajor
	}
	var refused []string
	look := func(dirs []string) (found []binaries) {
		for _, dir := range dirs {
			b, err := inspect(ctx, dir)
			switch {
			case err != nil: // not an installation, or one that does not run
			case accepted(b):
				found = append(found, b)
			default:
				refused = append(refused, fmt.Sprintf("%d in %s", b.major, b.dir))
			}
		}
		return found
	}
	if found := look(onPath(ctx)); len(found) > 0 {
		return found[0], nil
	}
	if found := look(inUsualPlaces()); len(found) > 0 {
		return slices.MaxFunc(found, func(a, b binaries) int { return a.major - b.major }), nil
	}
	b, err := downloadedBinaries(ctx, major)
	if err == nil {
		return b, nil
	}
	return binaries{}, notFound(major, refused, err)
}

// notFound is one line that says what to install.
func notFound(major int, refused []string, cause error) error {
	want := fmt.Sprintf("Postgres %d to %d", oldestMajor, newestMajor)
	if major != 0 {
		want = fmt.Sprintf("Postgres %d, which made this cluster,", major)
	}
	seen := ""
	if len(refused) > 0 {
		seen = "; found only " + strings.Join(refused, ", ")
	}
	return fmt.Errorf("finding %s: not on PATH nor in the usual places%s; install it"+
		" (apt-get install postgresql, brew install postgresql@17): %w", want, seen, cause)
}

// onPath looks where a shell would. Debian's wrappers are not postgres itself,
// so pg_config is asked as well.
func onPath(ctx context.Context) []string {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return dirs
}

func inUsualPlaces() []string {
	var dirs []string
	for _, pattern := range usualPlaces {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	return dirs
}

// Program finds a client program, such as psql: beside the server's own programs, on PATH, in the usual places, newest
// first. A downloaded Postgres has none, and pg_dump refuses a server newer than itself.
func (s *Server) Program(name string) (string, error) { return s.bin.client(name) }

func (b binaries) client(name string) (string, error) {
	beside := b.path(name)
	if _, err := exec.LookPath(beside); err == nil {
		return beside, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	dirs := inUsualPlaces()
	slices.SortFunc(dirs, func(a, b string) int { return majorIn(b) - majorIn(a) })
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("finding %s: not beside Postgres in %s, on PATH, nor in the usual places; install it"+
		" (apt-get install postgresql-client, brew install libpq)", name, b.dir)
}

var number = regexp.MustCompile(`\d+`)

// majorIn is the version that a directory's name tells; 0: none.
func majorIn(dir string) int {
	numbers := number.FindAllString(dir, -1)
	if len(numbers) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(numbers[len(numbers)-1]) // digits alone
	return n
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect asks the installation in dir for its version.
func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	if _, err := os.Stat(b.path("initdb")); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return b, err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return b, errors.New("not a version of Postgres: " + strings.TrimSpace(string(out)))
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err
}

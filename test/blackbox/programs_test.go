package blackbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/test/corpus"
)

// binDir holds the programs, built once for all tests.
var binDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cloakroom-blackbox")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	root, err := corpus.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-o", dir, "./cmd/keys", "./cmd/ingest")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return pgtest.Run(m)
}

// site is one installation: a server, a database, a KEK, and the programs' surroundings.
type site struct {
	*pgserver.Server
	t     *testing.T
	admin *sqlx.DB // superuser, in the database app
	kek   string   // path of its key file
	said  bytes.Buffer
}

// newSite sets up an installation with the programs themselves. Its logins are ingest and rotator.
func newSite(t *testing.T, settings map[string]string) *site {
	t.Helper()
	s := &site{
		Server: pgtest.Server(t, pgserver.Config{Settings: settings}),
		t:      t,
		kek:    filepath.Join(t.TempDir(), "kek"),
	}
	postgres := sqlx.MustConnect("postgres", s.URL(s.SuperUser(), "postgres"))
	postgres.MustExec(`CREATE DATABASE app`)
	postgres.MustExec(`CREATE ROLE ingest LOGIN`)
	postgres.MustExec(`CREATE ROLE rotator LOGIN`)
	postgres.Close()
	s.admin = sqlx.MustConnect("postgres", s.URL(s.SuperUser(), "app"))
	t.Cleanup(func() { s.admin.Close() })
	s.must("postgres", "keys", "kek", "generate", s.kek)
	s.must("postgres", "keys", "init")
	s.must("postgres", "keys", "dataset", "apply", "../../dataset/testdata/order.yaml")
	s.must("postgres", "keys", "grant", "ingest", "--role", "ingest")
	s.must("postgres", "keys", "grant", "rotator", "--role", "rotator")
	return s
}

// command is a program run as a database login. Nothing of the test's own environment reaches it.
func (s *site) command(login, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, program), args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv(
			"PATH"), "HOME=" + s.t.TempDir(), "DATABASE_URL=" + s.URL(login, "app"), "CLOAKROOM_KEK=file://" + s.kek,
		"CLOAKROOM_LOG_LEVEL=debug",
	}
	return cmd
}

// run runs a program to its end and gives what it printed and its exit code. All it said is kept in s.said.
func (s *site) run(login, program string, args ...string) (stdout string, exit int) {
	s.t.Helper()
	cmd := s.command(login, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	fmt.Fprintf(&s.said, "$ %s %s\n%s%s", program, strings.Join(args, " "), &out, &errs)
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs a program that has to succeed.
func (s *site) must(login, program string, args ...string) string {
	s.t.Helper()
	before := s.said.Len()
	out, exit := s.run(login, program, args...)
	if exit != 0 {
		s.t.Fatalf("exit %d:\n%s", exit, s.said.Bytes()[before:])
	}
	return out
}

// count asks the database.
func (s *site) count(query string, args ...any) int {
	s.t.Helper()
	var n int
	if err := s.admin.Get(&n, query, args...); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// dump is the database as pg_dump writes it.
func (s *site) dump() string {
	s.t.Helper()
	path := pgtest.Program(s.t, s.Server, "pg_dump")
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--inserts", s.URL(s.SuperUser(), "app")).Output()
	if err != nil {
		s.t.Fatalf("pg_dump: %v", err)
	}
	return string(out)
}

// files reads every file below the server's directory whose path has one of the words in it.
func (s *site) files(words ...string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	err := filepath.Walk(s.Dir(), func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !info.Mode().IsRegular() ||
			!slices.ContainsFunc(words, func(w string) bool { return strings.Contains(path, w) }) {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		out[path] = string(text)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

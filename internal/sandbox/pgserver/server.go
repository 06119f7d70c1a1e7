// Package pgserver runs a private Postgres for the demo and for tests, from
// binaries that are already on the machine.
//
// It promises:
//
//   - Private. Clients come in through a Unix socket in a directory that only
//     the server's account (and root) can enter; inside that directory every
//     role is trusted. TCP is off unless asked for, and then wants passwords.
//   - Honest. fsync and synchronous_commit stay on, as in production, unless
//     the settings say otherwise: what is measured or crashed here behaves
//     as it would there.
//   - No root. Postgres refuses to run as root, so a program that is root
//     starts it as "postgres" or "nobody", without supplementary groups and
//     without the program's environment.
//   - No leftovers. On Linux the server shuts down when the program that
//     started it dies, however it dies. The temporary directory goes with
//     Stop; one that a killed program left, and on other systems its server
//     too, goes with the next Start.
//
// It is a sandbox: nothing in it is meant to hold data that matters.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
)

// superUser is the bootstrap role of every cluster made here.
const superUser = "postgres"

// Config says what to start. The zero value is a throwaway server on a socket.
type Config struct {
	// Dir keeps the cluster, the socket and the log. An existing cluster in it
	// is used again. When we are root, Postgres's account must be able to enter
	// it (mode 0711 on all directories above does). Empty: a fresh private directory, removed by Stop.
	Dir string

	// Memory makes the fresh directory in memory, where the system has a file
	// system for that with a gigabyte to spare (Linux's /dev/shm): databases
	// are then cloned some 30 times faster. It survives Kill, but measures no
	// disk. Without effect when Dir is set.
	Memory bool

	// Settings go into postgresql.conf and win over the defaults there.
	// The few that say where the server is found belong to this package.
	Settings map[string]string

	// TCP also listens on 127.0.0.1, at a free port, with scram-sha-256
	// passwords. False: the Unix socket only.
	TCP bool
}

// Server is one Postgres. Its methods may be called from several goroutines.
type Server struct {
	cfg     Config
	bin     binaries
	account *account // nil: runs as ourselves
	place   *place
	port    int

	mu   sync.Mutex
	pm   *postmaster // nil: not running
	gone bool        // the directory was removed
}

// Start makes the cluster if there is none and returns when the server accepts
// connections. The context bounds the start alone, not the server's life. An
// error carries the end of Postgres's log.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := checkSettings(cfg.Settings); err != nil {
		return nil, fmt.Errorf("starting Postgres: %w", err)
	}
	acc, err := chooseAccount(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("starting Postgres: %w", err)
	}
	pl, err := openPlace(cfg, acc)
	if err != nil {
		return nil, fmt.Errorf("starting Postgres: %w", err)
	}
	s := &Server{cfg: cfg, account: acc, place: pl}
	if err := s.first(ctx); err != nil {
		return nil, fmt.Errorf("starting Postgres: %w", errors.Join(err, pl.close()))
	}
	return s, nil
}

// first finds the binaries, makes the cluster and starts it for the first time.
func (s *Server) first(ctx context.Context) error {
	major, err := s.place.clusterVersion()
	if err != nil {
		return err
	}
	if s.bin, err = findBinaries(ctx, major); err != nil {
		return err
	}
	if err := s.account.reach(s.bin.dir); err != nil {
		return err
	}
	if major == 0 {
		if err := s.initdb(ctx); err != nil {
			return err
		}
	}
	if !s.cfg.TCP {
		s.port = 5432 // names the socket, nothing more
		return s.launch(ctx)
	}
	// The port is free when it is chosen and may be taken a moment later.
	for range 5 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.launch(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// Restart starts the server again on the same data and the same address, after
// Kill, after Stop (with Config.Dir set: otherwise Stop removed the data), or
// while it runs, which it shuts down first.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return errors.New("restarting Postgres: Stop removed its directory; set Config.Dir to keep it")
	}
	if s.pm != nil && s.pm.ended() {
		s.pm = nil
	}
	if s.pm != nil {
		if err := s.shutdown(); err != nil {
			return fmt.Errorf("restarting Postgres: %w", err)
		}
	}
	if err := s.place.claim(); err != nil {
		return fmt.Errorf("restarting Postgres: %w", err)
	}
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restarting Postgres: %w", err)
	}
	return nil
}

// Stop disconnects everybody, writes a checkpoint, waits for the end, and
// removes the directory unless Config.Dir named it. Stopping twice is harmless.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.pm != nil {
		err = s.shutdown()
	}
	s.gone = s.gone || s.cfg.Dir == ""
	if err = errors.Join(err, s.place.close()); err != nil {
		return fmt.Errorf("stopping Postgres: %w", err)
	}
	return nil
}

// URL addresses a database as a role through the socket, in the form that
// lib/pq and libpq (psql, pg_dump) both take. No password is needed.
func (s *Server) URL(user, database string) string {
	q := url.Values{
		"host":    {s.place.socketDir()},
		"port":    {strconv.Itoa(s.port)},
		"sslmode": {"disable"},
	}
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// SocketDir is the directory of the Unix socket, which has the port 5432 unless
// Config.TCP asked for another.
func (s *Server) SocketDir() string { return s.place.socketDir() }

// TCPURL addresses a database over TCP. It needs Config.TCP and a role that has
// a password.
func (s *Server) TCPURL(user, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     "127.0.0.1:" + strconv.Itoa(s.port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SuperUser names the role that may do anything.
func (s *Server) SuperUser() string { return superUser }

// Port is the TCP port with Config.TCP, and otherwise the number in the
// socket's name.
func (s *Server) Port() int { return s.port }

// Dir holds the cluster, the socket and the log.
func (s *Server) Dir() string { return s.place.dir }

// LogPath is the file Postgres logs to. It grows over restarts.
func (s *Server) LogPath() string { return s.place.log() }

// BinDir holds the binaries that run: always postgres and initdb; psql, pg_dump
// and the others where the installation has them.
func (s *Server) BinDir() string { return s.bin.dir }

// PID is the postmaster's process id, 0 when the server does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil || s.pm.ended() {
		return 0
	}
	return s.pm.pid
}

// environment is all that Postgres gets to see of ours: it may run as another
// account, which must not read our credentials in /proc.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

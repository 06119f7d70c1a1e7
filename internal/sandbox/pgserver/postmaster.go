package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit also has to do for a recovery after Kill.
	startLimit = time.Minute
	stopLimit  = 30 * time.Second
	pollEvery  = 2 * time.Millisecond
)

// errPortTaken means that somebody else listens on the port we chose.
var errPortTaken = errors.New("the TCP port is taken")

// postmaster is a child process: done is closed when it has ended, and err is
// how.
type postmaster struct {
	pid  int
	done chan struct{}
	err  error // read after done
}

// startChild starts cmd. On Linux a child is told of its parent's death when
// the thread that forked it ends, so one thread stays with it for its life.
func startChild(cmd *exec.Cmd) (*postmaster, error) {
	p := &postmaster{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (p *postmaster) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// launch starts the server and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()

	// What an earlier server left in the socket's directory could only mislead.
	if err := os.RemoveAll(s.place.socketDir()); err != nil {
		return err
	}
	if err := s.account.mkdir(s.place.socketDir()); err != nil {
		return err
	}
	if err := s.writeConf(); err != nil {
		return err
	}
	logFile, err := os.OpenFile(s.place.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	from, err := logFile.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	// The data directory is named in the command line: see postmasterOn.
	cmd := exec.Command(s.bin.path("postgres"), "-D", s.place.data(), "-c", "config_file="+s.place.conf())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.place.dir, environment(), s.account.attr()
	pm, err := startChild(cmd)
	if err != nil {
		return err
	}
	if err := pm.awaitReady(ctx, s.place.data()); err != nil {
		err = errors.Join(err, killFamily(pm.pid))
		<-pm.done
		return withLog(err, s.place.log(), from)
	}
	s.pm = pm
	return nil
}

// awaitReady watches postmaster.pid, as pg_ctl does: connecting instead would
// put "the database system is starting up" into the log.
func (p *postmaster) awaitReady(ctx context.Context, data string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return fmt.Errorf("postgres ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for postgres to accept connections: %w", ctx.Err())
		case <-tick.C:
			if f, err := readPidFile(data); err == nil && f.pid == p.pid && f.ready {
				return nil
			}
		}
	}
}

// shutdown ends the server: fast, and if that does not help, by force. The
// caller holds the lock.
func (s *Server) shutdown() error {
	pm := s.pm
	s.pm = nil
	if pm.ended() {
		return fmt.Errorf("postgres had ended by itself: %w; see %s", pm.err, s.place.log())
	}
	if err := endFamily(pm.pid, stopLimit); err != nil {
		return err
	}
	<-pm.done
	return nil
}

// withLog adds what Postgres wrote to its log since from.
func withLog(err error, path string, from int64) error {
	const most = 4096
	f, openErr := os.Open(path)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	defer f.Close()
	if info, statErr := f.Stat(); statErr == nil {
		from = max(from, info.Size()-most)
	}
	tail, readErr := io.ReadAll(io.NewSectionReader(f, from, most))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	text := strings.TrimSpace(string(tail))
	if strings.Contains(text, "could not create any TCP/IP sockets") {
		err = errors.Join(errPortTaken, err)
	}
	return fmt.Errorf("%w\nits log ends:\n%s", err, text)
}

// freePort is a TCP port on 127.0.0.1 that nobody listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// signal sends sig; a process that has gone is no error.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %v to process %d: %w", sig, pid, err)
	}
	return nil
}

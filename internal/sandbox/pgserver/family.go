package pgserver

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// A postmaster's children each lead a process group of their own, so a signal
// to the postmaster's group does not reach them: they are found by their parent.

// process is one line of the process table.
type process struct {
	pid, parent int
	state       byte // as ps prints it: T stopped, Z zombie
}

// Kill ends the postmaster and all its children, by SIGKILL: a crash of Postgres,
// not of the machine, whose file system keeps what was written without fsync.
// The data stay; Restart recovers them.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil {
		return nil
	}
	if err := killFamily(s.pm.pid); err != nil {
		return fmt.Errorf("killing Postgres: %w", err)
	}
	<-s.pm.done
	s.pm = nil
	return nil
}

// Pause stops the postmaster and all its children where they are, by SIGSTOP.
// To a client the server hangs: the connection stays and nothing answers.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil {
		return errors.New("pausing Postgres: it does not run")
	}
	children, err := freeze(s.pm.pid)
	for _, child := range children {
		err = errors.Join(err, signal(child, syscall.SIGSTOP))
	}
	if err != nil {
		return fmt.Errorf("pausing Postgres: %w", err)
	}
	return nil
}

// Continue lets the server go on after Pause.
func (s *Server) Continue() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pm == nil {
		return errors.New("continuing Postgres: it does not run")
	}
	if err := thaw(s.pm.pid); err != nil {
		return fmt.Errorf("continuing Postgres: %w", err)
	}
	return nil
}

// freeze stops the postmaster and returns its children: while it stands still
// it makes no new ones.
func freeze(postmaster int) ([]int, error) {
	if err := signal(postmaster, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Second)
	for {
		table, err := processes()
		if err != nil {
			return nil, err
		}
		var children []int
		still := true // also when it has gone
		for _, p := range table {
			if p.parent == postmaster {
				children = append(children, p.pid)
			}
			if p.pid == postmaster {
				still = p.state == 'T' || p.state == 'Z'
			}
		}
		if still || time.Now().After(deadline) {
			return children, nil
		}
		time.Sleep(pollEvery)
	}
}

func thaw(postmaster int) error {
	table, err := processes()
	if err != nil {
		return err
	}
	for _, p := range table {
		if p.parent == postmaster {
			err = errors.Join(err, signal(p.pid, syscall.SIGCONT))
		}
	}
	return errors.Join(err, signal(postmaster, syscall.SIGCONT))
}

// killFamily waits until every process has let go of the shared memory: the
// next postmaster refuses to start while one has not.
func killFamily(postmaster int) error {
	children, err := freeze(postmaster)
	if err != nil {
		return err
	}
	family := append(children, postmaster)
	for _, pid := range family {
		err = errors.Join(err, signal(pid, syscall.SIGKILL))
	}
	if err != nil {
		return err
	}
	for _, pid := range family {
		if !gone(pid, orphanGrace) {
			return fmt.Errorf("process %d outlives SIGKILL", pid)
		}
	}
	return nil
}

// endFamily asks for a fast shutdown and kills what is left after the grace.
func endFamily(postmaster int, grace time.Duration) error {
	if err := errors.Join(thaw(postmaster), signal(postmaster, syscall.SIGINT)); err != nil {
		return err
	}
	if gone(postmaster, grace) {
		return nil
	}
	return killFamily(postmaster)
}

// gone waits for a process to end.
func gone(pid int, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); alive(pid); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cloakroom/dataset"
)

// recover recovers the value behind the token that most rows share. It is refused twice before it is approved.
func (s *show) recover(ctx context.Context) error {
	field, token, err := s.mostShared(ctx)
	if err != nil {
		return err
	}
	s.device = token
	s.step(5, "Recover: an auditor asks for a value and somebody else approves; the log has it before it is shown.")
	id, err := s.request(ctx, s.must, field, token)
	if err != nil {
		return err
	}
	if err := s.mustBeRefused(ctx, "the auditor's own approval", "approve", id, "--yes"); err != nil {
		return err
	}
	if err := s.mustBeRefused(ctx, "an opening without approval", "open", id, "--allow-pipe"); err != nil {
		return err
	}
	if _, err := s.must(ctx, approver, "recover", "approve", id, "--yes"); err != nil {
		return err
	}
	opened, err := s.must(ctx, auditor, "recover", "open", id, "--allow-pipe")
	if err != nil {
		return err
	}
	if s.report.Recovered.Before, err = distinctValues(opened.out, field); err != nil {
		return err
	}
	if err := s.mustBeRefused(ctx, "a second opening of one approval", "open", id, "--allow-pipe"); err != nil {
		return err
	}
	s.note("The audit log: its entries are the leaves of a Merkle tree, so none can be changed without a trace.")
	_, err = s.must(ctx, auditor, "recover", "log", "show")
	return err
}

// runner is try, must, or one that prints nothing.
type runner func(ctx context.Context, who actor, program string, args ...string) (run, error)

// request asks for the rows with a token and returns the request's id.
func (s *show) request(ctx context.Context, do runner, field, token string) (id string, err error) {
	r, err := do(ctx, auditor, "recover", "request", "--purpose", "fraud", "--ticket", "DEMO-1", "--reason",
		"shared device?", "--token", token, "--fields", field, "--limit", "5")
	return strings.TrimSpace(r.out), err
}

// recoverAgain recovers the same value after the rotation, without showing each step.
func (s *show) recoverAgain(ctx context.Context) ([]string, error) {
	field := shared().Name
	id, err := s.request(ctx, s.quietly, field, s.device)
	if err != nil {
		return nil, err
	}
	if _, err := s.quietly(ctx, approver, "recover", "approve", id, "--yes"); err != nil {
		return nil, err
	}
	s.note("The same value once more, asked for and approved as before:")
	opened, err := s.must(ctx, auditor, "recover", "open", id, "--allow-pipe")
	if err != nil {
		return nil, err
	}
	return distinctValues(opened.out, field)
}

func (s *show) quietly(ctx context.Context, who actor, program string, args ...string) (run, error) {
	r, err := s.do(ctx, who, program, args...)
	if err == nil {
		err = r.failed()
	}
	return r, err
}

// mustBeRefused tries what recover must refuse the auditor, shows the refusal and notes whether it came.
func (s *show) mustBeRefused(ctx context.Context, what string, args ...string) error {
	r, err := s.try(ctx, auditor, "recover", args...)
	s.report.Refused[what] = r.code != 0
	return err
}

// shared is the protected field whose shared values the demo looks for.
func shared() *dataset.Member {
	members := dataset.Login().Protected()
	return members[len(members)-1]
}

// distinctValues are the values of a field in what recover open printed, a JSON array of rows: each once, sorted.
func distinctValues(out, field string) ([]string, error) {
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		return nil, fmt.Errorf("reading the opened rows: %w", err)
	}
	var values []string
	for _, row := range rows {
		value, ok := row[field].(string)
		if !ok {
			return nil, fmt.Errorf("an opened row has no %s", field)
		}
		values = append(values, value)
	}
	slices.Sort(values)
	return slices.Compact(values), nil
}

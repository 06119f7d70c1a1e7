package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"cloakroom/dataset"
	recovery "cloakroom/recover"
)

// client is a person's side of recover.
func (s *show) client(ctx context.Context, role string) (*recovery.Client, error) {
	v, err := s.vault(ctx, role)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	return &recovery.Client{Vault: v, Dataset: dataset.Login(), SourceIdentity: "demo@" + host}, nil
}

const reason = "shared device?"

// recover recovers the value behind the token that most logins share, refused twice before it is approved.
func (s *show) recover(ctx context.Context) error {
	field, token, err := s.mostShared(ctx)
	if err != nil {
		return err
	}
	s.device = token
	s.step(4, "auditor$", "recover request --purpose fraud --ticket DEMO-1 --reason %q --token %s --fields %s --limit 5", reason, token, field)
	s.report.Recovered.Before, err = s.askAndOpen(ctx, token, true)
	return err
}

// askAndOpen asks for the rows with a token, has the request approved and opens it. Told to, it shows every step and tries
// what must be refused.
func (s *show) askAndOpen(ctx context.Context, token string, aloud bool) ([]string, error) {
	auditor, err := s.client(ctx, "auditor")
	if err != nil {
		return nil, err
	}
	approver, err := s.client(ctx, "approver")
	if err != nil {
		return nil, err
	}
	members := dataset.Login().Protected()
	field := members[len(members)-1].Name
	id, err := auditor.Request(ctx, recovery.RequestParams{
		Purpose: "fraud", Ticket: "DEMO-1", Reason: reason,
		Tokens: []string{token}, Field: field, Fields: []string{field}, Limit: 5, Lifetime: time.Hour,
	})
	if err != nil {
		return nil, err
	}
	if aloud {
		s.more("", "%s", id)
		s.tryUnapproved(ctx, auditor, id)
	}
	details, err := approver.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	state, err := approver.Approve(ctx, details)
	if err != nil {
		return nil, err
	}
	if aloud {
		s.more("approver$", "recover approve %s   %s", id, state)
	}
	opened, err := auditor.Open(ctx, id, recovery.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	values, err := distinctValues(opened, field)
	if err != nil {
		return nil, err
	}
	if aloud {
		s.more("auditor$", "recover open %s   %s", id, s.paint(bold, fmt.Sprintf("%q", values)))
		s.more("", "%d rows · announced as leaf %d of the audit log before they were opened, closed as leaf %d", opened.Rows, opened.Intent, opened.Leaf)
		_, err := auditor.Open(ctx, id, recovery.OpenOptions{})
		s.refused("a second opening of one approval", err)
	}
	return values, nil
}

// tryUnapproved tries what the database must refuse.
func (s *show) tryUnapproved(ctx context.Context, auditor *recovery.Client, id uuid.UUID) {
	details, err := auditor.Show(ctx, id)
	if err == nil {
		_, err = auditor.Approve(ctx, details)
	}
	s.refused("the auditor's own approval", err)
	s.more("auditor$", "recover approve %s   %s", id, s.refusal(err))
	_, err = auditor.Open(ctx, id, recovery.OpenOptions{})
	s.refused("an opening without approval", err)
	s.more("auditor$", "recover open %s   %s", id, s.refusal(err))
}

// distinctValues are the values of a column, each once, in the order of the rows.
func distinctValues(o *recovery.OpenedRows, column string) ([]string, error) {
	at := -1
	for i, c := range o.Columns {
		if c.Name == column {
			at = i
		}
	}
	if at < 0 {
		return nil, errors.New("the opened rows lack the column that was asked for")
	}
	var values []string
	seen := map[string]bool{}
	err := o.Each(func(r recovery.Record) error {
		if v := string(r[at]); !seen[v] {
			seen[v] = true
			values = append(values, v)
		}
		return nil
	})
	return values, err
}

package rotation

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/google/uuid"

	"cloakroom/internal/pg"
	"cloakroom/keys"
)

// RequestForget requests that a person be forgotten. Two people other than the requester must
// approve the request it returns.
func RequestForget(ctx context.Context, v *keys.Vault, user, ticket, reason string) (uuid.UUID, error) {
	var id uuid.UUID
	if err := v.DB.GetContext(ctx, &id, `SELECT cloakroom.request_forget($1, $2, $3)`, user, ticket,
		reason); err != nil {
		return id, fmt.Errorf("requesting to forget: %w", pg.Redact(err))
	}
	return id, nil
}

// ForgetPlan is how far a request to forget has come and what it would clear.
type ForgetPlan struct {
	State      string `db:"state" json:"state"`
	Approvals  int    `db:"approvals" json:"approvals"` // by others than the requester
	Rows       int64  `db:"rows" json:"rows"`
	Rejections int64  `db:"rejections" json:"rejections"`
}

// PlanForget reports what Forget would clear. It changes nothing.
func PlanForget(ctx context.Context, v *keys.Vault, request uuid.UUID) (ForgetPlan, error) {
	var p ForgetPlan
	if err := v.DB.GetContext(ctx, &p, `SELECT * FROM cloakroom.forget_plan($1)`, request); err != nil {
		return p, fmt.Errorf("planning to forget: %w", pg.Redact(err))
	}
	return p, nil
}

// Certificate says what was forgotten. Keep it outside the database: after a restore from a backup,
// ReplayForget needs it. It names the person, so protect it like the request.
type Certificate struct {
	Certificate string `db:"certificate" json:"certificate"`
	Code        string `db:"code" json:"code"` // authenticates it; only this vault can make one
}

// Forget clears the sealed values and the tokens of the person that an approved request names, in rows and rejections. Run
// again, it finishes and returns the same certificate.
func Forget(ctx context.Context, v *keys.Vault, request uuid.UUID, o Options) (Certificate, Report, error) {
	var c Certificate
	report, err := run(ctx, v, o, func(j *job, r *Report) error {
		if err := j.ddl(ctx, "beginning to forget", `SELECT cloakroom.begin_forget($1)`, request); err != nil {
			return err
		}
		// A late event of the person may arrive behind a pass. The certificate is made by the transaction
		// that counts no row left.
		for {
			if err := j.forgetOnce(ctx, request, r); err != nil {
				return err
			}
			if err := j.renewStatistics(ctx); err != nil {
				return err
			}
			var finished struct {
				Left int64   `db:"left_over"`
				Text *string `db:"certificate"`
				Code *string `db:"code"`
			}
			err := j.tx(ctx, "counting what is left to forget", func(s session) error {
				return s.get(ctx, &finished, `SELECT * FROM cloakroom.finish_forget($1)`, request)
			})
			if err != nil {
				return err
			}
			if finished.Text != nil && finished.Code != nil {
				c = Certificate{*finished.Text, *finished.Code}
				return nil
			}
		}
	})
	return c, report, err
}

func (j *job) forgetOnce(ctx context.Context, request uuid.UUID, r *Report) error {
	var parts []keys.Partition
	err := j.call(ctx, "listing partitions", func(s session) error {
		return s.list(ctx, &parts, `SELECT * FROM cloakroom.partition_list()`)
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		n, err := j.forgetPart(ctx, request, p.Dataset, day(p.From))
		if err != nil {
			return err
		}
		r.Cleared += n
	}
	n, err := j.forgetPart(ctx, request, nil, nil)
	r.ClearedRejections += n
	return err
}

// forgetPart clears one partition; nil: the rejections.
func (j *job) forgetPart(ctx context.Context, request uuid.UUID, dataset, part any) (n int64, err error) {
	err = j.tx(ctx, "forgetting", func(s session) error {
		return s.get(ctx, &n, `SELECT cloakroom.forget_part($1, $2, $3)`, request, dataset, part)
	})
	return n, err
}

// renewStatistics takes what was erased out of the planner's statistics. It reads a sample of every partition, for which a
// statement of this login may have no time: then the operator is told, and what was erased stays erased.
func (j *job) renewStatistics(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(j.datasets)) {
		if j.o.Dataset != "" && j.o.Dataset != name {
			continue
		}
		err := j.ddl(ctx, "gathering statistics again", `SELECT cloakroom.renew_statistics($1)`, name)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			j.o.Log.Warn("statistics of the rows still hold values that were erased: run ANALYZE on the row table",
				"dataset", name, "error", err)
		}
	}
	return nil
}

// errDryRun rolls a transaction back.
var errDryRun = errors.New("a dry run")

// ReplayForget repeats what certificates say, up to the first that fails. A bundle has one certificate a line, as JSON. A
// dry run does each and rolls it back.
func ReplayForget(ctx context.Context, v *keys.Vault, bundle io.Reader, o Options) (Report, error) {
	return run(ctx, v, o, func(j *job, r *Report) error {
		lines := bufio.NewScanner(bundle)
		for n := 1; lines.Scan(); n++ {
			if len(lines.Bytes()) == 0 {
				continue
			}
			var c Certificate
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil || c.Code == "" {
				return fmt.Errorf("reading the bundle: line %d is not a certificate", n)
			}
			var cleared int64
			err := j.tx(ctx, fmt.Sprintf("replaying line %d", n), func(s session) error {
				err := s.get(ctx, &cleared, `SELECT cloakroom.replay_forget($1, $2)`, c.Certificate, c.Code)
				if err == nil && o.DryRun {
					return errDryRun
				}
				return err
			})
			if err != nil && !errors.Is(err, errDryRun) {
				return err
			}
			r.Cleared += cleared
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("reading the bundle: %w", err)
		}
		if r.Cleared > 0 && !o.DryRun {
			return j.renewStatistics(ctx)
		}
		return nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cloakroom/dataset"
)

// rotators are the connections of the job, its default, and of the bare UPDATE.
const rotators = 2

// foreignKey stands for a new data key's id where a bare UPDATE changes them: nothing opens meanwhile.
const foreignKey = 1 << 30

// prepareBare numbers the rows in the job's order, so that a batch of the bare UPDATE reads nothing but what it writes.
func (d *database) prepareBare(ctx context.Context) error {
	if err := d.admin.GetContext(ctx, &d.date, `SELECT create_date::text FROM cloakroom_data.user_logins LIMIT 1`); err != nil {
		return err
	}
	_, err := d.admin.ExecContext(ctx, `
		DROP TABLE IF EXISTS public.bench_batches;
		CREATE TABLE public.bench_batches AS
		  SELECT row_number() OVER (ORDER BY sent, row_id) AS n, sent, row_id, create_date FROM cloakroom_data.user_logins;
		ALTER TABLE public.bench_batches ADD PRIMARY KEY (n);
		ANALYZE public.bench_batches`)
	return err
}

// bareUpdate updates every row in batches of the job's size, over as many connections, each in one part of the key
// space and each batch a transaction, and nothing else: no value is read, opened, sealed, or sent.
func (d *database) bareUpdate(ctx context.Context, rows int, set string) (time.Duration, error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for part := range rotators {
		group.Go(func() error {
			conn, err := d.admin.Connx(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			// The plan that the job's functions force, and its commits, which do not wait for the disk.
			if _, err := conn.ExecContext(ctx, `SET enable_hashjoin = off; SET enable_mergejoin = off; SET synchronous_commit = off`); err != nil {
				return err
			}
			end := (part + 1) * rows / rotators
			for from := part * rows / rotators; from < end; from += batchRows {
				if _, err := conn.ExecContext(ctx, `UPDATE cloakroom_data.user_logins u SET `+set+`
					  FROM public.bench_batches b
					 WHERE b.n > $1 AND b.n <= $2 AND u.sent = b.sent AND u.row_id = b.row_id AND u.create_date = $3`,
					from, min(from+batchRows, end), d.date); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return time.Since(began), err
}

// bareReseal updates the columns that reseal updates, to bytes of the same lengths under another data key, and back.
func (d *database) bareReseal(name string, rows int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		var key int
		if err := d.admin.GetContext(ctx, &key, `SELECT data_key FROM cloakroom_data.user_logins LIMIT 1`); err != nil {
			return sample{}, err
		}
		s := sample{rows: 2 * rows}
		for _, to := range []int{foreignKey, key} {
			set := []string{fmt.Sprintf(`data_key = %d`, to)}
			for _, m := range dataset.Login().Protected() {
				set = append(set,
					fmt.Sprintf(`%s = overlay(%[1]s placing int4send(%d) from 2 for 4)`, m.SealedColumn(), to))
			}
			wall, err := d.bareUpdate(ctx, rows, strings.Join(set, ", "))
			s.wall += wall
			if err := errors.Join(err, d.vacuum(ctx)); err != nil {
				return sample{}, err
			}
		}
		return s, nil
	}}
}

// bareBackfill fills two columns that nothing indexes, as reindex's backfill does.
func (d *database) bareBackfill(name string, rows int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		tokens, err := d.tokenColumns(ctx)
		if err != nil {
			return sample{}, err
		}
		var add, set, drop []string
		for i, column := range tokens {
			add = append(add, fmt.Sprintf(`ADD COLUMN bench_%d varchar(256)`, i))
			set = append(set, fmt.Sprintf(`bench_%d = %s`, i, column))
			drop = append(drop, fmt.Sprintf(`DROP COLUMN bench_%d`, i))
		}
		if _, err := d.admin.ExecContext(ctx, `ALTER TABLE cloakroom_data.user_logins `+strings.Join(add, ", ")); err != nil {
			return sample{}, err
		}
		wall, err := d.bareUpdate(ctx, rows, strings.Join(set, ", "))
		if err != nil {
			return sample{}, err
		}
		if _, err := d.admin.ExecContext(ctx, `ALTER TABLE cloakroom_data.user_logins `+strings.Join(drop, ", ")); err != nil {
			return sample{}, err
		}
		return sample{rows: rows, wall: wall}, d.vacuum(ctx)
	}}
}

// bareReindex updates the token columns where they are, with their indexes: each takes its neighbour's tokens, and
// back.
func (d *database) bareReindex(name string, rows int) contender {
	return contender{name, func(ctx context.Context) (sample, error) {
		tokens, err := d.tokenColumns(ctx)
		if err != nil {
			return sample{}, err
		}
		var there, back []string
		for i, column := range tokens {
			n := len(tokens)
			there = append(there, column+" = "+tokens[(i+1)%n])
			back = append(back, column+" = "+tokens[(i+n-1)%n])
		}
		s := sample{rows: 2 * rows}
		for _, set := range [][]string{there, back} {
			wall, err := d.bareUpdate(ctx, rows, strings.Join(set, ", "))
			s.wall += wall
			if err := errors.Join(err, d.vacuum(ctx)); err != nil {
				return sample{}, err
			}
		}
		return s, nil
	}}
}

// tokenColumns are the columns of the live index key's tokens.
func (d *database) tokenColumns(ctx context.Context) ([]string, error) {
	var version uint32
	if err := d.admin.GetContext(ctx, &version, `SELECT version FROM cloakroom.index_keys WHERE state = 'live'`); err != nil {
		return nil, err
	}
	var columns []string
	for _, m := range dataset.Login().Protected() {
		columns = append(columns, m.TokenColumn(version))
	}
	return columns, nil
}

// vacuum gives back the room of old row versions, as autovacuum would: every contender finds the table as the last did.
func (d *database) vacuum(ctx context.Context) error {
	_, err := d.admin.ExecContext(ctx, `VACUUM ANALYZE cloakroom_data.user_logins`)
	return err
}

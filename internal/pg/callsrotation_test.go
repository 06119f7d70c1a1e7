package pg_test

import (
	"time"

	"github.com/lib/pq"
)

// slice is a claimed slice of a pass.
type slice struct {
	Dataset   string    `db:"dataset"`
	Part      time.Time `db:"part"`
	Slice     int       `db:"slice"`
	AfterSent string    `db:"after_sent"`
	AfterID   string    `db:"after_id"`
	LastSent  string    `db:"last_sent"`
}

// row is one of a page.
type row struct {
	RowID      string        `db:"row_id"`
	Sent       string        `db:"sent"`
	CreateDate time.Time     `db:"create_date"`
	Subject    string        `db:"subject"`
	DataKey    int           `db:"data_key"`
	Sealed     pq.ByteaArray `db:"sealed"`
	Tokens     int           `db:"tokens"` // how many
}

// pass claims the slices of a pass one after the other. work returns how many rows it did.
func (v *twoDatasets) pass(run int64, name string, work func(slice) int) (total int) {
	v.t.Helper()
	v.do("rotator", `SELECT * FROM cloakroom.pass_progress($1, $2)`, run, name)
	v.do("rotator", `SELECT cloakroom.pass_rows($1, $2)`, run, name)
	for {
		var claimed []slice
		v.do("rotator", `BEGIN`)
		if err := v.sessions["rotator"].Select(&claimed, `
			SELECT dataset, part, slice, after_sent::text, after_id, last_sent::text FROM cloakroom.claim_slice($1, $2)`,
			run, name); err != nil {
			v.t.Fatal(err)
		}
		if len(claimed) == 0 {
			v.do("rotator", `COMMIT`)
			return total
		}
		s := claimed[0]
		n := work(s)
		total += n
		v.do("rotator", `SELECT cloakroom.advance_slice($1, $2, $3, $4, $5, $6, $7, true, $8)`,
			run, name, s.Dataset, s.Part, s.Slice, s.AfterSent, s.AfterID, n)
		v.do("rotator", `COMMIT`)
	}
}

func (v *twoDatasets) page(query string, args ...any) (rows []row) {
	v.t.Helper()
	if err := v.sessions["rotator"].Select(&rows, `SELECT row_id, sent::text, create_date, subject, data_key, sealed, cardinality(tokens) AS tokens FROM `+
		query, args...); err != nil {
		v.t.Fatalf("%s: %v", query, err)
	}
	return rows
}

func columnsOf(rows []row) (ids, sents pq.StringArray) {
	for _, r := range rows {
		ids, sents = append(ids, r.RowID), append(sents, r.Sent)
	}
	return ids, sents
}

// finished wants a step to leave nothing.
func (v *twoDatasets) finished(function string, run int64) {
	v.t.Helper()
	if left := get[int](v, "rotator", `SELECT cloakroom.`+function+`($1)`, run); left != 0 {
		v.t.Fatalf("%s: %d are left", function, left)
	}
}

func reseal(v *twoDatasets) {
	v.t.Helper()
	if closed := get[pq.Int32Array](v, "rotator", `SELECT cloakroom.close_data_keys(now())`); len(closed) != 2 {
		v.t.Fatalf("closed %v", closed)
	}
	fresh := map[string]int{}
	for _, d := range v.datasets {
		fresh[d.Name] = v.newKey("rotator", d)
	}
	epoch := get[int64](v, "rotator", `SELECT epoch FROM cloakroom.vault()`)
	run := get[int64](v, "rotator", `SELECT rotation FROM cloakroom.begin_reseal(now())`)
	work := func(s slice) int {
		rows := v.page(`cloakroom.reseal_page($1, $2, $3, $4, $5, $6, 10)`, run, s.Dataset, s.Part, s.AfterSent, s.AfterID, s.LastSent)
		if len(rows) == 0 {
			return 0
		}
		ids, sents := columnsOf(rows)
		var parts []byte
		var ends pq.Int64Array
		for member := range rows[0].Sealed {
			for _, r := range rows {
				parts = append(append(parts, r.Sealed[member][:17]...), sealed(fresh[s.Dataset])...)
				ends = append(ends, int64(len(parts)))
			}
		}
		return get[int](v, "rotator", `SELECT cloakroom.reseal_parts($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			epoch, s.Dataset, s.Part, ids, sents, ends, parts, fresh[s.Dataset], v.check)
	}
	if n := v.pass(run, "reseal", work); n != 4 {
		v.t.Errorf("%d rows were resealed, want 4", n)
	}
	v.do("rotator", `SELECT cloakroom.restart_pass($1, 'reseal')`, run)
	if n := v.pass(run, "reseal", work); n != 0 {
		v.t.Errorf("%d rows were resealed twice", n)
	}
	if n := v.pass(run, "rejections", func(s slice) int {
		var rejections []struct {
			ID      string `db:"message_id"`
			Sent    string `db:"sent"`
			Body    []byte `db:"sealed_body"`
			DataKey int    `db:"data_key"`
		}
		if err := v.sessions["rotator"].Select(&rejections, `SELECT message_id, sent::text, sealed_body, data_key FROM
			cloakroom.reseal_rejections_page($1, $2, $3, $4, $5, 10, 1000)`, run, s.Dataset, s.Part, s.AfterID, s.AfterSent); err != nil {
			v.t.Fatal(err)
		}
		done := 0
		for _, r := range rejections {
			done += get[int](v, "rotator", `SELECT cloakroom.reseal_rejections($1, $2, $3, $4, $5, $6, $7, $8, $9)`, epoch,
				s.Dataset, s.Part, pq.StringArray{r.ID}, pq.StringArray{r.Sent}, pq.ByteaArray{r.Body},
				pq.ByteaArray{sealed(fresh[s.Dataset])}, fresh[s.Dataset], v.check)
		}
		return done
	}); n != 2 {
		v.t.Errorf("%d rejections were resealed, want 2", n)
	}
	v.finished("finish_reseal", run)
	v.do("rotator", `SELECT * FROM cloakroom.retirable_data_keys()`)
	if retired := get[pq.Int32Array](v, "rotator", `SELECT retired FROM cloakroom.retire_data_keys()`); len(retired) != 2 {
		v.t.Errorf("retired %v", retired)
	}
	v.do("rotator", `SELECT cloakroom.shred_retired('35 days')`)
}

func reindex(v *twoDatasets) {
	v.t.Helper()
	v.do("rotator", `SELECT cloakroom.register_index_key(cloakroom.next_index_version(), 'kek', $1, $2)`,
		random(64), random(16))
	v.do("rotator", `SELECT * FROM cloakroom.pending_index_key()`)
	run := get[int64](v, "rotator", `SELECT cloakroom.begin_reindex()`)
	v.do("rotator", `SELECT * FROM cloakroom.reindex_state($1)`, run)
	v.do("rotator", `SELECT cloakroom.reindex_columns($1)`, run)
	v.do("rotator", `SELECT cloakroom.reindex_live($1)`, run)
	page := func(name string, s slice) []row {
		return v.page(`cloakroom.reindex_page($1, $2, $3, $4, $5, $6, $7, 10)`, run, name, s.Dataset, s.Part, s.AfterSent,
			s.AfterID, s.LastSent)
	}
	if n := v.pass(run, "backfill", func(s slice) int {
		rows := page("backfill", s)
		if len(rows) == 0 {
			return 0
		}
		ids, sents := columnsOf(rows)
		var tokens pq.StringArray
		for range rows[0].Tokens * len(rows) {
			tokens = append(tokens, "uuuuuuuuuuuuuuuuuuuuuu")
		}
		return get[int](v, "rotator", `SELECT cloakroom.index_rows($1, $2, $3, $4, $5, $6)`, run, s.Dataset, s.Part, ids, sents, tokens)
	}); n != 4 {
		v.t.Errorf("%d rows took tokens, want 4", n)
	}
	// A token of the old version finds the row by the new one, too.
	v.do("approver", `SELECT * FROM cloakroom.show_request($1)`, get[string](v, "auditor", `
		SELECT cloakroom.request('fraud', 'T', 'R', ARRAY[$2], $1, p_tokens => ARRAY[repeat('t', 22)])`,
		v.datasets[1].Name, v.datasets[1].Protected()[0].Name))
	v.finished("finish_backfill", run)
	v.do("rotator", `SELECT cloakroom.reindex_parent_indexes($1)`, run)
	v.do("rotator", `SELECT cloakroom.reindex_index($1, i.partition, i.col, true) FROM cloakroom.reindex_indexes_left($1) AS i`, run)
	v.finished("finish_indexes", run)
	if n := v.pass(run, "check", func(s slice) int { return len(page("check", s)) }); n != 4 {
		v.t.Errorf("%d rows were checked, want 4", n)
	}
	v.finished("finish_check", run)
	unproven := `SELECT count(*) FROM pg_constraint
		WHERE connamespace = 'cloakroom_data'::regnamespace AND contype = 'c' AND NOT convalidated`
	if n := get[int](v, "owner", unproven); n == 0 {
		v.t.Error("every CHECK is proven before the rows were looked at")
	}
	for get[int](v, "rotator", `SELECT cloakroom.reindex_validate($1)`, run) > 0 {
	}
	if n := get[int](v, "owner", unproven); n != 0 {
		v.t.Errorf("%d CHECKs are not proven", n)
	}
	// Autovacuum and the pools of other tests' sessions are not of this database, but one of ours may be at work.
	for range 100 {
		if len(get[pq.Int32Array](v, "rotator", `SELECT cloakroom.reindex_snapshots($1)`, run)) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, step := range []string{"reindex_swap", "reindex_old", "reindex_drop"} {
		v.do("rotator", `SELECT cloakroom.`+step+`($1)`, run)
	}
	if state := get[string](v, "rotator", `SELECT state FROM cloakroom.reindex_state($1)`, run); state != "done" {
		v.t.Errorf("the reindex is %s", state)
	}
}

func forget(v *twoDatasets) {
	v.t.Helper()
	id := get[string](v, "auditor", `SELECT cloakroom.request_forget($1, 'T', 'R')`, subject)
	for _, approver := range []string{"approver", "approver2"} {
		v.do(approver, `SELECT cloakroom.approve($1, (SELECT digest FROM cloakroom.show_request($1)))`, id)
	}
	if n := get[int](v, "rotator", `SELECT rows + rejections FROM cloakroom.forget_plan($1)`, id); n != 6 {
		v.t.Errorf("%d are to be forgotten, want 4 rows and 2 rejections", n)
	}
	v.do("rotator", `SELECT cloakroom.begin_forget($1)`, id)
	v.do("rotator", `SELECT cloakroom.forget_part($1, p.dataset, p.from_date) FROM cloakroom.partition_list() AS p`, id)
	v.do("rotator", `SELECT cloakroom.forget_part($1, NULL, NULL)`, id)
	var f struct {
		Left        int    `db:"left_over"`
		Certificate string `db:"certificate"`
		Code        string `db:"code"`
	}
	if err := v.sessions["rotator"].Get(&f, `SELECT * FROM cloakroom.finish_forget($1)`, id); err != nil || f.Left != 0 {
		v.t.Fatalf("%d are left, %v", f.Left, err)
	}
	v.do("rotator", `SELECT cloakroom.replay_forget($1, $2)`, f.Certificate, f.Code)
}

// shred ends a month that has not ended yet, whatever today is.
func shred(v *twoDatasets) {
	v.t.Helper()
	for _, d := range v.datasets {
		v.do("rotator", `SELECT * FROM cloakroom.shred_plan((date_trunc('month', now()) + interval '2 months')::date, $1)`, d.Name)
	}
	v.do("owner", `SELECT cloakroom.set_policy('shred_before', (date_trunc('month', now()) + interval '2 months')::date::text)`)
	run := get[int64](v, "rotator", `
		SELECT rotation FROM cloakroom.begin_shred((date_trunc('month', now()) + interval '2 months')::date)`)
	v.pass(run, "clear", func(s slice) int {
		return get[int](v, "rotator", `SELECT changed FROM cloakroom.clear_page($1, $2, $3, $4, $5, $6, 10)`,
			run, s.Dataset, s.Part, s.AfterSent, s.AfterID, s.LastSent)
	})
	v.do("rotator", `SELECT cloakroom.clear_rejections($1, 10)`, run)
	v.finished("finish_shred", run)
}

package pg_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloakroom/dataset"
)

// What is looked up by a request, by forget and by a load is found by an index, on each partition. Only a row id without
// a day reads everything.
func TestLookUpsUseIndexes(t *testing.T) {
	t.Parallel()
	v := newTwoDatasets(t)
	db := v.Open(t, "")
	db.SetMaxOpenConns(1)
	db.MustExec(`SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off`)
	today := v.now.Format(time.DateOnly)
	for _, d := range v.datasets {
		var partitions int
		if err := db.Get(&partitions, `SELECT count(*) FROM cloakroom.partitions($1)`, d.Name); err != nil || partitions < 4 {
			t.Fatalf("%s has %d partitions (%v)", d.Name, partitions, err)
		}
		for selector, c := range map[string]struct {
			request string // JSON
			by      string // what its index begins with
			scans   int
		}{
			"a person":              {`"by_subject": "` + subject + `"`, d.Subject, partitions},
			"a person's day":        {`"by_subject": "` + subject + `", "from_date": "` + today + `", "to_date": "` + today + `"`, d.Subject, 1},
			"a row of a day":        {`"by_row": "` + subject + `", "from_date": "` + today + `", "to_date": "` + today + `"`, "sent", 1},
			"a row of another time": {`"by_row": "` + subject + `"`, "", 0},
		} {
			var condition string
			if err := db.Get(&condition, `SELECT cloakroom.row_condition(jsonb_populate_record(NULL::cloakroom.requests, $1::jsonb))`,
				fmt.Sprintf(`{"dataset": %q, "fields": ["create_date"], %s}`, d.Name, c.request)); err != nil {
				t.Fatal(err)
			}
			var lines []string
			if err := db.Select(&lines, `EXPLAIN (COSTS OFF) SELECT row_id FROM cloakroom_data.`+d.Table+` u WHERE `+condition); err != nil {
				t.Fatal(err)
			}
			plan := strings.ReplaceAll(strings.Join(lines, "\n"), "Cond: ((", "Cond: (")
			if c.by == "" {
				continue // its plan is what it is, but its condition is one that runs
			}
			if strings.Contains(plan, "Seq Scan") || strings.Count(plan, "Index Cond: ("+c.by) < c.scans {
				t.Errorf("%s of %s, want %d scans of indexes that begin with %s:\n%s", selector, d.Name, c.scans, c.by, plan)
			}
		}
	}
}

// A load of rejections looks for their deliveries among the rows by an index, whatever the planner knows of the tables.
func TestLoadReadsNoTable(t *testing.T) {
	t.Parallel()
	v := newTwoDatasets(t)
	for _, d := range v.datasets {
		key := v.newKey("ingest", d)
		if err := v.load(d, key, func() {
			for range 20 {
				v.stageRow(d, key, v.now)
			}
		}); err != nil {
			t.Fatal(err)
		}
		var read struct{ Whole, Index int }
		if err := v.load(d, key, func() {
			for range 5 {
				v.stageRejection(d, key)
			}
			read = v.readsOf(d, key)
		}); err != nil {
			t.Fatal(err)
		}
		if read.Whole > 0 || read.Index == 0 {
			t.Errorf("%s: %d reads of whole partitions, %d of indexes", d.Name, read.Whole, read.Index)
		}
	}
}

// readsOf loads what is staged and counts how the dataset's partitions were read in this transaction.
func (v *twoDatasets) readsOf(d *dataset.Dataset, key int) (n struct{ Whole, Index int }) {
	v.t.Helper()
	v.do("ingest", `SELECT cloakroom.load((SELECT epoch FROM cloakroom.vault()), clock_timestamp(), $1, ARRAY[$2::integer],
		ARRAY[$3::bytea])`, d.Name, key, v.check)
	if err := v.sessions["ingest"].Get(&n, `SELECT sum(seq_scan) AS whole, sum(coalesce(idx_scan, 0)) AS index
		FROM pg_stat_xact_user_tables WHERE schemaname = 'cloakroom_data' AND starts_with(relname, $1)`, d.Table); err != nil {
		v.t.Fatal(err)
	}
	return n
}

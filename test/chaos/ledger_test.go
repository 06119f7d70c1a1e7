package chaos

import (
	"encoding/json"
	"os/exec"
	"time"

	"cloakroom/internal/pg/pgtest"
)

// settle waits until the queue is empty and closes the ledger: sent = stored + rejected, nothing twice, every row
// opens, nothing in the dead-letter queue, nothing in clear.
func (r *rig) settle(limit time.Duration) {
	r.Helper()
	r.eventually("the queue is empty", limit, func() bool {
		return r.drained() || r.sqs.Counts(deadName).Total() > 0
	})
	r.ledger()
}

func (r *rig) ledger() {
	r.Helper()
	if dead := r.sqs.Messages(deadName); len(dead) > 0 {
		r.Errorf("%d messages in the dead-letter queue, received %d times and more: none was at fault", len(dead),
			dead[0].Receives)
	}
	var found []struct {
		ID      string `db:"message_id"`
		Dataset string `db:"dataset"`
		Row     bool   `db:"is_row"`
		Times   int    `db:"times"`
	}
	if err := r.admin.Select(&found, `
		SELECT message_id, min(dataset) AS dataset, bool_or(is_row) AS is_row, count(*) AS times
		  FROM (SELECT row_id AS message_id, 'login' AS dataset, true AS is_row FROM cloakroom_data.user_logins
		        UNION ALL SELECT message_id, 'order', true FROM cloakroom_data.orders
		        UNION ALL SELECT message_id, dataset, false FROM cloakroom.rejections) AS everything
		 GROUP BY message_id`); err != nil {
		r.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rows, rejections, stored, orders := 0, 0, map[string]bool{}, map[string]bool{}
	for _, f := range found {
		e, sent := r.sent[f.ID]
		switch {
		case !sent:
			r.Errorf("message %s is stored and was never sent", f.ID)
		case f.Times != 1 || e.row != f.Row || e.dataset != f.Dataset:
			r.Errorf("message %s is stored %d times in %s, as a row: %v", f.ID, f.Times, f.Dataset, f.Row)
		case e.order != "" && orders[e.order]:
			r.Errorf("two rows are about order %s", e.order)
		case e.row:
			rows++
		default:
			rejections++
		}
		stored[f.ID], orders[e.order] = true, true
	}
	lost := 0
	for id, e := range r.sent {
		if !stored[id] && (e.order == "" || !orders[e.order]) {
			lost++
		}
	}
	if lost > 0 {
		r.Errorf("%d messages were sent and %d are stored: %d lost", len(r.sent), len(found), lost)
	}
	r.verify(rows, rejections)
	r.noClearText()
}

// verify opens everything, as keys verify --all does.
func (r *rig) verify(rows, rejections int) {
	r.Helper()
	out := r.mustRun("rotator", r.postgres.URL("rotator", "cloakroom"), "keys", "verify", "--all", "--json")
	var report struct {
		Opened           int `json:"opened"`
		RejectionsOpened int `json:"rejections_opened"`
		FailureCount     int `json:"failure_count"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		r.Fatal(err)
	}
	if report.Opened != rows || report.RejectionsOpened != rejections || report.FailureCount != 0 {
		r.Errorf("opened %+v, want %d rows and %d rejections: %s", report, rows, rejections, out)
	}
}

// noClearText looks for protected values in a dump of the database.
func (r *rig) noClearText() {
	r.Helper()
	if found := canaries.FindString(r.dump()); found != "" {
		r.Errorf("a protected value is in the database in clear: %s", found)
	}
}

// dump is the database as pg_dump writes it.
func (r *rig) dump() string {
	r.Helper()
	out, err := exec.Command(pgtest.Program(r, r.postgres, "pg_dump"),
		r.postgres.URL(r.postgres.SuperUser(), "cloakroom")).Output()
	if err != nil {
		r.Fatalf("pg_dump: %v", err)
	}
	return string(out)
}

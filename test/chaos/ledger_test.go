package chaos

import (
	"encoding/json"
	"os/exec"
	"strings"
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
		ID    string `db:"message_id"`
		Login bool   `db:"login"`
		Times int    `db:"times"`
	}
	if err := r.admin.Select(&found, `
		SELECT message_id, bool_or(login) AS login, count(*) AS times
		  FROM (SELECT row_id AS message_id, true AS login FROM cloakroom_data.user_logins
		        UNION ALL SELECT message_id, false FROM cloakroom.rejections) AS everything
		 GROUP BY message_id`); err != nil {
		r.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	logins, rejections := 0, 0
	for _, f := range found {
		login, sent := r.sent[f.ID]
		switch {
		case !sent:
			r.Errorf("message %s is stored and was never sent", f.ID)
		case f.Times != 1 || login != f.Login:
			r.Errorf("message %s is stored %d times, as a row: %v", f.ID, f.Times, f.Login)
		case login:
			logins++
		default:
			rejections++
		}
	}
	if len(found) != len(r.sent) {
		r.Errorf("%d messages were sent and %d are stored: %d lost", len(r.sent), len(found), len(r.sent)-len(found))
	}
	r.verify(logins, rejections)
	r.noClearText()
}

// verify opens everything, as keys verify --all does.
func (r *rig) verify(logins, rejections int) {
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
	if report.Opened != logins || report.RejectionsOpened != rejections || report.FailureCount != 0 {
		r.Errorf("opened %+v, want %d rows and %d rejections: %s", report, logins, rejections, out)
	}
}

// noClearText looks for protected values in a dump of the database.
func (r *rig) noClearText() {
	r.Helper()
	if text := r.dump(); strings.Contains(text, canary) || strings.Contains(text, "device-1") {
		r.Error("a protected value is in the database in clear")
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

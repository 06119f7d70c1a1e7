package recovercmd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"cloakroom/etl"
	"cloakroom/internal/cli"
	"cloakroom/internal/pg"
	recovery "cloakroom/recover"
)

func abuseSelfApproval(t *testing.T) {
	c := newFixture(t)
	id := c.request(t, params(nil))
	shown, err := c.alice.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	// She becomes an approver, and is no auditor any more: still the requester.
	alice := pq.QuoteIdentifier(c.Role("alice"))
	c.admin.MustExec(`GRANT cloakroom_approver TO ` + alice + `; REVOKE cloakroom_auditor FROM ` + alice)
	_, err = c.alice.Approve(t.Context(), shown)
	wantExit(t, err, cli.ExitNotYours)
	wantExit(t, c.alice.Deny(t.Context(), id, "no"), cli.ExitNotYours)
	// Another role is not another person.
	tx := c.alice.Vault.DB.MustBegin()
	tx.MustExec(`SET LOCAL ROLE cloakroom_approver`)
	_, err = tx.Exec(`SELECT cloakroom.approve($1, $2)`, id, []byte(shown.Digest))
	wantCode(t, err, pg.NotApproved)
	_ = tx.Rollback()
	c.admin.MustExec(`REVOKE cloakroom_approver FROM ` + alice + `; GRANT cloakroom_auditor TO ` + alice)
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	if types := strings.Join(c.leaves(t), " "); types != "request refused refused refused" {
		t.Errorf("leaves are %s: refused attempts are logged", types)
	}
}

func abuseExpired(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(func(a *recovery.RequestParams) { a.Lifetime = 500 * time.Millisecond }))
	late := c.request(t, params(func(a *recovery.RequestParams) { a.Lifetime = 500 * time.Millisecond }))
	shown, err := c.bob.Show(t.Context(), late)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond)
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	_, err = c.bob.Approve(t.Context(), shown)
	wantExit(t, err, cli.ExitNotYours)
	if err := c.bob.ExpireOverdue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := c.count(t, `SELECT count(*) FROM cloakroom.requests WHERE state = 'expired'`); n != 2 {
		t.Errorf("%d requests are marked expired, want 2", n)
	}
}

func abuseReused(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(nil))
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	for _, step := range []string{begin, confirm, handOut} {
		n, err := do(c.Pool(t, c.aliceURL), step, id)
		wantCode(t, err, pg.NotApproved)
		if n != 0 {
			t.Errorf("%s: %d", step, n)
		}
	}
}

func abuseAltered(t *testing.T) {
	c := newFixture(t)
	for column, value := range map[string]string{
		"fields": `'{ip,device_id,locale}'`, "by_subject": `'user-2'`, "row_limit": `row_limit + 1`, "expires_at": `expires_at + interval '1 day'`,
		"purpose": `'legal'`, "ticket": `'T-2'`, "from_date": `'2020-01-01'`, "reason": `'another reason'`, "breakglass": `true`,
	} {
		id := c.approved(t, params(nil))
		c.admin.MustExec(`UPDATE cloakroom.requests SET `+column+` = `+value+` WHERE id = $1`, id)
		_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
		if err == nil || cli.ExitCode(err) != cli.ExitNotYours {
			t.Errorf("%s altered: %v", column, err)
		}
		if n := c.intents(t, id); n != 0 {
			t.Errorf("%s altered: an intent", column)
		}
	}
	// A state that nobody's approval stands behind, and an approval of the requester's own.
	id := c.request(t, params(nil))
	c.admin.MustExec(`UPDATE cloakroom.requests SET state = 'approved' WHERE id = $1`, id)
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	c.admin.MustExec(`INSERT INTO cloakroom.approvals (request, approver, approved, digest, at)
		SELECT id, requester, true, cloakroom.request_digest(r), now() FROM cloakroom.requests r WHERE id = $1`, id)
	_, err = c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	// Altered between showing and approving.
	id = c.request(t, params(nil))
	shown, err := c.bob.Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c.admin.MustExec(`UPDATE cloakroom.requests SET by_subject = 'user-2' WHERE id = $1`, id)
	_, err = c.bob.Approve(t.Context(), shown)
	wantExit(t, err, cli.ExitNotYours)
}

// plantFuture makes the newest leaf two hours younger than the clock says: so the log looks once a
// clock was set back.
func (c *fixture) plantFuture(t testing.TB) {
	t.Helper()
	c.admin.MustExec(`SELECT cloakroom.append_leaf('key.test')`)
	c.admin.MustExec(`ALTER TABLE cloakroom.audit_leaves DISABLE TRIGGER append_only`)
	c.admin.MustExec(`UPDATE cloakroom.audit_leaves SET leaf = convert_to(regexp_replace(convert_from(leaf, 'UTF8'), '"ts":"[^"]*"',
		'"ts":"' || cloakroom.audit_time(now() + interval '2 hours') || '"'), 'UTF8') WHERE seq = (SELECT max(seq) FROM cloakroom.audit_leaves)`)
	c.admin.MustExec(`ALTER TABLE cloakroom.audit_leaves ENABLE TRIGGER append_only`)
}

func abuseClock(t *testing.T) {
	c := newFixture(t)
	id := c.approved(t, params(func(a *recovery.RequestParams) { a.Lifetime = time.Hour }))
	c.plantFuture(t)
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)
	r, err := c.bob.MakeReport(t.Context(), today, today.AddDate(0, 0, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.ClockBack) == 0 {
		t.Error("the report does not say that the clock went back")
	}
}

func abuseRowLimit(t *testing.T) {
	c := newFixture(t)
	tight := func(a *recovery.RequestParams) { a.Limit = 2 }
	// More rows come after the approval.
	id := c.approved(t, params(tight))
	ingest(t, c.Env, login("user-1", "192.0.2.3", "device-3"))
	_, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	wantExit(t, err, cli.ExitNotYours)

	// They come after the intent: what was frozen is handed out, and no row more.
	id = c.approved(t, params(func(a *recovery.RequestParams) { a.Limit = 3 }))
	db := c.Pool(t, c.aliceURL)
	if n, err := do(db, begin, id); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	var more []*etl.Message
	for n := range 5 {
		more = append(more, login("user-1", fmt.Sprintf("192.0.2.%d", 10+n), "device-3"))
	}
	ingest(t, c.Env, more...)
	opened, err := c.alice.Open(t.Context(), id, recovery.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if opened.Rows != 3 {
		t.Errorf("%d rows opened, want the 3 frozen", opened.Rows)
	}
}

func abuseQuota(t *testing.T) {
	c := newFixture(t)
	c.orders(t)
	ingest(t, c.Env, fullOrder(), emptyOrder())
	c.admin.MustExec(`UPDATE cloakroom.settings SET daily_quota = 5`)
	var ids []uuid.UUID
	for range 3 { // 2 rows each; one quota for all datasets
		ids = append(ids, c.approved(t, params(func(a *recovery.RequestParams) { a.Dataset = "login" })), c.approved(t, ofOrders(nil)))
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	rows := int64(0)
	for _, id := range ids {
		client := c.client(t, c.aliceURL)
		group.Go(func() {
			opened, err := client.Open(context.Background(), id, recovery.OpenOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				wantExit(t, err, cli.ExitNotYours)
				return
			}
			rows += opened.Rows
			opened.Close()
		})
	}
	group.Wait()
	if rows != 4 {
		t.Errorf("%d rows opened in a race under a quota of 5, want 4", rows)
	}
}

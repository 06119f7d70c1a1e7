package chaos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver
	"github.com/rs/zerolog"

	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/kmsserver"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/internal/sandbox/s3server"
	"cloakroom/internal/sandbox/sqsserver"
)

const (
	queueName  = "logins"
	deadName   = "dead"
	password   = "sandbox"
	maxReceive = 20 // of the redrive policy
)

// rig is a world of its own: servers, proxies before them, and a list of what was sent.
type rig struct {
	*testing.T
	postgres *pgserver.Server
	sqs      *sqsserver.Server
	kms      *kmsserver.Server
	s3       *s3server.Server
	admin    *sqlx.DB // superuser, past the proxy

	toPostgres, toSQS, toKMS *toxiproxy.Proxy
	// The proxies' addresses, read once: starting a proxy again writes its own, unguarded.
	postgresAt, sqsAt, kmsAt string

	mu   sync.Mutex
	sent map[string]event // by message id
}

func newRig(t *testing.T, settings map[string]string) *rig {
	t.Helper()
	r := &rig{T: t, sent: map[string]event{}}
	r.postgres = pgtest.Server(t, pgserver.Config{TCP: true, Settings: settings})
	policies := kmsserver.Roles()
	policies["admin"] = kmsserver.Administrator()
	r.kms = kmsserver.New(kmsserver.Config{Policies: policies})
	r.sqs = sqsserver.New(sqsserver.Config{CallLog: 100_000})
	r.s3 = s3server.New(s3server.Config{Policies: s3server.Roles()})
	for _, start := range []func() error{r.kms.Start, r.sqs.Start, r.s3.Start} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		r.kms.Close()
		r.sqs.Close()
		r.s3.Close()
	})
	r.createQueues()

	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	r.toPostgres = r.proxy(proxies, "postgres", fmt.Sprintf("127.0.0.1:%d", r.postgres.Port()))
	r.toSQS = r.proxy(proxies, "sqs", r.sqs.URL()[len("http://"):])
	r.toKMS = r.proxy(proxies, "kms", r.kms.URL()[len("http://"):])
	r.postgresAt, r.sqsAt, r.kmsAt = r.toPostgres.Listen, r.toSQS.Listen, r.toKMS.Listen
	r.createVault()
	return r
}

func (r *rig) createQueues() {
	r.Helper()
	if _, err := r.sqs.CreateQueue(deadName, nil); err != nil {
		r.Fatal(err)
	}
	redrive := fmt.Sprintf(`{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:%s","maxReceiveCount":%d}`,
		deadName, maxReceive)
	if _, err := r.sqs.CreateQueue(queueName, map[string]string{"RedrivePolicy": redrive}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) proxy(server *toxiproxy.ApiServer, name, upstream string) *toxiproxy.Proxy {
	r.Helper()
	p := toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(p.Stop)
	return p
}

func (r *rig) createVault() {
	r.Helper()
	super := r.postgres.SuperUser()
	root, err := sqlx.Connect("postgres", r.postgres.URL(super, "postgres"))
	if err != nil {
		r.Fatal(err)
	}
	root.MustExec(`CREATE DATABASE cloakroom`)
	root.Close()
	r.admin = r.connect()
	r.mustRun("init", r.postgres.URL(super, "cloakroom"), "keys", "init")
	r.mustRun("init", r.postgres.URL(super, "cloakroom"), "keys", "dataset", "apply", "../../dataset/testdata/order.yaml")
	for login, role := range map[string]string{"ingest": "ingest", "rotator": "rotator"} {
		r.admin.MustExec(
			fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'; GRANT cloakroom_%s TO %[1]s`, login, password, role))
	}
}

func (r *rig) connect() *sqlx.DB {
	r.Helper()
	db, err := sqlx.Connect("postgres", r.postgres.URL(r.postgres.SuperUser(), "cloakroom"))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { db.Close() })
	return db
}

// databaseURL is where ingest finds the database: behind the proxy.
func (r *rig) databaseURL() string {
	return fmt.Sprintf("postgres://ingest:%s@%s/cloakroom?sslmode=disable", password, r.postgresAt)
}

// send puts messages on the queue, of two datasets: logins, and orders, which have an id and a time of their own.
func (r *rig) send(n int) {
	r.Helper()
	messages := make([]sqsserver.Message, n)
	r.mu.Lock()
	for i := range messages {
		id, e := uuid.NewString(), newEvent(len(r.sent))
		r.sent[id] = e
		messages[i] = sqsserver.Message{ID: id, Body: e.body}
	}
	r.mu.Unlock()
	if err := r.sqs.Put(queueName, messages...); err != nil {
		r.Error(err)
	}
}

// feed sends messages at about this many a second until the result is called.
func (r *rig) feed(perSecond int) (stop func()) {
	const ticks = 20
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Second / ticks)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.send(1 + perSecond/ticks)
			case <-ended:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(ended)
		<-done
	})
}

// eventually waits until a condition holds.
func (r *rig) eventually(what string, limit time.Duration, holds func() bool) {
	r.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("waited %v in vain until %s: queue %+v", limit, what, r.sqs.Counts(queueName))
		}
	}
}

func (r *rig) drained() bool { return r.sqs.Counts(queueName).Total() == 0 }

// stored is how many messages are rows or rejections. It fails where the database is away.
func (r *rig) stored() int {
	r.Helper()
	var n int
	if err := r.admin.Get(&n, `SELECT (SELECT count(*) FROM cloakroom_data.user_logins)
		+ (SELECT count(*) FROM cloakroom_data.orders) + (SELECT count(*) FROM cloakroom.rejections)`); err != nil {
		r.Fatal(err)
	}
	return n
}

// between is a random duration.
func between(random *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(random.Int64N(int64(high-low)))
}

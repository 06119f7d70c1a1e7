package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"

	"cloakroom/internal/sandbox/awswire"
	"cloakroom/internal/sandbox/sqsserver"
)

// damageProcesses does one thing to a daemon or to Postgres, and returns how many it killed.
func (r *rig) damageProcesses(random *rand.Rand, daemons []*supervised) (kills int) {
	p := daemons[random.IntN(len(daemons))].process()
	span := between(random, 50*time.Millisecond, 1500*time.Millisecond)
	switch random.IntN(10) {
	case 0, 1, 2, 3, 4:
		p.signal(syscall.SIGKILL)
		return 1
	case 5:
		p.signal(syscall.SIGTERM)
	case 6: // for longer than its messages are invisible, now and then
		p.signal(syscall.SIGSTOP)
		time.Sleep(span * time.Duration(1+2*random.IntN(2)))
		p.signal(syscall.SIGCONT)
	case 7, 8:
		r.must(r.postgres.Kill())
		time.Sleep(span / 3)
		r.restart()
		return 1
	case 9:
		r.must(r.postgres.Pause())
		time.Sleep(span)
		r.must(r.postgres.Continue())
	}
	return 0
}

// toxics are ways to damage a connection, as toxiproxy knows them; times are in milliseconds.
var toxics = []string{
	`{"type":"latency","stream":"downstream","attributes":{"latency":150,"jitter":100}}`,
	`{"type":"latency","stream":"upstream","attributes":{"latency":150,"jitter":100}}`,
	`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":20}}`,
	`{"type":"reset_peer","stream":"upstream","attributes":{"timeout":20}}`,
	`{"type":"timeout","stream":"downstream","attributes":{"timeout":700}}`,
	`{"type":"timeout","stream":"upstream","attributes":{"timeout":700}}`,
	`{"type":"bandwidth","stream":"downstream","attributes":{"rate":40}}`,
	`{"type":"bandwidth","stream":"upstream","attributes":{"rate":40}}`,
	`{"type":"limit_data","stream":"downstream","attributes":{"bytes":3000}}`,
	`{"type":"limit_data","stream":"upstream","attributes":{"bytes":3000}}`,
}

// damageConnections does one thing after another to the connections, and to what SQS answers, until the result is
// called, which says how many.
func (r *rig) damageConnections(random *rand.Rand) (stop func() int) {
	ended, done := make(chan struct{}), make(chan struct{})
	faults := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(between(random, 50*time.Millisecond, 500*time.Millisecond)):
			}
			r.damageConnection(random)
			faults++
		}
	}()
	return sync.OnceValue(func() int {
		close(ended)
		<-done
		return faults
	})
}

func (r *rig) damageConnection(random *rand.Rand) {
	proxy := []*toxiproxy.Proxy{r.toPostgres, r.toSQS, r.toKMS}[random.IntN(3)]
	lasts := between(random, 100*time.Millisecond, 1200*time.Millisecond)
	switch n := random.IntN(len(toxics) + 4); n {
	case len(toxics):
		proxy.Stop()
		time.Sleep(lasts)
		if err := proxy.Start(); err != nil {
			r.Errorf("starting the proxy again: %v", err)
		}
	case len(toxics) + 1:
		r.sqs.DeliverTwice(queueName, 20)
		r.sqs.CorruptMD5(queueName, 2)
	case len(toxics) + 2:
		cancel := r.sqs.Inject(awswire.Fault{Fraction: 0.3, Drop: true, After: true})
		time.Sleep(lasts)
		cancel()
	case len(toxics) + 3:
		r.sqs.FailEntries("DeleteMessageBatch", 5, sqsserver.ErrInternalFailure, 0, 3)
		r.sqs.FailEntries("ChangeMessageVisibilityBatch", 5, sqsserver.ErrInternalFailure, 1, 2)
	default:
		toxic := strings.Replace(toxics[n], "{",
			fmt.Sprintf(`{"name":"toxic","toxicity":%.1f,`, 0.5+random.Float64()/2), 1)
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			r.Errorf("adding %s: %v", toxic, err)
			return
		}
		time.Sleep(lasts)
		if err := proxy.Toxics.RemoveToxic(context.Background(), "toxic"); err != nil {
			r.Errorf("removing %s: %v", toxic, err)
		}
	}
}

package blackbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"cloakroom/test/long"
)

// chaosSeed is CLOAKROOM_CHAOS_SEED, or another each time. It is printed, so that a failure can be repeated.
func chaosSeed(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("CLOAKROOM_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOAKROOM_CHAOS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// writeEvents writes JSON Lines, every fourth of them an order, every fiftieth not to be stored, and says how many are
// what.
func writeEvents(t *testing.T, events int) (path string, logins, orders, bad int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "events.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	began := time.Now().UTC()
	for n := range events {
		switch {
		case n%100 == 99:
			fmt.Fprintf(w, `{"kind":"order","order_id":"o-%d"}`+"\n", n)
			bad++
			continue
		case n%50 == 49:
			fmt.Fprintf(w, `{"kind":"login","user_id":"u%d","ip":"no address","device_id":"d"}`+"\n", n)
			bad++
			continue
		case n%4 == 3: // of three days, each a partition
			fmt.Fprintf(w, `{"kind":"order","order_id":"o-%d","customer":{"id":"00000000-0000-4000-8000-%012d","email":"c%d@shop.example"},`+
				`"placed_at":%q,"items":1,"payment":{"card.number":"4111 1111 1111 %04d"}}`+"\n", n, n%1000, n,
				began.Add(-time.Duration(n%3)*24*time.Hour).Format(time.RFC3339), n%10000)
			orders++
			continue
		}
		fmt.Fprintf(w, `{"kind":"login","user_id":"u%d","ip":"10.%d.%d.%d","device_id":"device-%d","app_version":"1.%d"}`+"\n", n,
			n>>16&255, n>>8&255, n&255, n, n%1000)
		logins++
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, logins, orders, bad
}

// ingest is killed again and again in the middle of a file. Run to the end after that, each event is one row or one
// rejection, none twice, and all of them open.
func TestChaosKillFileIngest(t *testing.T) {
	random := chaosSeed(t)
	events, kills := 20_000, 8
	if long.Asked() {
		events, kills = 200_000, 100
	}
	s := newSite(t, nil)
	file, logins, orders, bad := writeEvents(t, events)
	good := logins + orders
	const ledger = `SELECT (SELECT count(*) FROM cloakroom_data.user_logins) + (SELECT count(*) FROM cloakroom_data.orders)
		+ (SELECT count(*) FROM cloakroom.rejections)`
	from := []string{"--from", file, "--dataset", "login", "--route", "member:kind"}
	within := 0 // kills that met a run with some, not all, of its work done
	for killed := 0; killed < kills; {
		before := s.count(ledger)
		if killed%2 == 1 || before == events {
			// It has outrun us, or begins with what is stored for longer than it lives. Half of it away, here and
			// there, is what killed runs leave.
			s.admin.MustExec(
				`DELETE FROM cloakroom_data.user_logins WHERE row_id < '80000000-0000-0000-0000-000000000000'`)
			s.admin.MustExec(`DELETE FROM cloakroom_data.orders WHERE row_id < '80000000-0000-0000-0000-000000000000'`)
			before = s.count(ledger)
		}
		cmd := s.command("ingest", "ingest", append(from, "--batch-rows", "250")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+random.IntN(380)) * time.Millisecond)
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			continue // it had ended
		}
		killed++
		if after := s.count(ledger); after > before && after < events {
			within++
		}
	}
	t.Logf("%d kills, %d of them with work half done", kills, within)
	if within == 0 {
		t.Error("no kill met a run at work: this test proves nothing")
	}

	var summary struct {
		Received, Stored, Duplicates, Rejected, Abandoned int
	}
	if err := json.Unmarshal([]byte(s.must("ingest", "ingest", append(from, "--json")...)), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Received != events || summary.Abandoned != 0 ||
		summary.Stored+summary.Duplicates+summary.Rejected != events {
		t.Errorf("the last run: %+v", summary)
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM cloakroom_data.user_logins`:                                       logins,
		`SELECT count(DISTINCT user_id) FROM cloakroom_data.user_logins`:                        logins,
		`SELECT count(*) FROM cloakroom_data.orders`:                                            orders,
		`SELECT count(DISTINCT order_id) FROM cloakroom_data.orders`:                            orders,
		`SELECT count(*) FROM cloakroom.rejections WHERE reason IN ('bad_ip', 'missing_field')`: bad,
	} {
		if n := s.count(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	var verified struct {
		Rows, Opened, Rejections int
		RejectionsOpened         int `json:"rejections_opened"`
		FailureCount             int `json:"failure_count"`
	}
	if err := json.Unmarshal([]byte(s.must("rotator", "keys", "verify", "--all", "--json")), &verified); err != nil {
		t.Fatal(err)
	}
	if verified.Opened != good || verified.RejectionsOpened != bad || verified.FailureCount != 0 {
		t.Errorf("%+v, want %d rows and %d rejections opened", verified, good, bad)
	}
}

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

// writeEvents writes JSON Lines of which every fiftieth is no login, and says how many are.
func writeEvents(t *testing.T, events int) (path string, good, bad int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "events.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for n := range events {
		if n%50 == 49 {
			fmt.Fprintf(w, `{"user_id":"u%d","ip":"no address","device_id":"d"}`+"\n", n)
			bad++
			continue
		}
		fmt.Fprintf(w, `{"user_id":"u%d","ip":"10.%d.%d.%d","device_id":"device-%d","app_version":"1.%d"}`+"\n", n,
			n>>16&255, n>>8&255, n&255, n, n%1000)
		good++
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, good, bad
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
	file, good, bad := writeEvents(t, events)
	const ledger = `SELECT (SELECT count(*) FROM cloakroom_data.user_logins) + (SELECT count(*) FROM cloakroom.rejections)`
	within := 0 // kills that met a run with some, not all, of its work done
	for killed := 0; killed < kills; {
		before := s.count(ledger)
		if killed%2 == 1 || before == events {
			// It has outrun us, or begins with what is stored for longer than it lives. Half of it away, here and
			// there, is what killed runs leave.
			s.admin.MustExec(
				`DELETE FROM cloakroom_data.user_logins WHERE row_id < '80000000-0000-0000-0000-000000000000'`)
			before = s.count(ledger)
		}
		cmd := s.command("ingest", "ingest", "--from", file, "--batch-rows", "250")
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
	if err := json.Unmarshal([]byte(s.must("ingest", "ingest", "--from", file, "--json")), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Received != events || summary.Abandoned != 0 ||
		summary.Stored+summary.Duplicates+summary.Rejected != events {
		t.Errorf("the last run: %+v", summary)
	}
	if rows, rejections := s.count(`SELECT count(*) FROM cloakroom_data.user_logins`), s.count(`SELECT count(*) FROM cloakroom.rejections WHERE reason = 'bad_ip'`); rows != good ||
		rejections != bad {
		t.Errorf("%d rows and %d rejections, want %d and %d", rows, rejections, good, bad)
	}
	if n := s.count(`SELECT count(DISTINCT user_id) FROM cloakroom_data.user_logins`); n != good {
		t.Errorf("%d distinct events among the rows, want %d", n, good)
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

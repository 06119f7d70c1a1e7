package etl_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"pgregory.net/rapid"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/dataset/datasettest"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
	"cloakroom/test/long"
)

// sealedCanary is in protected values alone.
const sealedCanary = "cnry4711"

// Whatever a valid dataset is and whatever its events are, each event is one row or one rejection; what was accepted opens
// to what was sent, as do rejections; every token is right; and no table holds a protected value.
func TestRandomDatasets(t *testing.T) {
	t.Parallel()
	many, events := 10, 60
	if long.Asked() {
		many = 150
	}
	seed := rand.IntN(1 << 30)
	t.Logf("seed %d", seed)
	definitions := rapid.Custom(datasettest.Definition)
	env := keystest.New(t)
	super := env.Open(t, "")
	ingest := env.Vault(t, env.As(t, "ingest", "ingest"))
	total := &randomRun{t: t, opener: env.Vault(t, env.As(t, "rotator", "rotator")), super: super, sealed: map[dataset.Type]int{}}
	for i := range many {
		d := parseRandom(t, definitions.Example(seed+i), i)
		if _, err := keys.ApplyDataset(t.Context(), env.URL(""), d); err != nil {
			t.Fatalf("%s: %v", d.Canonical(), err)
		}
		w, err := etl.NewWriter(t.Context(), ingest, []string{d.Name}, keys.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		bodies := rapid.Custom(func(t *rapid.T) []byte {
			return datasettest.Event(t, d, datasettest.Plausible(sealedCanary))
		})
		var messages []*etl.Message
		for n := range events {
			m := etltest.Message(n, string(bodies.Example(seed+n)))
			m.ID = uuid.New()
			messages = append(messages, m)
		}
		s := etltest.Run(t, w, etltest.NewSource(etltest.Parts(messages, 25)...), etl.Options{MaxOutage: 5 * time.Second})
		total.compare(d, messages, s)
	}
	total.noClearText()
	total.verify()
	// And so it is after both were made again, whatever the tables' shapes.
	quiet := rotation.Options{Force: true, Log: slog.New(slog.DiscardHandler), Rest: -1}
	if r, err := rotation.Rotate(t.Context(), total.opener, quiet); err != nil || r.Resealed == 0 {
		t.Errorf("reseal: %+v (%v)", r, err)
	}
	if r, err := rotation.Reindex(t.Context(), total.opener, quiet); err != nil || r.Reindexed.Rows == 0 {
		t.Errorf("reindex: %+v (%v)", r, err)
	}
	total.noClearText()
	total.verify()
	t.Logf("%d rows, %d rejections, sealed %v", total.rows, total.rejections, total.sealed)
	if total.rows < many || total.rejections < many || len(total.sealed) < 5 || total.canaries == 0 {
		t.Error("too little was stored, rejected or sealed: this test proves little")
	}
}

// verify opens everything and makes every token again.
func (r *randomRun) verify() {
	r.t.Helper()
	report, err := verify.Run(r.t.Context(), r.opener, verify.Options{All: true})
	if err != nil || report.FailureCount > 0 || report.Rows != r.rows || report.RejectionsOpened != r.rejections {
		r.t.Errorf("verify: %+v, want %d rows and %d rejections (%v)", report, r.rows, r.rejections, err)
	}
}

// parseRandom gives a definition a name and a table of its own.
func parseRandom(t *testing.T, text string, i int) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	d.Name, d.Table = fmt.Sprintf("random%d", i), fmt.Sprintf("randoms%d", i)
	if d, err = dataset.ParseCanonical(d.Canonical()); err != nil {
		t.Fatal(err)
	}
	return d
}

// randomRun adds up what the datasets of a run store.
type randomRun struct {
	t                          *testing.T
	opener                     *keys.Vault
	super                      *sqlx.DB
	rows, rejections, canaries int
	sealed                     map[dataset.Type]int // values that were opened
}

// compare holds what is stored of a dataset to what was sent.
func (r *randomRun) compare(d *dataset.Dataset, messages []*etl.Message, s etl.Summary) {
	t := r.t
	t.Helper()
	settings, err := r.opener.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ring := keys.NewKeyring(r.opener, settings, nil)
	defer ring.Close()
	decoder := dataset.NewDecoder(d)
	rows, bodies := r.stored(d), r.bodies(d)
	there := map[rowKey]bool{} // keys that an earlier event had
	stored, rejected := 0, 0
	for _, m := range messages {
		e, rejection := decoder.Decode(m.Body)
		if sealed, ok := bodies[m.ID]; ok {
			// Reading an event is not all that may reject it: a value may have no token, or a day be too far away.
			rejected++
			place := keys.RejectionPlace(settings.ID, d.Name, m.ID)
			if text := r.open(ring, sealed, &place, dataset.BodyPad); !bytes.Equal(text, m.Body) {
				t.Fatalf("a rejection opens to %q, sent was %q", text, m.Body)
			}
			continue
		}
		id := rowKey{m.ID, m.Sent.UnixMicro()}
		if d.ID != "" {
			id.id = e.Row
		}
		if d.Time != "" {
			id.sent = e.Time.UnixMicro() // one id with two times is two rows
		}
		if rejection.Reason != "" {
			t.Fatalf("%s: %s is to be rejected for %s, and is no rejection", d.Canonical(), m.Body, rejection.Reason)
		}
		row, ok := rows[id]
		switch {
		case !ok:
			t.Fatalf("%s: %s is neither a row nor a rejection", d.Canonical(), m.Body)
		case there[id]:
			continue
		}
		there[id] = true
		stored++
		r.compareRow(ring, settings.ID, d, e, id.id, row)
	}
	if stored != len(rows) || rejected != len(bodies) || int64(stored) != s.Stored || int64(rejected) != s.Rejected {
		t.Fatalf("%s: of %d rows %d were sent, of %d rejections %d: %+v", d.Canonical(), len(rows), stored, len(bodies), rejected, s)
	}
	r.rows += stored
	r.rejections += rejected
}

func (r *randomRun) compareRow(
	ring *keys.Keyring, vault uuid.UUID, d *dataset.Dataset, e *dataset.Event, id uuid.UUID, row map[string]any,
) {
	r.t.Helper()
	at := keys.Row{ID: id, Date: row["create_date"].(time.Time), Subject: string(e.Subject)}
	for i := range d.Members {
		m, v := &d.Members[i], &e.Values[i]
		if m.Protect == nil {
			if v.Null != (row[m.Name] == nil) && m.Type != dataset.Version {
				r.t.Fatalf("%s is %v, sent %+v", m.Name, row[m.Name], v)
			}
			continue
		}
		sealed, _ := row[m.SealedColumn()].([]byte)
		if (sealed == nil) != v.Null {
			r.t.Fatalf("%s is sealed: %v; sent: %v", m.Name, sealed != nil, !v.Null)
		}
		if sealed == nil {
			continue
		}
		place := at.Place(vault, d, m.Name)
		if text := r.open(ring, sealed, &place, m.Protect.Pad); !bytes.Equal(text, v.Text) {
			r.t.Fatalf("%s opens to %q, sent was %q", m.Name, text, v.Text)
		}
		r.sealed[m.Type]++
		if bytes.Contains(v.Text, []byte(sealedCanary)) {
			r.canaries++
		}
	}
}

// rowKey tells one row of a dataset from another.
type rowKey struct {
	id   uuid.UUID
	sent int64 // microseconds
}

func (r *randomRun) stored(d *dataset.Dataset) map[rowKey]map[string]any {
	r.t.Helper()
	found, err := r.super.Queryx(`SELECT row_id::text AS row_id_text, * FROM cloakroom_data.` + d.Table)
	if err != nil {
		r.t.Fatal(err)
	}
	defer found.Close()
	out := map[rowKey]map[string]any{}
	for found.Next() {
		row := map[string]any{}
		if err := found.MapScan(row); err != nil {
			r.t.Fatal(err)
		}
		id := uuid.MustParse(fmt.Sprintf("%s", row["row_id_text"]))
		out[rowKey{id, row["sent"].(time.Time).UnixMicro()}] = row
	}
	if err := found.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *randomRun) bodies(d *dataset.Dataset) map[uuid.UUID][]byte {
	r.t.Helper()
	var found []struct {
		ID   uuid.UUID `db:"message_id"`
		Body []byte    `db:"sealed_body"`
	}
	if err := r.super.Select(&found, `SELECT message_id, sealed_body FROM cloakroom.rejections WHERE dataset = $1`, d.Name); err != nil {
		r.t.Fatal(err)
	}
	out := map[uuid.UUID][]byte{}
	for _, f := range found {
		out[f.ID] = f.Body
	}
	return out
}

func (r *randomRun) open(ring *keys.Keyring, sealed []byte, place *envelope.Place, pad int) []byte {
	r.t.Helper()
	key, err := ring.Key(r.t.Context(), binary.BigEndian.Uint32(sealed[1:])) // behind the version: docs/format.md
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := key.Open(nil, nil, place, pad, sealed)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// noClearText looks for the canary in every table, as text and as a bytea shows it.
func (r *randomRun) noClearText() {
	r.t.Helper()
	var tables []string
	if err := r.super.Select(&tables, `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname IN ('cloakroom', 'cloakroom_data') ORDER BY 1`); err != nil {
		r.t.Fatal(err)
	}
	for _, table := range tables {
		var texts []string
		if err := r.super.Select(&texts, `SELECT whole_row::text FROM `+table+` AS whole_row`); err != nil {
			r.t.Fatal(err)
		}
		all := strings.Join(texts, "\n")
		for _, needle := range []string{sealedCanary, hex.EncodeToString([]byte(sealedCanary))} {
			if at := strings.Index(strings.ToLower(all), needle); at >= 0 {
				r.t.Errorf("%s has a protected value in clear: …%s…", table, all[max(0, at-80):min(len(all), at+80)])
			}
		}
	}
}

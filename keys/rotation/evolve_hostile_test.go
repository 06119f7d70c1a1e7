package rotation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"cloakroom/crypto/envelope"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// Who drives the change of a dataset here is a login with its own client, not our programs.

const (
	noteInClear = "{name: note, type: text, max: 32}"
	noteSealed  = "{name: note, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []}}"
	noteIndexed = "{name: note, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}"
	skewedPlain = "name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []"
)

var skewedIndexed = strings.Replace(skewedPlain, "[]", "[exact]", 1)

// begin writes a change down, and takes none of its steps.
func (g *gate) begin(t *testing.T, text string) (change int64) {
	t.Helper()
	if _, err := keys.ApplyDataset(t.Context(), g.URL(""), parse(t, text)); err != nil {
		t.Fatal(err)
	}
	if err := g.super.Get(&change, `SELECT id FROM cloakroom.rotations WHERE step = 'evolve' AND state = 'running'`); err != nil {
		t.Fatal(err)
	}
	return change
}

// next is the step that is due.
func (g *gate) next(t *testing.T, change int64) (step int, by string) {
	t.Helper()
	if err := g.super.QueryRow(`SELECT step, run_by FROM cloakroom.evolution_state($1)`, change).Scan(&step, &by); err != nil {
		t.Fatal(err)
	}
	return step, by
}

// until takes steps as the rotator, up to the first of a kind.
func (g *gate) until(t *testing.T, change int64, kind string) (step int) {
	t.Helper()
	for {
		step, by := g.next(t, change)
		if by == kind || step == 0 {
			return step
		}
		if _, err := g.vault.DB.Exec(`SELECT cloakroom.evolve_step($1, $2)`, change, step); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
}

func (g *gate) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := g.super.Get(&n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// finish is what is left of a change, and whether the rows have all it says.
func (g *gate) finish(t *testing.T) {
	t.Helper()
	if _, err := rotation.Evolve(t.Context(), g.vault, quiet(rotation.Options{})); err != nil {
		t.Fatal(err)
	}
	g.sound(t)
}

// A step is taken by its own function. Called in another step, the others do not mark it as done: a change would end,
// and be logged as done, with values in clear and its index unjudged.
func TestStepsAreNotSkipped(t *testing.T) {
	t.Parallel()
	g := newGate(t, 100)
	change := g.begin(t, strings.Replace(with(t, noteInClear, noteSealed), "index: []", "index: [exact]", 1))
	for {
		step, by := g.next(t, change)
		if step == 0 {
			break
		}
		for kind, query := range map[string]string{
			"index": `SELECT cloakroom.finish_evolve_indexes($1, $2)`,
			"fill":  `SELECT cloakroom.finish_fill($1, $2)`,
			"gate":  `SELECT cloakroom.accept_leakage($1, $2, 'because')`,
		} {
			if kind == by {
				continue
			}
			_, err := g.vault.DB.Exec(query, change, step)
			if now, _ := g.next(t, change); now != step {
				t.Errorf("step %d (%s): %s took it", step, by, query)
			}
			if n := g.count(t, `SELECT count(*) FROM cloakroom.evolution_steps WHERE rotation = $1 AND number > $2
				AND done_at IS NOT NULL`, change, step); n > 0 {
				t.Errorf("step %d (%s): %s marked %d later steps as done (%v)", step, by, query, n, err)
			}
		}
		if t.Failed() {
			return
		}
		switch by {
		case "fill", "gate", "index":
			g.finish(t)
		default:
			if _, err := g.vault.DB.Exec(`SELECT cloakroom.evolve_step($1, $2)`, change, step); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := g.count(t, `SELECT count(*) FROM cloakroom_data.visits WHERE sealed_note IS NULL`); n > 0 {
		t.Errorf("%d rows lost their note", n)
	}
}

// What the gate measures does not depend on settings of the session that asks.
func TestGateInAStrangeSession(t *testing.T) {
	t.Parallel()
	g := newGate(t, 10_400)
	change := g.begin(t, with(t, skewedPlain, skewedIndexed))
	if _, err := rotation.Evolve(t.Context(), g.vault, quiet(rotation.Options{})); err == nil {
		t.Fatal("the gate let it pass")
	}
	step := g.until(t, change, "gate")
	rotator := g.As(t, "stranger", "rotator")
	for _, setting := range []string{
		`standard_conforming_strings = off`, `backslash_quote = on`, `DateStyle = 'German'`, `TimeZone = 'Pacific/Kiritimati'`,
		`transform_null_equals = on`, `enable_partition_pruning = off`, `quote_all_identifiers = on`, `IntervalStyle = 'iso_8601'`,
		`extra_float_digits = -15`, `constraint_exclusion = on`, `array_nulls = off`, `row_security = off`,
	} {
		db := g.Pool(t, rotator)
		db.SetMaxOpenConns(1)
		db.MustExec(`SET ` + setting)
		var verdicts []string
		if err := db.Select(&verdicts, `SELECT verdict FROM cloakroom.judge_evolution($1, $2)`, change, step); err != nil {
			t.Logf("%s: %v", setting, err) // nothing passes
		} else if len(verdicts) != 1 || verdicts[0] != "too much" {
			t.Errorf("%s: judged %q", setting, verdicts)
		}
		if now, _ := g.next(t, change); now != step {
			t.Fatalf("%s: the gate let it pass", setting)
		}
		db.Close()
	}
}

// page is what the rotator's client reads of the rows that a change has to fill.
type page struct {
	ids   []uuid.UUID
	sents []time.Time
	part  time.Time
}

func (g *gate) page(t *testing.T, limit int) (p page) {
	t.Helper()
	if err := g.super.Select(&p.ids, `SELECT row_id FROM cloakroom_data.visits ORDER BY sent, row_id LIMIT $1`, limit); err != nil {
		t.Fatal(err)
	}
	if err := g.super.Select(&p.sents, `SELECT sent FROM cloakroom_data.visits ORDER BY sent, row_id LIMIT $1`, limit); err != nil {
		t.Fatal(err)
	}
	p.part = keys.MonthOf(p.sents[0].UTC())
	return p
}

// What was in clear leaves a row only with a sealed value in its place: not before the new definition is in force, and
// never for nothing.
func TestFillLosesNothing(t *testing.T) {
	t.Parallel()
	g := newGate(t, 20)
	change := g.begin(t, with(t, noteInClear, noteSealed))
	p := g.page(t, 1)
	part := p.part.Format(time.DateOnly)
	settings, err := g.vault.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := keys.NewIssuer(g.vault, settings, "visit", keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.Acquire(t.Context(), p.part, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	lose := func(when string) {
		t.Helper()
		var changed int
		err := g.vault.DB.Get(&changed, `
			SELECT cloakroom.evolve_rows((SELECT epoch FROM cloakroom.vault()), $1, 'visit', $2, ARRAY[s.row_id], ARRAY[s.sent],
			         ARRAY(SELECT coalesce(substring(x FOR 17), '') FROM unnest(s.sealed) AS x), ARRAY(SELECT ''::bytea FROM unnest(s.sealed)),
			         s.tokens, '{}', '{}', $3, $4)
			  FROM cloakroom.evolve_page($1, 'visit', $2, '-infinity', '00000000-0000-0000-0000-000000000000', 'infinity', 1) AS s`,
			change, part, key.ID(), key.Check[:])
		if n := g.count(t, `SELECT count(*) FROM cloakroom_data.visits WHERE note IS NULL OR sealed_flat IS NULL`); n > 0 {
			t.Fatalf("%s: %d rows lost values (%d changed, %v)", when, n, changed, err)
		}
	}
	for {
		step, by := g.next(t, change)
		lose(fmt.Sprintf("step %d (%s)", step, by))
		if by == "fill" {
			break
		}
		if _, err := g.vault.DB.Exec(`SELECT cloakroom.evolve_step($1, $2)`, change, step); err != nil {
			t.Fatal(err)
		}
	}
	g.finish(t)
	if n := g.count(t, `SELECT count(*) FROM cloakroom_data.visits WHERE sealed_note IS NULL`); n > 0 {
		t.Errorf("%d rows lost their note", n)
	}
}

// A change of one dataset reads no rows of another, though it has a member of that name; nor does it when it is done.
func TestChangeReadsItsOwnDataset(t *testing.T) {
	t.Parallel()
	g := newGate(t, 20)
	if _, err := keys.ApplyDataset(t.Context(), g.URL(""), parse(t, strings.NewReplacer("dataset: visit", "dataset: stay",
		"table: visits", "table: stays").Replace(gated))); err != nil {
		t.Fatal(err)
	}
	month := keys.MonthOf(time.Now().UTC())
	g.Fill(t, g.vault, "stay", 5, func(int) string { return `{"person":"p","note":"of another dataset"}` },
		func(i int) time.Time { return month.Add(time.Duration(i) * time.Second) })
	change := g.begin(t, with(t, noteInClear, noteSealed))
	read := func(when string) {
		t.Helper()
		var rows int
		err := g.vault.DB.Get(&rows, `SELECT count(*) FROM cloakroom.evolve_page($1, 'stay', $2, '-infinity',
			'00000000-0000-0000-0000-000000000000', 'infinity', 100)`, change, month)
		if err != nil || rows > 0 {
			t.Errorf("%s: %d rows of another dataset (%v)", when, rows, err)
		}
	}
	g.until(t, change, "fill")
	read("under way")
	g.finish(t)
	read("done")
}

// An ingest login with its own client cannot hold a change up: with values in clear that the definition no longer has, and
// with rows that lack the tokens of a new index, stored after the rows were filled.
func TestIngestCannotStopAChange(t *testing.T) {
	t.Parallel()
	g := newGate(t, 10_400)
	text := strings.Replace(with(t, noteInClear, noteSealed, skewedPlain, skewedIndexed), "index: []", "index: [exact]", 1)
	change := g.begin(t, text)
	if _, err := rotation.Evolve(t.Context(), g.vault, quiet(rotation.Options{})); !errors.Is(err, keys.ErrGivesAway) {
		t.Fatal(err)
	}
	g.until(t, change, "gate")

	vault := g.Vault(t, g.As(t, "ingester", "ingest"))
	vault.DB.SetMaxOpenConns(1)
	settings, err := vault.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := keys.NewIssuer(vault, settings, "visit", keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	key, err := issuer.Acquire(t.Context(), now, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	row := keys.Row{ID: uuid.New(), Date: now, Subject: "p"}
	place := row.Place(settings.ID, parse(t, text), "flat")
	sealed, err := key.Key.Seal(nil, &envelope.Scratch{}, &place, 32, []byte("flat"))
	if err != nil {
		t.Fatal(err)
	}
	vault.DB.MustExec(`SELECT cloakroom.stage('visit')`)
	tx := vault.DB.MustBegin()
	defer tx.Rollback()
	tx.MustExec(`INSERT INTO pg_temp.stage_visit (sent, row_id, create_date, person, note, sealed_flat, data_key)
		VALUES ($1, $2, $3, 'p', 'in clear', $4, $5)`, now, row.ID, now.Format(time.DateOnly), sealed, key.ID())
	var stored int
	if err := tx.Get(&stored, `SELECT stored FROM cloakroom.load((SELECT epoch FROM cloakroom.vault()), now(), 'visit',
		ARRAY[$1::int], ARRAY[$2::bytea])`, key.ID(), key.Check[:]); err != nil || stored != 1 {
		t.Fatalf("%d rows stored: %v", stored, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := g.count(t, `SELECT count(*) FROM cloakroom_data.visits WHERE note IS NOT NULL`); n > 0 {
		t.Errorf("%d rows have a note in clear, which the definition no longer has", n)
	}

	if _, err := rotation.Evolve(t.Context(), g.vault, quiet(rotation.Options{AcceptLeakage: "a test"})); err != nil {
		t.Fatal(err)
	}
	if step, by := g.next(t, change); step != 0 {
		t.Errorf("the change stands at step %d (%s)", step, by)
	}
	g.sound(t)
}

// A person who is forgotten while a change waits is forgotten in what the change takes away, too: in an index and a reveal
// that are dropped, which analysts still see, and in what was in clear and is to be sealed.
func TestForgetWhileAChangeWaits(t *testing.T) {
	t.Parallel()
	const before = `
dataset: stay
table: stays
subject: person
members:
  - {name: person, type: text, max: 32}
  - {name: note, type: text, max: 32, required: true}
  - {name: app, type: version, max: 32}
  - {name: card, type: text, max: 32, protect: {normalise: [digits], pad: 32, index: [exact, last/2], reveal: last4}}
`
	after := strings.NewReplacer("max: 32, required: true}", "max: 32, required: true, protect: {normalise: [text], pad: 32}}",
		"index: [exact, last/2], reveal: last4", "index: [exact]").Replace(before)
	g := newGate(t, 0)
	if _, err := keys.ApplyDataset(t.Context(), g.URL(""), parse(t, before)); err != nil {
		t.Fatal(err)
	}
	month := keys.MonthOf(time.Now().UTC())
	g.Fill(t, g.vault, "stay", 6, func(i int) string {
		return fmt.Sprintf(`{"person":"p%d","note":"stays in 12","card":"4000 1111 2222 333%d"}`, i%2, i)
	}, func(i int) time.Time { return month.Add(time.Duration(i) * time.Second) })
	// One of them was forgotten before, when the note was nothing to be protected.
	forget := func(want int64) {
		t.Helper()
		request, err := rotation.RequestForget(t.Context(), g.vault, "p0", "DSAR-1", "they asked")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			bob := g.Pool(t, g.As(t, "bob"+uuid.NewString()[:8], "approver"))
			bob.MustExec(`SELECT cloakroom.approve(id, digest) FROM cloakroom.show_request($1)`, request)
		}
		_, report, err := rotation.Forget(t.Context(), g.vault, request, quiet(rotation.Options{}))
		if err != nil || report.Cleared != want {
			t.Fatalf("%d rows cleared, want %d: %v", report.Cleared, want, err)
		}
	}
	forget(3)
	g.Fill(t, g.vault, "stay", 2, func(i int) string {
		return fmt.Sprintf(`{"person":"p0","note":"stays in 14","card":"4000 1111 2222 444%d"}`, i)
	}, func(i int) time.Time { return month.Add(time.Duration(i) * time.Minute) })

	change := g.begin(t, after)
	g.until(t, change, "fill")
	forget(5)
	kept := func(relation string) (left []string) {
		t.Helper()
		if err := g.super.Select(&left, `SELECT DISTINCT c.key FROM `+relation+` AS r, jsonb_each(to_jsonb(r)) AS c
			WHERE r.person = 'p0' AND c.value <> 'null' AND c.key NOT IN ('person', 'sent', 'row_id', 'create_date') ORDER BY 1`); err != nil {
			t.Fatal(err)
		}
		return left
	}
	for _, relation := range []string{"cloakroom_data.stays", "public.stays"} {
		if left := kept(relation); len(left) > 0 {
			t.Errorf("of who is forgotten %s keeps %s", relation, strings.Join(left, ", "))
		}
	}
	g.finish(t)
	if left := kept("cloakroom_data.stays"); len(left) > 0 {
		t.Errorf("of who is forgotten the change brings back %s", strings.Join(left, ", "))
	}
	if n := g.count(t, `SELECT count(*) FROM cloakroom_data.stays WHERE person = 'p1' AND sealed_note IS NOT NULL AND sealed_card IS NOT NULL`); n != 3 {
		t.Errorf("%d rows of others have all they had, want 3", n)
	}
}

// A rejection is sealed again under a key of its own dataset: under another's it would be shredded with that one's months.
func TestRejectionKeepsItsDataset(t *testing.T) {
	t.Parallel()
	g := newGate(t, 0)
	settings, err := g.vault.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	month := keys.MonthOf(time.Now().UTC())
	id := uuid.New()
	for _, name := range []string{"visit", "login"} {
		issuer, err := keys.NewIssuer(g.vault, settings, name, keys.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		key, err := issuer.Acquire(t.Context(), month, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if name == "visit" {
			g.super.MustExec(`INSERT INTO cloakroom.rejections (message_id, sent, dataset, reason, sealed_body, data_key)
				VALUES ($1, $2, 'visit', 'bad_json', '\x01'::bytea || int4send($3) || 'body', $3)`, id, month, key.ID())
			continue
		}
		var changed int
		err = g.vault.DB.Get(&changed, `SELECT cloakroom.reseal_rejections((SELECT epoch FROM cloakroom.vault()), $1, $2::date, ARRAY[$3::uuid],
			ARRAY[s.sent], ARRAY[s.sealed_body], ARRAY['\x01'::bytea || int4send($4) || 'other'], $4, $5)
			FROM cloakroom.scan_rejections('00000000-0000-0000-0000-000000000000', '-infinity', 1) AS s`,
			name, month, id, key.ID(), key.Check[:])
		if err != nil || changed > 0 {
			t.Errorf("%d rejections of another dataset were sealed under a key of %s (%v)", changed, name, err)
		}
	}
}

// While a change seals rows of any month, an ingest login gets no key of a month that has none: infinity would end every
// list of keys, and with it shredding.
func TestKeysAreOfMonthsThatHaveRows(t *testing.T) {
	t.Parallel()
	g := newGate(t, 1)
	change := g.begin(t, with(t, noteInClear, noteSealed))
	g.until(t, change, "fill")
	ingest := g.Pool(t, g.As(t, "ingester", "ingest"))
	for _, month := range []string{"infinity", "-infinity", "0001-01-01 BC", "9999-01-01", "1900-01-01"} {
		var id int
		if err := ingest.Get(&id, `SELECT cloakroom.reserve_data_key()`); err != nil {
			t.Fatal(err)
		}
		_, err := ingest.Exec(`SELECT cloakroom.register_data_key($1, 'visit', $2::date, k.kek_id, repeat('w', 64)::bytea, repeat('x', 16)::bytea)
			FROM cloakroom.live_index_keys() AS k`, id, month)
		if pg.Code(err) != pg.StaleEpoch {
			t.Errorf("%s: %v", month, err)
		}
	}
	if _, err := g.vault.DataKeys(t.Context()); err != nil {
		t.Error(err)
	}
	g.finish(t)
}

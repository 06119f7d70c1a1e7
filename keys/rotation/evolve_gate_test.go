package rotation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

// gated is a dataset whose members skewed and note have one value in half of the rows; flat has none in many.
const gated = `
dataset: visit
table: visits
subject: person
members:
  - {name: person, type: text, max: 32}
  - {name: flat, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []}}
  - {name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []}}
  - {name: note, type: text, max: 32}
`

type gate struct {
	*keystest.Env
	vault *keys.Vault // the rotator's
	super *sqlx.DB
}

func newGate(t *testing.T, rows int) *gate {
	t.Helper()
	env := keystest.New(t)
	g := &gate{Env: env, vault: env.Vault(t, env.As(t, "rotator", "rotator")), super: env.Open(t, "")}
	if _, err := keys.ApplyDataset(t.Context(), env.URL(""), parse(t, gated)); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	month := keys.MonthOf(time.Now().UTC())
	env.Fill(t, g.vault, "visit", rows, func(int) string {
		skewed := "most"
		if random.IntN(2) == 0 {
			skewed = fmt.Sprint(random.IntN(5000))
		}
		return fmt.Sprintf(`{"person":"p%d","flat":"f%d","skewed":%q,"note":"n%[3]s"}`, random.IntN(3000), random.IntN(5000), skewed)
	}, func(i int) time.Time { return month.Add(time.Duration(i) * time.Second) })
	return g
}

// with is the dataset with parts replaced: old, new, old, new.
func with(t *testing.T, replace ...string) string {
	t.Helper()
	text := gated
	for i := 0; i < len(replace); i += 2 {
		if strings.Count(text, replace[i]) != 1 {
			t.Fatalf("%q is not once in the definition", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	return text
}

// apply begins a change, and takes it on.
func (g *gate) apply(t *testing.T, text string, o rotation.Options) (rotation.Report, error) {
	t.Helper()
	applied, err := keys.ApplyDataset(t.Context(), g.URL(""), parse(t, text))
	if err != nil {
		return rotation.Report{}, err
	}
	if applied.Evolution == nil {
		t.Fatal("nothing was to be changed")
	}
	return rotation.Evolve(t.Context(), g.vault, quiet(o))
}

// columns are those of the analysts' view, and of the table without the system's own.
func (g *gate) columns(t *testing.T) (view, table []string) {
	t.Helper()
	for query, into := range map[string]*[]string{
		`SELECT attname FROM pg_attribute WHERE attrelid = 'public.visits'::regclass AND attnum > 0 ORDER BY attname`: &view,
		`SELECT attname FROM pg_attribute WHERE attrelid = 'cloakroom_data.visits'::regclass AND attnum > 0
		    AND NOT attisdropped ORDER BY attname`: &table,
	} {
		if err := g.super.Select(into, query); err != nil {
			t.Fatal(err)
		}
	}
	return view, slices.DeleteFunc(table, func(name string) bool {
		return slices.Contains([]string{"create_date", "data_key", "row_id", "sent"}, name)
	})
}

func (g *gate) want(t *testing.T, what, view, table string) {
	t.Helper()
	v, c := g.columns(t)
	if got := strings.Join(v, " "); got != view {
		t.Errorf("%s: the view has %s, want %s", what, got, view)
	}
	if got := strings.Join(c, " "); got != table {
		t.Errorf("%s: the table has %s, want %s", what, got, table)
	}
}

// sound holds layout and rows to the definition in force.
func (g *gate) sound(t *testing.T) {
	t.Helper()
	r, err := verify.Run(t.Context(), g.vault, verify.Options{All: true})
	if err != nil || r.FailureCount > 0 {
		t.Fatalf("verify: %v, %+v", err, r.Failures)
	}
}

func (g *gate) leaves(t *testing.T, kind string) (leaves []string) {
	t.Helper()
	if err := g.super.Select(&leaves, `SELECT convert_from(leaf, 'UTF8') FROM cloakroom.audit_leaves
		WHERE convert_from(leaf, 'UTF8')::json ->> 'type' = $1 ORDER BY seq`, kind); err != nil {
		t.Fatal(err)
	}
	return leaves
}

// A new index that gives away too much is seen by no analyst: not before it is accepted, with an entry of the log, and
// never if it is taken out of the definition again. What is flat goes through.
func TestGate(t *testing.T) {
	t.Parallel()
	g := newGate(t, 10_400)
	const before, sealed = "create_date note person", "note person sealed_flat sealed_skewed"
	skewed := with(t, "name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []",
		"name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]")
	both := strings.Replace(skewed, "index: []", "index: [exact]", 1)

	report, err := g.apply(t, both, rotation.Options{})
	if !errors.Is(err, keys.ErrGivesAway) || !strings.Contains(err.Error(), "index exact of skewed gives away") ||
		strings.Contains(err.Error(), "flat") {
		t.Fatalf("a skewed index: %v", err)
	}
	if j := report.Evolved.Judged; len(j) != 2 || j[0].Verdict != "ok" || j[1].Verdict != "too much" || j[1].GivesAway < 0.4 {
		t.Errorf("judged %+v", j)
	}
	g.want(t, "refused", before, "masked_flat_v1 masked_skewed_v1 "+sealed)
	list, err := g.vault.IndexLeakages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(list, keys.IndexLeakage.TooMuch); i < 0 || list[i].Member != "skewed" {
		t.Errorf("the vault has %+v", list)
	}

	// All else that is due is done, and it waits still.
	rotated, err := rotation.Rotate(t.Context(), g.vault, quiet(rotation.Options{}))
	if !errors.Is(err, keys.ErrGivesAway) || rotated.Verified == nil || rotated.Verified.FailureCount > 0 || len(rotated.Leakage) != 4 {
		t.Errorf("rotate: %v, %+v", err, rotated)
	}
	// Nothing else is taken back, and nothing is accepted without a reason.
	other := strings.Replace(both, "name: note, type: text, max: 32", "name: note, type: text, max: 64", 1)
	if _, err := g.apply(t, other, rotation.Options{}); err == nil || !strings.Contains(err.Error(), "nothing else changed") {
		t.Errorf("another change: %v", err)
	}
	for _, reason := range []string{"", "  ", strings.Repeat("x", 1001)} {
		_, err := g.vault.DB.Exec(`SELECT cloakroom.accept_leakage(r.id, s.step, $1)
			FROM cloakroom.rotation_running('evolve') AS r, cloakroom.evolution_state(r.id) AS s`, reason)
		if pg.Code(err) != "CR013" {
			t.Errorf("the reason %.3q: %v", reason, err)
		}
	}
	// No function of another step ends it.
	for _, call := range []string{"evolve_step(r.id, s.step)", "finish_fill(r.id, s.step)", "finish_evolve_indexes(r.id, s.step)",
		"evolve_step(r.id, s.step + 1)", "accept_leakage(r.id, s.step + 1, 'x')", "judge_evolution(r.id, s.step + 1)"} {
		_, _ = g.vault.DB.Exec(`SELECT cloakroom.` + call + ` FROM cloakroom.rotation_running('evolve') AS r,
			cloakroom.evolution_state(r.id) AS s`)
		var by string
		if err := g.vault.DB.Get(&by, `SELECT s.run_by FROM cloakroom.rotation_running('evolve') AS r,
			cloakroom.evolution_state(r.id) AS s`); err != nil || by != "gate" {
			t.Fatalf("after %s the next step is %q, %v", call, by, err)
		}
	}
	if n := len(g.leaves(t, "dataset.leakage")); n != 0 {
		t.Errorf("%d entries before it was accepted", n)
	}

	// The skewed one is taken out: the flat one stays.
	flat := with(t, "name: flat, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: []",
		"name: flat, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]")
	if _, err := g.apply(t, flat, rotation.Options{}); err != nil {
		t.Fatal(err)
	}
	g.want(t, "taken out", "create_date masked_flat note person", "masked_flat_v1 "+sealed)
	g.sound(t)

	// Alone again, refused, and taken back to the very definition before.
	if _, err := g.apply(t, both, rotation.Options{}); !errors.Is(err, keys.ErrGivesAway) {
		t.Fatalf("again: %v", err)
	}
	if _, err := g.apply(t, flat, rotation.Options{}); err != nil {
		t.Fatal(err)
	}
	g.want(t, "taken back", "create_date masked_flat note person", "masked_flat_v1 "+sealed)
	g.sound(t)

	const reason = "fraud desk needs it; \"DPO\" agreed"
	if _, err := g.apply(t, both, rotation.Options{AcceptLeakage: reason}); err != nil {
		t.Fatal(err)
	}
	g.want(t, "accepted", "create_date masked_flat masked_skewed note person", "masked_flat_v1 masked_skewed_v1 "+sealed)
	g.sound(t)
	leaves := g.leaves(t, "dataset.leakage")
	if len(leaves) != 1 {
		t.Fatalf("%d entries, want one", len(leaves))
	}
	var leaf struct {
		Dataset, Actor, Result string
		Fields                 []string
	}
	var result struct{ Accepted string }
	if err := errors.Join(json.Unmarshal([]byte(leaves[0]), &leaf), json.Unmarshal([]byte(leaf.Result), &result)); err != nil {
		t.Fatal(err)
	}
	if leaf.Dataset != "visit" || !strings.HasPrefix(leaf.Actor, "rotator") || len(leaf.Fields) != 1 ||
		leaf.Fields[0] != "skewed exact" || result.Accepted != reason {
		t.Errorf("the entry: %s", leaves[0])
	}
	if list, err = g.vault.IndexLeakages(t.Context()); err != nil || list[3].Accepted != reason {
		t.Errorf("the vault has %+v, %v", list, err)
	}

	// An index that is dropped takes its acceptance along.
	if _, err := g.apply(t, flat, rotation.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.apply(t, both, rotation.Options{}); !errors.Is(err, keys.ErrGivesAway) {
		t.Fatalf("added again: %v", err)
	}
	if list, err = g.vault.IndexLeakages(t.Context()); err != nil || list[3].Accepted != "" || !list[3].TooMuch() {
		t.Errorf("the vault has %+v, %v", list, err)
	}
}

// A member that was in clear is sealed to the end although the index that it was to get is taken out.
func TestGateKeepsTheRest(t *testing.T) {
	t.Parallel()
	g := newGate(t, 10_400)
	protected := with(t, "{name: note, type: text, max: 32}",
		"{name: note, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}")
	if _, err := g.apply(t, protected, rotation.Options{}); !errors.Is(err, keys.ErrGivesAway) {
		t.Fatal(err)
	}
	g.want(t, "refused", "create_date note person", "masked_note_v1 note person sealed_flat sealed_note sealed_skewed")
	if _, err := g.apply(t, gated, rotation.Options{}); err == nil || !strings.Contains(err.Error(), "nothing else changed") {
		t.Errorf("sealed values put back in clear: %v", err)
	}
	report, err := g.apply(t, strings.Replace(protected, "[exact]", "[]", 1), rotation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Evolved.Remains) == 0 || len(report.Evolved.Operator) != 2 {
		t.Errorf("what is left to the operator is not said: %+v", report.Evolved)
	}
	g.want(t, "taken out", "create_date person", "person sealed_flat sealed_note sealed_skewed")
	g.sound(t)
	var left int
	if err := g.super.Get(&left, `SELECT count(*) FROM cloakroom_data.visits WHERE sealed_note IS NULL`); err != nil || left > 0 {
		t.Errorf("%d rows lost their note, %v", left, err)
	}
}

// Of too few rows nothing is said.
func TestGateOfFewRows(t *testing.T) {
	t.Parallel()
	g := newGate(t, 900)
	report, err := g.apply(t, strings.Replace(gated, "index: []", "index: [exact]", 2), rotation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range report.Evolved.Judged {
		if j.Verdict != "too few rows" {
			t.Errorf("judged %+v", j)
		}
	}
	if len(report.Evolved.Judged) != 2 || len(g.leaves(t, "dataset.leakage")) != 0 {
		t.Errorf("judged %+v", report.Evolved.Judged)
	}
}

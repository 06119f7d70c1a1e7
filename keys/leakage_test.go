package keys_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"cloakroom/dataset"
	"cloakroom/dataset/leakage"
	"cloakroom/internal/pg"
	"cloakroom/keys"
	"cloakroom/keys/keystest"
)

const visits = `
dataset: visit
table: visits
subject: person
members:
  - {name: person, type: text, max: 32}
  - {name: city, type: text, max: 32}
  - {name: flat, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: skewed, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: local, type: text, max: 32, protect: {normalise: [trim], pad: 32, index: [exact]}}
  - {name: email, type: text, max: 64, protect: {normalise: [casefold], pad: 64, index: [domain, exact], reveal: domain,
     nothing: [none]}}
`

// visit is an event: flat has 5,000 values alike, the half of skewed are one, local depends on the city.
func visit(random *rand.Rand) string {
	skewed := "most"
	if random.IntN(2) == 0 {
		skewed = fmt.Sprint(random.IntN(5000))
	}
	city := random.IntN(20)
	email := "none"
	if random.IntN(10) > 0 {
		email = fmt.Sprintf("p%d@%d.example", random.IntN(3000), random.IntN(30)*random.IntN(30))
	}
	return fmt.Sprintf(`{"person":"p%d","city":"c%d","flat":"f%d","skewed":%q,"local":"l%d","email":%q}`,
		random.IntN(3000), city, random.IntN(5000), skewed, city*5+random.IntN(5), email)
}

func newVisits(t *testing.T) (*keystest.Env, *keys.Vault, *dataset.Dataset) {
	t.Helper()
	env := keystest.New(t)
	d, err := dataset.Parse([]byte(visits))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ApplyDataset(t.Context(), env.URL(""), d); err != nil {
		t.Fatal(err)
	}
	return env, env.Vault(t, env.As(t, "rotator", "rotator")), d
}

// What the vault counts gives the same figures as counting here; and the vault's own figure is that of the package.
func TestLeakage(t *testing.T) {
	t.Parallel()
	env, v, d := newVisits(t)
	random := rand.New(rand.NewPCG(1, 1))
	this := keys.MonthOf(time.Now().UTC())
	env.Fill(t, v, d.Name, 24_000, func(int) string { return visit(random) }, func(i int) time.Time {
		return this.AddDate(0, -(i % 2), i%20).Add(time.Duration(i) * time.Millisecond)
	})
	r, err := v.Leakage(t.Context(), d, time.Time{}, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	if r.Month != this.Format("2006-01") || r.Known != this.AddDate(0, -1, 0).Format("2006-01") ||
		fmt.Sprint(r.Clear, r.Left) != "[city] [email__domain]" {
		t.Errorf("%s against %s, clear %v, left %v", r.Month, r.Known, r.Clear, r.Left)
	}
	by := map[string]leakage.Index{}
	for _, ix := range r.Indexes {
		by[ix.Column] = ix
	}
	db := env.Open(t, "")
	for _, ix := range d.Indexes() {
		var rows []struct{ N, M, K int64 }
		column := ix.TokenColumn(1)
		if err := db.Select(&rows, fmt.Sprintf(`SELECT n, m, count(*) AS k FROM (
			SELECT count(*) FILTER (WHERE create_date >= $1) AS n, count(*) FILTER (WHERE create_date < $1) AS m
			  FROM cloakroom_data.visits WHERE %s <> '-' GROUP BY %[1]s) AS t GROUP BY 1, 2`, column), this); err != nil {
			t.Fatal(err)
		}
		var h leakage.Histogram
		for _, row := range rows {
			h = append(h, leakage.Count{Rows: row.N, Known: row.M, Tokens: row.K})
		}
		got := by[ix.ViewColumn()]
		want := leakage.Share(leakage.RankMatching(h), h.Figures().Rows)
		if got.Figures != h.Figures() || math.Abs(got.GivesAway-want) > 1e-9 {
			t.Errorf("%s: %+v gives away %v, want %+v, %v", column, got.Figures, got.GivesAway, h.Figures(), want)
		}
		var kept float64
		if err := v.DB.Get(&kept, `SELECT gives_away FROM cloakroom.measure_index($1, $2, $3)`, d.Name, ix.Member.Name,
			ix.Kind); err != nil || math.Abs(kept-want) > 1e-9 {
			t.Errorf("%s: the vault says %v, %v, want %v", column, kept, err, want)
		}
	}
	if ix := by["masked_flat"]; ix.Verdict != leakage.OK || ix.Unicity.Users != leakage.Users || ix.Unicity.By2 < 1800 {
		t.Error(marshal(t, ix))
	}
	if ix := by["masked_skewed"]; ix.Verdict != leakage.TooMuch || ix.GivesAway < 0.45 || ix.GivesAway > 0.6 {
		t.Error(marshal(t, ix))
	}
	if ix := by["masked_local"]; ix.Verdict != leakage.Beside || ix.Lift < 3 {
		t.Error(marshal(t, ix))
	}
	if ix := by["masked_email"]; ix.Nothing < 1000 || ix.Nothing > 1400 || ix.Rows+ix.Nothing != 12_000 {
		t.Error(marshal(t, ix))
	}
	if len(r.Members) != 1 || r.Members[0].GivesAway <= by["masked_email"].GivesAway {
		t.Errorf("together: %+v", r.Members)
	}

	list, err := v.IndexLeakages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	over := 0
	for _, l := range list {
		if l.TooMuch() {
			over++
		}
		if (l.MeasuredAt == nil) != (l.Dataset == "login") {
			t.Errorf("measured: %+v", l)
		}
	}
	if over != 2 || len(list) != 7 { // skewed, and the domain of email
		t.Error(marshal(t, list))
	}
}

// Users drawn, and who else has what they have, counted another way.
func TestLeakageUnicity(t *testing.T) {
	t.Parallel()
	env, v, d := newVisits(t)
	random := rand.New(rand.NewPCG(2, 2))
	this := keys.MonthOf(time.Now().UTC())
	env.Fill(t, v, d.Name, 3000, func(int) string { return visit(random) }, func(i int) time.Time {
		return this.AddDate(0, 0, i%3).Add(time.Duration(i) * time.Millisecond)
	})
	var picked []struct {
		Who        int64
		Token, Day string
	}
	if err := v.DB.Select(&picked, `SELECT who, token, day FROM cloakroom.leakage_pairs('visit', 'masked_local_v1', $1, 50)
		WHERE who IS NOT NULL`, this); err != nil {
		t.Fatal(err)
	}
	pairs := map[int64][][2]string{}
	for _, p := range picked {
		pairs[p.Who] = append(pairs[p.Who], [2]string{p.Token, p.Day})
	}
	if len(pairs) != 50 {
		t.Fatalf("%d users drawn, want 50", len(pairs))
	}
	var want leakage.Unicity
	for _, of := range pairs {
		want.Users++
		for n, count := range map[int]*int{2: &want.By2, 4: &want.By4} {
			query := `SELECT count(*) FROM (SELECT DISTINCT person FROM cloakroom_data.visits) AS p WHERE true`
			for _, pair := range of[:min(n, len(of))] {
				query += fmt.Sprintf(` AND EXISTS (SELECT FROM cloakroom_data.visits v WHERE v.person = p.person
					AND v.masked_local_v1 = '%s' AND v.create_date = '%s')`, pair[0], pair[1])
			}
			var having int
			if err := env.Open(t, "").Get(&having, query); err != nil {
				t.Fatal(err)
			}
			if having == 1 {
				*count++
			}
		}
	}
	if want.By2 == 0 || want.By2 == 50 {
		t.Fatalf("%+v proves nothing", want)
	}
	users, holders := []leakage.User{}, map[leakage.Pair][]int64{}
	for who, of := range pairs {
		u := leakage.User{ID: who}
		for _, p := range of {
			u.Pairs = append(u.Pairs, leakage.Pair{Token: p[0], Day: p[1]})
			holders[leakage.Pair{Token: p[0], Day: p[1]}] = nil
		}
		users = append(users, u)
	}
	rows, err := v.DB.Queryx(`SELECT token, day, unnest(holders) FROM cloakroom.leakage_pairs('visit', 'masked_local_v1', $1, 50)
		WHERE who IS NULL`, this)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var p leakage.Pair
		var id int64
		if err := rows.Scan(&p.Token, &p.Day, &id); err != nil {
			t.Fatal(err)
		}
		holders[p] = append(holders[p], id)
	}
	if got := leakage.Pinned(users, holders); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Without a month before, one half of the month is attacked with the other. Too few rows are not judged.
func TestLeakageOfOneMonth(t *testing.T) {
	t.Parallel()
	env, v, d := newVisits(t)
	random := rand.New(rand.NewPCG(3, 3))
	this := keys.MonthOf(time.Now().UTC())
	fill := func(n int) *leakage.Report {
		env.Fill(t, v, d.Name, n, func(int) string { return visit(random) }, func(i int) time.Time {
			return this.Add(time.Duration(i) * time.Millisecond)
		})
		r, err := v.Leakage(t.Context(), d, time.Time{}, 1e6)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, ix := range fill(300).Indexes {
		if ix.Verdict != leakage.TooFew {
			t.Error(marshal(t, ix))
		}
	}
	r := fill(11_700)
	if ix := r.Indexes[1]; !ix.Halves || ix.Verdict != leakage.TooMuch || ix.Rows < 5500 || ix.Rows > 6500 {
		t.Error(marshal(t, ix))
	}
	if r, err := v.Leakage(t.Context(), d, this.AddDate(0, -3, 0), 1e6); err != nil || r.Indexes[0].Rows != 0 {
		t.Errorf("a month without rows: %v", err)
	}
}

// Public counts instead of the month before: exact values, and those that share a part.
func TestLeakageAgainst(t *testing.T) {
	t.Parallel()
	env, v, d := newVisits(t)
	this := keys.MonthOf(time.Now().UTC())
	// Value i of 140 has i rows: 9,870 in all.
	var events []string
	var public []leakage.Public
	for i := 1; i <= 140; i++ {
		public = append(public, leakage.Public{Value: fmt.Sprintf(" V%d@%d.example", i, i%10), Count: int64(i) * 1000})
		for range i {
			events = append(events, fmt.Sprintf(`{"flat":"x","skewed":"x","local":"x","email":"v%d@%d.example"}`, i, i%10))
		}
	}
	public = append(public, leakage.Public{Value: "who@never.example", Count: 1}, leakage.Public{Value: "none", Count: 1e9})
	for range 130 { // none: no token tells
		events = append(events, `{"email":"none"}`)
	}
	env.Fill(t, v, d.Name, len(events), func(i int) string { return events[i] }, func(i int) time.Time {
		return this.Add(time.Duration(i) * time.Second)
	})
	r, err := v.LeakageAgainst(t.Context(), d, "email", public, time.Time{}, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Indexes) != 2 {
		t.Fatal(marshal(t, r))
	}
	for _, ix := range r.Indexes {
		if ix.Rows != 9870 || ix.GivesAway < 0.999 || ix.Nothing != 130 {
			t.Error(marshal(t, ix))
		}
	}
	// The list the other way round: no value is at its rank.
	for i := range 140 {
		public[i].Count = int64(1000 - i)
	}
	if r, err = v.LeakageAgainst(t.Context(), d, "email", public[:140], time.Time{}, 1e6); err != nil || r.Indexes[1].GivesAway > 0.02 {
		t.Error(err, marshal(t, r))
	}
	if _, err := v.LeakageAgainst(t.Context(), d, "", public, time.Time{}, 1e6); err == nil {
		t.Error("several members have an index, and none was named")
	}
}

// Who holds the index key gets no count of any token, and who sees tokens nothing new: these are the rotator's alone.
// Columns that are sealed, or are none, are refused.
func TestLeakageIsForTheRotator(t *testing.T) {
	t.Parallel()
	env, v, _ := newVisits(t)
	calls := []string{
		`SELECT * FROM cloakroom.leakage_counts('visit', '{masked_flat_v1}', '{city}', '2026-01-01', true, 9)`,
		`SELECT * FROM cloakroom.leakage_pairs('visit', 'masked_flat_v1', '2026-01-01', 9)`,
		`SELECT * FROM cloakroom.token_rows('visit', 'masked_flat_v1', '2026-01-01', '{x}')`,
		`SELECT * FROM cloakroom.leakage_values('visit', '{city}', '2026-01-01')`,
		`SELECT * FROM cloakroom.leakage_span('visit', 'masked_flat_v1')`,
		`SELECT * FROM cloakroom.measure_index('visit', 'flat', 'exact')`,
		`SELECT * FROM cloakroom.leakage_figures()`,
		`SELECT * FROM cloakroom.judge_evolution(1, 1)`,
		`SELECT cloakroom.accept_leakage(1, 1, 'because')`,
	}
	for _, role := range []string{"ingest", "auditor", "analyst", "approver", "breakglass", "witness"} {
		db := env.Pool(t, env.As(t, "x_"+role, role))
		for _, call := range calls {
			if _, err := db.Exec(call); pg.Code(err) != "42501" {
				t.Errorf("%s: %s: %v", role, call, err)
			}
		}
	}
	for _, call := range calls {
		if _, err := v.DB.Exec(call); err != nil {
			t.Errorf("the rotator: %s: %v", call, err)
		}
	}
	for _, call := range []string{
		`SELECT * FROM cloakroom.leakage_counts('visit', '{sealed_flat}', '{city}', '2026-01-01', true, 9)`,
		`SELECT * FROM cloakroom.leakage_counts('visit', '{masked_flat_v1}', '{data_key}', '2026-01-01', true, 9)`,
		`SELECT * FROM cloakroom.leakage_pairs('visit', 'sealed_flat', '2026-01-01', 9)`,
		`SELECT * FROM cloakroom.token_rows('visit', 'row_id', '2026-01-01', '{x}')`,
		`SELECT * FROM cloakroom.leakage_values('visit', '{sealed_email}', '2026-01-01')`,
		`SELECT * FROM cloakroom.leakage_span('nothing', 'masked_flat_v1')`,
		`SELECT * FROM cloakroom.measure_index('visit', 'flat', 'domain')`,
	} {
		if _, err := v.DB.Exec(call); pg.Code(err) != "CR012" {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"golang.org/x/sync/errgroup"

	"cloakroom/crypto/envelope"
	"cloakroom/dataset"
	"cloakroom/etl"
	"cloakroom/etl/etltest"
	"cloakroom/internal/pg"
	"cloakroom/internal/pg/pgtest"
	"cloakroom/internal/sandbox/pgserver"
	"cloakroom/keys"
	"cloakroom/keys/kek"
	"cloakroom/keys/keystest"
	"cloakroom/keys/rotation"
	"cloakroom/keys/verify"
)

// shopBefore and shopAfter differ by every change that has something to fill, and some that have not.
const shopBefore = `
dataset: shop
table: shops
subject: customer
members:
  - {name: customer, type: text, max: 40}
  - {name: note, type: text, max: 20}
  - {name: email, type: text, max: 254, protect: {normalise: [trim, casefold], pad: 32, index: [exact]}}
  - {name: card, type: text, max: 40, protect: {normalise: [digits], index: [exact, prefix/6]}}
  - {name: phone, type: text, max: 40, required: true}
  - {name: amount, type: decimal, precision: 12, scale: 2}
  - {name: items, type: integer}
  - {name: gift, type: boolean}
  - {name: born, type: date}
  - {name: seen, type: timestamp}
  - {name: home, type: ip}
  - {name: badge, type: uuid}
  - {name: app, type: version, max: 32}
  - {name: tags, type: json, max: 400}
`

const shopAfter = `
dataset: shop
table: shops
subject: customer
members:
  - {name: customer, type: text, max: 40}
  - {name: note, type: text, max: 200}
  - {name: city, type: text, max: 40}
  - {name: secret, type: text, max: 40, protect: {normalise: [text]}}
  - {name: email, type: text, max: 254, protect: {normalise: [trim, casefold], pad: 32, index: [exact, domain], reveal: domain, nothing: [u1@example.org]}}
  - {name: card, type: text, max: 40, protect: {normalise: [digits], index: [exact]}}
  - {name: phone, type: text, max: 40, required: true, protect: {normalise: [digits], pad: 32, index: [exact], reveal: last4}}
  - {name: amount, type: decimal, precision: 12, scale: 2, protect: {}}
  - {name: items, type: integer, protect: {}}
  - {name: gift, type: boolean, protect: {index: []}}
  - {name: born, type: date, protect: {}}
  - {name: seen, type: timestamp, protect: {}}
  - {name: home, type: ip, protect: {index: [exact, prefix/24], reveal: network}}
  - {name: badge, type: uuid, protect: {}}
  - {name: app, type: version, max: 32}
  - {name: tags, type: json, max: 400, protect: {index: []}}
`

// forms are the kinds of datasets: told apart by their messages, in months; or by an id and a time of their own, in days.
var forms = map[string]func(definition string) string{
	"message and months": func(definition string) string { return definition },
	"id and days": func(definition string) string {
		return strings.Replace(definition, "subject: customer\nmembers:", "subject: customer\nid: number\ntime: at\npartition: day\nmembers:"+`
  - {name: number, type: text, max: 40, required: true}
  - {name: at, type: timestamp, required: true}`, 1)
	},
}

// shopBegan is when the first event was; each is a second later than the one before, and of one of three days.
var shopBegan = etltest.Today()

func shopTime(n int) time.Time {
	return shopBegan.AddDate(0, 0, -n%3).Add(time.Duration(n) * time.Second)
}

// canary is in clear before a change, and must be nowhere after it.
const canary = "+49 170 5550199"

func shopEvent(n int) string {
	phone := fmt.Sprintf("+49 170 %07d", n%7)
	switch {
	case n%11 == 0 && n < 200:
		phone = "none" // Nothing is left of it without what is no digit; an event like it is rejected once that is required.
	case n%5 == 0:
		phone = canary
	}
	text := fmt.Sprintf(`"number":"s-%d","at":%q,`, n, shopTime(n).Format(time.RFC3339)) + fmt.Sprintf(`"customer":"c%d","note":"n\\%d","phone":%q,"email":"U%d@Example.org","card":"4000 0000 0000 %04d"`, n%3, n, phone, n%4, n)
	if n%4 != 0 {
		text += fmt.Sprintf(`,"amount":%d.50,"items":%d,"gift":%t,"born":"19%02d-02-03","seen":"2026-01-02T03:04:05.%06dZ","home":"10.1.%d.9",
			"badge":"6F9619FF-8B86-D011-B42D-%012d","app":"1.2.%d-x","tags":{"a":[%d]}`, n, n, n%2 == 0, n%90+10, n, n%200, n, n, n)
	}
	return "{" + text + "}"
}

// shop is a vault with a dataset whose rows a test makes itself, as a daemon would.
type shop struct {
	*keystest.Env
	vault *keys.Vault // the rotator's
	super *sqlx.DB
	owner *sqlx.DB
	days  []time.Time
	rows  int
	id    func(n int) uuid.UUID // of an event's row
}

func rowID(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte(fmt.Sprint(n))) }

func parse(t testing.TB, text string) *dataset.Dataset {
	t.Helper()
	d, err := dataset.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newShop(t *testing.T, text string) *shop {
	t.Helper()
	env := keystest.New(t)
	s := &shop{Env: env, vault: env.Vault(t, env.As(t, "rotator", "rotator")), super: env.Open(t, "")}
	return s.begin(t, env.URL(""), text)
}

func (s *shop) begin(t *testing.T, url, text string) *shop {
	t.Helper()
	s.id = rowID
	var err error
	if s.owner, err = pg.Open(pg.Config{URL: url, Role: pg.Owner}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.owner.Close() })
	if _, err := keys.ApplyDataset(t.Context(), url, parse(t, text)); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	s.days = []time.Time{today, keys.MonthOf(today).AddDate(0, -4, 0)}
	// A month that is older than what may be stored, and has no data key.
	for _, day := range []time.Time{s.days[1], shopTime(1), shopTime(2)} {
		if _, err := s.super.Exec(`SELECT cloakroom.make_partition('shop', $1)`, day); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// rowOf is the id of an event's row.
func (s *shop) rowOf(d *dataset.Dataset, n int, e *dataset.Event) uuid.UUID {
	if d.ID != "" {
		return e.Row
	}
	return s.id(n)
}

// fill stores events under the definition that is in force.
func (s *shop) fill(t *testing.T, n int) {
	t.Helper()
	list, err := s.vault.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := list.Find("shop")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := s.vault.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := keys.NewIssuer(s.vault, settings, d.Name, keys.Caps{})
	if err != nil {
		t.Fatal(err)
	}
	index, err := s.vault.IndexKeys(t.Context(), settings, d)
	if err != nil {
		t.Fatal(err)
	}
	maker, err := dataset.NewTokeniser(d, index[0].Subkeys)
	if err != nil {
		t.Fatal(err)
	}
	decoder := dataset.NewDecoder(d)
	// In the old month nothing can be sealed any more: its rows are as if erased, and have only what is in clear.
	phone, _ := d.Member("phone")
	older := phone.Protect == nil
	var scratch envelope.Scratch
	for range n {
		number := s.rows
		s.rows++
		event, rejection := decoder.Decode([]byte(shopEvent(number)))
		if rejection != (dataset.Rejection{}) {
			t.Fatalf("%s: %+v", shopEvent(number), rejection)
		}
		sent := shopTime(number)
		var key *keys.SealingKey
		if older && number%3 == 0 {
			sent = s.days[1].Add(time.Duration(number) * time.Second)
		} else if key, err = issuer.Acquire(t.Context(), sent, 100, 100000); err != nil {
			t.Fatal(err)
		}
		row := keys.Row{ID: s.rowOf(d, number, event), Date: sent, Subject: string(event.Subject)}
		sealed := func(m int) bool { return key != nil && event.Values[m].Kind != 0 && !event.Values[m].Null }
		var names, marks []string
		var values []any
		for _, c := range d.TableColumns([]uint32{index[0].Version}) {
			var v any
			switch c.Role {
			case dataset.RoleSent:
				v = sent
			case dataset.RoleRow:
				v = row.ID
			case dataset.RoleMessage:
				v = s.id(number)
			case dataset.RoleSending:
				v = time.Now()
			case dataset.RoleDate:
				v = sent.Format(time.DateOnly)
			case dataset.RoleClear:
				if e := event.Values[c.Member]; e.HasVersion {
					v = e.Version
				} else if !e.Null && c.Type != "integer" {
					v = string(e.Canonical)
				}
			case dataset.RoleText:
				if e := event.Values[c.Member]; !e.Null {
					v = string(e.Text)
				}
			case dataset.RoleSealed:
				if m := d.Members[c.Member]; sealed(c.Member) {
					place := row.Place(settings.ID, d, m.Name)
					if v, err = key.Key.Seal(nil, &scratch, &place, m.Protect.Pad, event.Values[c.Member].Text); err != nil {
						t.Fatal(err)
					}
				}
			case dataset.RoleToken:
				if sealed(c.Member) {
					token, reason, err := maker.AppendStored(nil, c.Index, event.Values[c.Member].Text)
					if reason != "" || err != nil {
						t.Fatal(reason, err)
					}
					v = string(token)
				}
			case dataset.RoleReveal:
				if sealed(c.Member) {
					if shown, ok := maker.AppendReveal(nil, c.Member, event.Values[c.Member].Text); ok {
						v = string(shown)
					}
				}
			case dataset.RoleKey:
				if key != nil {
					v = key.ID()
				}
			}
			names, values = append(names, pq.QuoteIdentifier(c.Name)), append(values, v)
			marks = append(marks, fmt.Sprintf("$%d", len(values)))
		}
		if _, err := s.super.Exec(`INSERT INTO cloakroom_data.shops (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(marks, ", ")+`)`, values...); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *shop) apply(t *testing.T, text string) *dataset.Evolution {
	t.Helper()
	applied, err := keys.ApplyDataset(t.Context(), s.url(t), parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return applied.Evolution
}

func (s *shop) url(t *testing.T) string { return s.URL("") }

func quiet(o rotation.Options) rotation.Options {
	o.Log = slog.New(slog.DiscardHandler)
	return o
}

// check opens every value of every row, as the definition in force says it is, and holds the tokens and reveals to it.
func (s *shop) check(t *testing.T) {
	t.Helper()
	report, err := verify.Run(t.Context(), s.vault, verify.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.FailureCount > 0 || report.Rows != s.rows {
		t.Fatalf("verify: %+v", report)
	}
	list, err := s.vault.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := list.Find("shop")
	if err != nil {
		t.Fatal(err)
	}
	settings, err := s.vault.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ring := keys.NewKeyring(s.vault, settings, nil)
	defer ring.Close()
	reveals, err := dataset.NewTokeniser(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	decoder := dataset.NewDecoder(d)
	var scratch envelope.Scratch
	opened := 0
	for n := range s.rows {
		event, _ := decoder.Decode([]byte(shopEvent(n)))
		stored := map[string]any{}
		row := keys.Row{ID: s.rowOf(d, n, event)}
		if err := s.super.QueryRowx(`SELECT * FROM cloakroom_data.shops WHERE row_id = $1`, row.ID).MapScan(stored); err != nil {
			t.Fatal(err)
		}
		row.Date, row.Subject = stored["create_date"].(time.Time), string(event.Subject)
		for i := range d.Members {
			m, want := &d.Members[i], event.Values[i]
			if m.Protect == nil {
				continue
			}
			value, _ := stored[m.SealedColumn()].([]byte)
			if (value == nil) != want.Null {
				// What the older definition sealed was not stored for old rows by this test.
				if n%3 == 0 && (m.Name == "email" || m.Name == "card") && value == nil {
					continue
				}
				t.Fatalf("row %d: %s: sealed %t, sent %t", n, m.Name, value != nil, !want.Null)
			}
			if value == nil {
				continue
			}
			key, err := ring.Key(t.Context(), uint32(stored["data_key"].(int64)))
			if err != nil {
				t.Fatal(err)
			}
			place := row.Place(settings.ID, d, m.Name)
			text, err := key.Open(nil, &scratch, &place, m.Protect.Pad, value)
			if err != nil {
				t.Fatalf("row %d: %s: %v", n, m.Name, err)
			}
			opened++
			if !sameValue(m, &want, string(text)) {
				t.Fatalf("row %d: %s: opens to %q, sent was %q", n, m.Name, text, want.Text)
			}
			if m.Protect.Reveal != "" {
				shown, ok := reveals.AppendReveal(nil, i, want.Text)
				if got, _ := stored[m.RevealColumn()]; ok != (got != nil) || ok && fmt.Sprintf("%s", got) != string(shown) {
					t.Fatalf("row %d: %s shows %s, want %s (%t)", n, m.Name, got, shown, ok)
				}
			}
		}
	}
	if opened == 0 {
		t.Fatal("nothing was opened")
	}
}

// sameValue compares what was sealed out of a clear column with what was sent: the value is the same, its spelling need not be.
func sameValue(m *dataset.Member, sent *dataset.Value, text string) bool {
	if text == string(sent.Text) || text == string(sent.Canonical) {
		return true
	}
	switch m.Type {
	case dataset.JSON, dataset.Timestamp, dataset.Decimal:
		strip := strings.NewReplacer(" ", "", "\n", "", "T", "", "+00:00", "Z").Replace
		return strings.TrimRight(strip(text), "0") == strings.TrimRight(strip(string(sent.Text)), "0") ||
			strings.TrimRight(strings.TrimSuffix(strip(text), "Z"), "0.") == strings.TrimRight(strings.TrimSuffix(strip(string(sent.Text)), "Z"), "0.")
	}
	return false
}

// shape holds the columns of the table and of the view to the definition.
func (s *shop) shape(t *testing.T, text string) {
	t.Helper()
	d := parse(t, text)
	var view, table, invalid []string
	const columns = `SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`
	if err := s.super.Select(&view, columns, "public.shops"); err != nil {
		t.Fatal(err)
	}
	if want := d.ViewColumns(); !slices.Equal(view, want) {
		t.Errorf("the view has %v, want %v", view, want)
	}
	if err := s.super.Select(&table, columns, "cloakroom_data.shops"); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, c := range d.TableColumns([]uint32{1}) {
		want[c.Name] = true
	}
	slices.Sort(table)
	if !slices.Equal(table, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the table has %v, want %v", table, slices.Sorted(maps.Keys(want)))
	}
	if err := s.super.Select(&invalid, `
		SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
		UNION ALL SELECT conname FROM pg_constraint WHERE NOT convalidated`); err != nil || len(invalid) > 0 {
		t.Errorf("not valid: %v, %v", invalid, err)
	}
	var indexed int
	if err := s.super.Get(&indexed, `
		SELECT count(DISTINCT c.column_name) FROM cloakroom.dataset_columns c JOIN pg_attribute a ON a.attname = c.column_name
		  JOIN pg_index x ON x.indrelid = a.attrelid AND x.indkey[0] = a.attnum
		 WHERE c.dataset = 'shop' AND c.kind = 'token' AND a.attrelid = 'cloakroom_data.shops'::regclass`); err != nil || indexed != len(d.Indexes()) {
		t.Errorf("%d of %d token columns are indexed, %v", indexed, len(d.Indexes()), err)
	}
}

// A dataset becomes another with rows in it: members added, widened, indexed more, and sealed that were in clear, in months that
// nobody may store into any more, too.
func TestEvolve(t *testing.T) {
	t.Parallel()
	for name, asOwner := range map[string]bool{"message and months": true, "id and days": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shopBefore, shopAfter := forms[name](shopBefore), forms[name](shopAfter)
			s := newShop(t, shopBefore)
			s.fill(t, 200)
			s.super.MustExec(`CREATE ROLE "` + s.Name() + `_reader"; GRANT SELECT (note) ON public.shops TO "` + s.Name() + `_reader"`)
			t.Cleanup(func() {
				s.super.MustExec(`DROP OWNED BY "` + s.Name() + `_reader"; DROP ROLE "` + s.Name() + `_reader"`)
			})
			if e := s.apply(t, shopAfter); e == nil || len(e.Steps) == 0 {
				t.Fatalf("plan: %+v", e)
			}
			if e := s.apply(t, shopAfter); e == nil {
				t.Error("the same file again does not go on")
			}
			if _, err := keys.ApplyDataset(t.Context(), s.URL(""), parse(t, strings.Replace(shopAfter, "max: 200", "max: 300", 1))); err == nil {
				t.Error("another change was begun meanwhile")
			}
			if _, err := rotation.Reindex(t.Context(), s.vault, quiet(rotation.Options{})); pg.Code(err) != "CR013" {
				t.Errorf("reindex while a dataset is changed: %v", err)
			}
			left, err := rotation.ListUnfinished(t.Context(), s.vault)
			if err != nil || len(left) != 1 || left[0].Step != "evolve" {
				t.Errorf("unfinished: %+v, %v", left, err)
			}
			o := rotation.Options{BatchRows: 30}
			if asOwner {
				o.Owner = s.owner
			}
			report, err := rotation.Rotate(t.Context(), s.vault, quiet(o))
			if err != nil {
				t.Fatalf("%v: %+v", err, report.Quarantined)
			}
			if e := report.Evolved; e.Rows < 200 || len(e.Operator) != 2 || len(e.Remains) == 0 {
				t.Errorf("report: %+v", e)
			}
			s.shape(t, shopAfter)
			s.check(t)
			s.fill(t, 50)
			s.check(t)
			var may bool
			if err := s.super.Get(&may, `SELECT has_column_privilege($1, 'public.shops', 'note', 'SELECT')`, s.Name()+"_reader"); err != nil || !may {
				t.Errorf("the grant is gone: %v", err)
			}
			if applied, err := keys.ApplyDataset(t.Context(), s.URL(""), parse(t, shopAfter)); err != nil || applied.Changed {
				t.Errorf("applied again: %+v, %v", applied, err)
			}
			if report, err = rotation.Evolve(t.Context(), s.vault, quiet(rotation.Options{})); err != nil || report.Evolved != nil {
				t.Errorf("again: %+v, %v", report.Evolved, err)
			}
			// And a reindex works over what was made.
			if _, err := rotation.Reindex(t.Context(), s.vault, quiet(rotation.Options{})); err != nil {
				t.Fatal(err)
			}
			s.check(t)
		})
	}
}

// Values come to mean "none" in rows that are there: they have no token, are no duplicates, and a reindex over them ends.
func TestEvolveNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopBefore)
	s.fill(t, 80)
	email := func() (duplicates, none int) {
		t.Helper()
		if err := s.super.QueryRow(`SELECT (SELECT count(*) FROM public.shops_duplicates WHERE field = 'email'),
			(SELECT count(*) FROM public.shops WHERE masked_email = '-')`).Scan(&duplicates, &none); err != nil {
			t.Fatal(err)
		}
		return
	}
	before, none := email()
	if before != 4 || none != 0 {
		t.Fatalf("%d addresses stand in several rows, %d rows have none", before, none)
	}
	some := strings.Replace(shopBefore, "pad: 32, index: [exact]", `pad: 32, index: [exact], nothing: ["u2@example.org"]`, 1)
	for _, text := range []string{some, shopBefore, some} {
		s.apply(t, text)
		if _, err := rotation.Rotate(t.Context(), s.vault, quiet(rotation.Options{})); err != nil {
			t.Fatal(err)
		}
		s.check(t)
		after, none := email()
		if means := text == some; means != (after == 3) || means != (none > 10) {
			t.Errorf("%d addresses stand in several rows, %d rows have none", after, none)
		}
	}
	if _, err := rotation.Reindex(t.Context(), s.vault, quiet(rotation.Options{})); err != nil {
		t.Fatal(err)
	}
	s.check(t)
	if after, none := email(); after != 3 || none < 10 {
		t.Errorf("after a reindex %d addresses stand in several rows, %d rows have none", after, none)
	}
}

// A change that is refused changes nothing and says why, for each refusal.
func TestEvolveRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopBefore)
	bad := strings.NewReplacer("max: 20}", "max: 10}", "  - {name: gift, type: boolean}\n", "").Replace(shopBefore)
	_, err := keys.ApplyDataset(t.Context(), s.URL(""), parse(t, bad))
	if !errors.Is(err, keys.ErrRefused) || !strings.Contains(err.Error(), "note gets narrower") || !strings.Contains(err.Error(), "gift is dropped") {
		t.Errorf("refusal: %v", err)
	}
	if left, err := rotation.ListUnfinished(t.Context(), s.vault); err != nil || len(left) > 0 {
		t.Errorf("unfinished: %+v, %v", left, err)
	}
}

// A run that is cut off before or after any statement or commit is finished by the next.
func TestEvolveKilledAnywhere(t *testing.T) {
	t.Parallel()
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shopBefore, shopAfter := form(shopBefore), form(shopAfter)
			s := newShop(t, shopBefore)
			s.fill(t, 60)
			s.apply(t, shopAfter)
			places := 0
			for stop := 1; ; stop += 3 {
				ctx, cancel := context.WithCancel(t.Context())
				at := 0
				o := rotation.Options{Workers: 1, BatchRows: 25, Owner: s.owner}.WithHook(func(string) {
					if at++; at == stop {
						cancel()
					}
				})
				_, err := rotation.Evolve(ctx, s.vault, quiet(o))
				cut := ctx.Err() != nil
				cancel()
				if !cut {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				places++
				if stop > 400 {
					t.Fatal("it does not end")
				}
				if stop%2 == 0 {
					s.fill(t, 1) // as a daemon does between two steps
				}
			}
			if places < 10 {
				t.Errorf("it was cut off at %d places", places)
			}
			s.shape(t, shopAfter)
			s.check(t)
		})
	}
}

// A dataset is changed by two rotators at once while a daemon stores events. Its epoch is raised under it: it reads the new
// definition and goes on. No event is lost, and none is left in clear.
func TestEvolveUnderLoad(t *testing.T) {
	t.Parallel()
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shopBefore, shopAfter := form(shopBefore), form(shopAfter)
			s := newShop(t, shopBefore)
			s.id = func(n int) uuid.UUID { return etltest.Message(n, "").ID }
			ingest := s.Env.Vault(t, s.As(t, "ingest", "ingest"))
			writer, err := etl.NewWriter(t.Context(), ingest, []string{"shop"}, keys.Caps{})
			if err != nil {
				t.Fatal(err)
			}
			store := func(n int) {
				var messages []*etl.Message
				for range n {
					messages = append(messages, etltest.Message(s.rows, shopEvent(s.rows)))
					s.rows++
				}
				etltest.Run(t, writer, etltest.NewSource(messages), etl.Options{BatchDelay: time.Millisecond})
			}
			store(300)
			s.apply(t, shopAfter)
			other := s.Env.Vault(t, s.As(t, "rotator2", "rotator"))
			var group errgroup.Group
			for _, v := range []*keys.Vault{s.vault, other} {
				group.Go(func() error {
					_, err := rotation.Evolve(t.Context(), v, quiet(rotation.Options{BatchRows: 20, Rest: -1}))
					return err
				})
			}
			done := make(chan error, 1)
			go func() { done <- group.Wait() }()
			batches := 0
			for running := true; running; batches++ {
				store(10)
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					running = false
				default:
				}
			}
			store(10)
			if batches < 3 {
				t.Errorf("%d batches were stored meanwhile: the test does not try what it means to", batches)
			}
			t.Logf("%d batches meanwhile", batches)
			s.shape(t, shopAfter)
			s.check(t)
		})
	}
}

// What was in clear is not in the server's files once it is sealed and the operator's steps are done, but for what is listed.
func TestProtectLeavesNothingInFiles(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	server := pgtest.Server(t, pgserver.Config{Dir: filepath.Join(dir, "pg")})
	url := func(login string) string { return server.URL(login, "postgres") }
	env := &keystest.Env{KEK: keystest.WriteKEK(t, []byte("cloakroom evolve test: a KEK 32b"))}
	set, err := kek.Open(t.Context(), env.KEK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Init(t.Context(), url(server.SuperUser()), set); err != nil {
		t.Fatal(err)
	}
	super := sqlx.MustConnect("postgres", url(server.SuperUser()))
	t.Cleanup(func() { super.Close() })
	super.MustExec(`CREATE ROLE rotator LOGIN IN ROLE cloakroom_rotator`)
	s := &shop{Env: env, vault: env.Vault(t, url("rotator")), super: super}
	s.begin(t, url(server.SuperUser()), shopBefore)
	s.fill(t, 300)
	super.MustExec(`ANALYZE cloakroom_data.shops`) // The canary is a most common value.
	super.MustExec(`CHECKPOINT`)
	var data string
	if err := super.Get(&data, `SHOW data_directory`); err != nil {
		t.Fatal(err)
	}
	if found := grep(t, data, canary); len(found) < 3 {
		t.Fatalf("before the change the canary is in %v: the test does not try what it means to", found)
	}
	if _, err := keys.ApplyDataset(t.Context(), url(server.SuperUser()), parse(t, shopAfter)); err != nil {
		t.Fatal(err)
	}
	report, err := rotation.Evolve(t.Context(), s.vault, quiet(rotation.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	s.check(t)
	super.MustExec(`CHECKPOINT`)
	if found := grep(t, data, canary); len(found) == 0 {
		t.Error("nothing is left before the operator's steps: they have no purpose")
	}
	for _, step := range report.Evolved.Operator {
		if _, err := super.Exec(step.SQL); err != nil {
			t.Fatalf("%s: %v", step.Title, err)
		}
	}
	super.MustExec(`CHECKPOINT`)
	for _, name := range grep(t, data, canary) {
		// The list of what remains has the WAL, and the server's log.
		if !strings.HasPrefix(name, "pg_wal/") {
			t.Errorf("%s still has what was in clear", name)
		}
	}
	t.Logf("remains: %v; in files: %v", report.Evolved.Remains, grep(t, data, canary))
	s.check(t)
}

// grep names the files below a directory that contain a text.
func grep(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !e.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(content, []byte(text)) {
			name, _ := filepath.Rel(dir, path)
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A view of somebody else's that reads ours stops the change, by name, until it is gone.
func TestEvolveDependentView(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopBefore)
	s.fill(t, 5)
	s.super.MustExec(`CREATE VIEW public.theirs AS SELECT phone FROM public.shops`)
	s.apply(t, shopAfter)
	_, err := rotation.Evolve(t.Context(), s.vault, quiet(rotation.Options{}))
	if err == nil || !strings.Contains(err.Error(), "theirs") {
		t.Errorf("with a view that depends on ours: %v", err)
	}
	s.super.MustExec(`DROP VIEW public.theirs`)
	if _, err := rotation.Evolve(t.Context(), s.vault, quiet(rotation.Options{})); err != nil {
		t.Fatal(err)
	}
	s.shape(t, shopAfter)
	s.check(t)
}

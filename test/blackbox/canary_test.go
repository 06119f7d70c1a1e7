package blackbox

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloakroom/keys/kek"
)

// Canaries: values that stand nowhere but in the events.
const (
	canaryIP     = "203.0.113.77"
	canaryIPv6   = "2001:db8:cafe:77::1"
	canaryDevice = "canary-device-4711"
	canaryBad    = "canary-bad-address"

	canaryEmail  = "canary.4711@shop.example"
	canaryCard   = "4929 1234 4711 9012"
	canaryClient = "198.51.100.77" // its network may be shown
	canaryStreet = "canary street 4711"
	canaryBorn   = "1913-11-12"
)

// canaryEvents are good and bad in every way that reaches another part of the product.
func canaryEvents() []string {
	event := func(user, ip, device, rest string) string {
		return fmt.Sprintf(`{"user_id":%q,"ip":%q,"device_id":%q%s}`, user, ip, device, rest)
	}
	return []string{
		event("u1", canaryIP, canaryDevice, ""),
		event("u2", canaryIPv6, canaryDevice, `,"app_version":"2.3.0"`),
		event("u3", canaryIP+" ", canaryDevice, ""),                                                    // bad_ip
		event("u4", canaryBad, canaryDevice, ""),                                                       // bad_ip
		event("u5", canaryIP, strings.Repeat(canaryDevice, 100), ""),                                   // too_long
		event("u6", canaryIP, canaryDevice, `,"app_version":"1.2.3-beta"`),                             // optional: a row without it
		event("u7", canaryIP, canaryDevice, `,"locale":17`),                                            // optional: a row without it
		event("u8", canaryIP, canaryDevice+"\x00", ""),                                                 // a Go escape: not_json
		strings.Replace(event("u9", canaryIP, canaryDevice, ""), `"}`, `\u0000"}`, 1),                  // nul
		event("u10", canaryIP, canaryDevice, `,"ip":"`+canaryIPv6+`"`),                                 // duplicate_member
		canaryIP + " " + canaryDevice,                                                                  // not_json
		`["` + canaryIP + `","` + canaryDevice + `"]`,                                                  // not_object
		"{\"user_id\":\"u11\",\"ip\":\"" + canaryIP + "\xff\",\"device_id\":\"" + canaryDevice + "\"}", // invalid_utf8
		event("refused-by-the-database", canaryIP, canaryDevice, ""),                                   // db_data
		event("refused-by-a-trigger", canaryIP, canaryDevice, ""),                                      // db_data, class 22
	}
}

// canaryOrders are as canaryEvents, of a dataset with an id, several indexes, values that show a part, and some that are
// sealed alone.
func canaryOrders() []string {
	order := func(id, rest string) string {
		return fmt.Sprintf(`{"kind":"order","order_id":%q,"customer":{"id":"00000000-0000-4000-8000-000000004711","email":%q},`+
			`"placed_at":%q,"payment":{"card.number":%q},"client":%q,"address":{"street":%q},"born_on":%q%s}`, id, canaryEmail,
			time.Now().UTC().Add(-time.Hour).Format(time.RFC3339), canaryCard, canaryClient, canaryStreet, canaryBorn, rest)
	}
	good := order("o-1", `,"items":1,"status":"paid"`)
	return []string{
		good,
		order("o-2", `,"items":1,"status":"`+canaryCard+`"`),                                         // optional, and not listed: a row without it
		strings.Replace(order("o-3", `,"items":1`), canaryClient, canaryClient+".1", 1),              // optional: a row without it
		strings.Replace(order("o-4", `,"items":1`), canaryEmail, strings.Repeat(canaryEmail, 20), 1), // optional: a row without it
		strings.Replace(order("o-5", `,"items":1`), canaryCard, "none", 1),                           // missing_field: nothing is left of the card
		strings.Replace(order("o-6", `,"items":1`), canaryCard, strings.Repeat(canaryCard, 20), 1),   // too_long
		order("o-7", ``), // missing_field
		order("o-8", `,"items":"`+canaryCard+`"`),                                                           // bad_format, or wrong_type
		strings.Replace(order("o-9", `,"items":1`), "00000000-0000-4000-8000-000000004711", canaryEmail, 1), // bad_format: no subject
		strings.Replace(good, `"kind":"order"`, `"kind":"`+canaryEmail+`"`, 1),                              // unknown_dataset
		order("refused-by-the-database", `,"items":1`),                                                      // db_data
	}
}

// No protected value and no key byte in clear, anywhere but in memory: not in Postgres's log at its most talkative, its
// files, a dump, nor in what our programs print and log at debug level.
func TestNothingInClear(t *testing.T) {
	s := newSite(t, map[string]string{
		"log_statement": "all", "log_min_duration_statement": "0", "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1",
		"log_min_messages": "debug1", "log_min_error_statement": "debug5", "log_error_verbosity": "verbose",
		"log_connections": "on", "log_disconnections": "on", "log_lock_waits": "on", "log_temp_files": "0", "log_replication_commands": "on",
		"wal_level": "logical", "autovacuum": "off",
	})
	// The database itself refuses rows, in ways of which its log tells in detail.
	s.admin.MustExec(
		`ALTER TABLE cloakroom_data.user_logins ADD CONSTRAINT refusing CHECK (user_id <> 'refused-by-the-database')`)
	s.admin.MustExec(
		`ALTER TABLE cloakroom_data.orders ADD CONSTRAINT refusing CHECK (order_id <> 'refused-by-the-database')`)
	s.admin.MustExec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF NEW.user_id = 'refused-by-a-trigger' THEN RAISE division_by_zero; END IF; RETURN NEW; END $$`)
	s.admin.MustExec(
		`CREATE TRIGGER refuse BEFORE INSERT ON cloakroom_data.user_logins FOR EACH ROW EXECUTE FUNCTION public.refuse()`)

	file, orders := filepath.Join(t.TempDir(), "events.jsonl"), filepath.Join(t.TempDir(), "orders.jsonl")
	for path, events := range map[string][]string{file: canaryEvents(), orders: canaryOrders()} {
		if err := os.WriteFile(path, []byte(strings.Join(events, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logins, routed := []string{"--dataset", "login"}, []string{"--dataset", "order", "--route", "member:kind"}
	from := func(path string, of []string, more ...string) []string {
		return slices.Concat([]string{"--from", path}, of, more)
	}
	s.must("ingest", "ingest", from(file, logins)...)
	s.must("ingest", "ingest", from(file, logins, "--json", "--log-format", "json")...)
	s.must("ingest", "ingest", from(orders, routed)...)
	s.must("ingest", "ingest", from(orders, routed, "--json", "--log-format", "json")...)
	s.must("ingest", "ingest", from(orders, routed, "--dry-run")...)
	s.run("ingest", "ingest", from(filepath.Join(t.TempDir(), "missing"), logins)...)
	s.run("ingest", "ingest", "rejections")
	s.run("ingest", "ingest", "config")
	s.run("ingest", "ingest", "check")
	s.run("postgres", "keys", "dataset", "show", "order")
	s.run("rotator", "keys", "status", "--json")
	s.run("rotator", "keys", "list")
	s.must("rotator", "keys", "verify", "--all")
	// What goes wrong may print more. The events are in doubt: the database hangs up in the middle.
	s.admin.MustExec(`DROP TRIGGER refuse ON cloakroom_data.user_logins`)
	s.admin.MustExec(`CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$`)
	s.admin.MustExec(
		`CREATE TRIGGER refuse BEFORE INSERT ON cloakroom_data.user_logins FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
	s.run("ingest", "ingest", from(file, logins, "--source", "again", "--max-outage", "1s")...)

	for query, want := range map[string]int{
		`SELECT count(*) FROM cloakroom_data.user_logins`:                                                  4,
		`SELECT count(*) FROM cloakroom_data.orders`:                                                       4,
		`SELECT count(*) FROM cloakroom_data.orders WHERE client__network IS NULL OR sealed_email IS NULL`: 2,
		`SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'login'`:                                11,
		`SELECT count(*) FROM cloakroom.rejections WHERE dataset = 'order'`:                                7,
		`SELECT count(*) FROM cloakroom.rejections WHERE reason = 'db_data'`:                               3,
		`SELECT count(*) FROM cloakroom.rejections WHERE reason = 'unknown_dataset'`:                       1,
	} {
		if n := s.count(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}

	needles := map[string]string{}
	for name, value := range map[string]string{"an ip": canaryIP, "an IPv6": canaryIPv6, "a device_id": canaryDevice, "a bad ip": canaryBad,
		"an email": canaryEmail, "a card": canaryCard, "a card's digits": strings.ReplaceAll(canaryCard, " ", ""),
		"a client's address": canaryClient, "an address": canaryStreet, "a birthday": canaryBorn} {
		needles[name] = value
		needles[name+" in base64"] = base64.RawStdEncoding.EncodeToString([]byte(value))[:len(value)]
		needles[name+" in hex"] = hex.EncodeToString([]byte(value))
	}
	for name, key := range clearKeys(t, s) {
		needles[name] = string(key)
		needles[name+" in hex"] = hex.EncodeToString(key)
		needles[name+" in base64"] = base64.RawStdEncoding.EncodeToString(key)
		needles[name+" in base64url"] = base64.RawURLEncoding.EncodeToString(key)
	}
	s.admin.MustExec(`CHECKPOINT`)
	places := s.files("base", "pg_wal", "log")
	places["pg_dump"] = s.dump()
	places["the programs"] = s.said.String()
	rejected := 0 // files that hold the subject of a rejection: what is stored is searched
	for place, text := range places {
		if strings.Contains(place, "base") && strings.Contains(text, "refused-by-a-trigger") {
			rejected++
		}
	}
	log := places[s.LogPath()]
	if !strings.Contains(log, "cloakroom.load") || !strings.Contains(log, "refused-by-the-database") ||
		!strings.Contains(s.said.String(), "15 received") || !strings.Contains(s.said.String(), "11 received") ||
		rejected == 0 {
		t.Error("the logs and files do not tell of the run: this test proves nothing")
	}
	for place, text := range places {
		for name, needle := range needles {
			if at := strings.Index(text, needle); at >= 0 {
				t.Errorf("%s stands in %s: …%q…", name, place, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// clearKeys are all keys of a site in the clear.
func clearKeys(t *testing.T, s *site) map[string][]byte {
	t.Helper()
	set, err := kek.Open(t.Context(), "file://"+s.kek)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.kek)
	if err != nil {
		t.Fatal(err)
	}
	file, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{"the KEK": file}
	var rows []struct {
		Purpose, Vault string
		ID             uint32
		KEK            string
		KEKID          string `db:"kek_id"`
		Wrapped        []byte
	}
	if err := s.admin.Select(&rows, `
		SELECT 'seal' AS purpose, vault_id AS vault, k.id, k.kek, k.kek_id, k.wrapped FROM cloakroom.data_keys k, cloakroom.settings
		UNION ALL SELECT 'index', vault_id, k.version, k.kek, k.kek_id, k.wrapped FROM cloakroom.index_keys k, cloakroom.settings`); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		c := kek.Binding{Purpose: kek.Purpose(r.Purpose), Key: r.ID}
		if err := c.Vault.UnmarshalText([]byte(r.Vault)); err != nil {
			t.Fatal(err)
		}
		key, err := set.Unwrap(t.Context(), kek.Wrapped{KEK: r.KEK, KEKID: r.KEKID, Blob: r.Wrapped}, c)
		if err != nil {
			t.Fatal(err)
		}
		out[c.String()] = key.Expose()
	}
	if len(out) < 4 {
		t.Fatalf("%d keys, want the KEK, a data key of each dataset and the index key", len(out))
	}
	return out
}

package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"cloakroom/dataset"
)

// exampleResults are what an example's commands must leave: the rows and rejections of its dataset, and of one query of an
// analyst.
var exampleResults = map[string]struct {
	dataset, table   string
	rows, rejections int
	opened           []string // values that the request opens, as they were sent
	query, want      string
}{
	"orders": {
		"order", "orders", 60, 2,
		[]string{`"Donald.Ejemplo16@example.com"`, `"+49-170-5552386"`, `"street":"Example Road 79"`},
		// Two spellings of a card have one token; none is in no duplicates.
		`SELECT count(DISTINCT masked_card_number)::text || ' ' || (SELECT count(*) FROM orders_duplicates WHERE token = '-') ||
		  ' ' || string_agg(DISTINCT email__domain, ',' ORDER BY email__domain) FROM orders`,
		"20 0 example.com,example.org,mail.example.net",
	},
	"logins": {
		"signin", "signins", 49, 2, []string{`"device_id":`, `"ip":`},
		`SELECT count(DISTINCT masked_device_id) || ' ' || count(DISTINCT masked_ip) || ' ' || count(DISTINCT ip__network) FROM signins`,
		"15 14 5", // 14 devices, and the token of unknown
	},
	"access": {
		"access", "access_log", 80, 1, []string{`"2001:db8:3::c"`},
		`SELECT count(DISTINCT masked_remote_addr) || ' ' || count(DISTINCT masked_remote_addr__prefix24) FROM access_log`,
		"65 8",
	},
}

// Each example's commands run as its page has them, take its events in, and get values out again.
func TestExamples(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(root, "examples", "*", "dataset.yaml"))
	if err != nil || len(found) != len(examples) || len(exampleResults) != len(examples) {
		t.Fatalf("examples: %v (%v), and %d have results", found, err, len(exampleResults))
	}
	s := newScene(t)
	for _, name := range examples {
		t.Run(name, func(t *testing.T) {
			one := *s
			one.T, one.dir = t, t.TempDir()
			if err := os.CopyFS(one.dir, os.DirFS(filepath.Join(root, "examples", name))); err != nil {
				t.Fatal(err)
			}
			one.example(name)
		})
	}
	// One of the datasets has no subject, and two have ids: their rows are sealed again and verified like any others.
	s.must("rotator", "keys rotate --force && keys verify --all")
}

func (s *scene) example(name string) {
	opened := ""
	var ran []string
	for _, line := range shLines(s.T, "examples/"+name+"/README.md") {
		words := strings.Fields(line.text)
		ran = append(ran, strings.Join(words[:2], " "))
		if strings.HasPrefix(line.text, "recover open") {
			opened = s.must("auditor", id.ReplaceAllString(line.text, s.request)+" --allow-pipe")
			continue
		}
		s.run(line.text)
	}
	want := []string{"keys dataset", "keys dataset", "ingest test", "keys dataset", "ingest --from", "recover request",
		"recover approve", "recover open"}
	if !slices.Equal(ran, want) {
		s.Errorf("the page shows %v, want %v", ran, want)
	}
	result := exampleResults[name]
	for _, value := range result.opened {
		if !strings.Contains(opened, value) {
			s.Errorf("recover open does not show %s: %s", value, opened)
		}
	}
	db, err := sqlx.Open("postgres", s.env["DATABASE_URL"])
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	var rows, rejections int
	if err := db.Get(&rows, "SELECT count(*) FROM cloakroom_data."+result.table); err != nil || rows != result.rows {
		s.Errorf("%d rows (%v), want %d", rows, err, result.rows)
	}
	if err := db.Get(&rejections, "SELECT count(*) FROM cloakroom.rejections WHERE dataset = $1", result.dataset); err != nil ||
		rejections != result.rejections {
		s.Errorf("%d rejections (%v), want %d", rejections, err, result.rejections)
	}
	var got string
	if err := db.Get(&got, result.query); err != nil || got != result.want {
		s.Errorf("%s: %q (%v), want %q", result.query, got, err, result.want)
	}
	// What ingest test said is what became of it.
	tried := s.must("", "ingest test dataset.yaml --from "+name+".jsonl || [ $? -eq 1 ]")
	for _, said := range []string{fmt.Sprintf("%d would be stored", result.rows), fmt.Sprintf("%d rejected", result.rejections)} {
		if !strings.Contains(tried, said) {
			s.Errorf("ingest test does not say %q: %s", said, tried)
		}
	}
	// The dataset is the draft, edited: nothing that the draft sealed stands in clear.
	for _, sealed := range sealedIn(s, "draft.yaml") {
		if !slices.Contains(sealedIn(s, "dataset.yaml"), sealed) {
			s.Errorf("dataset.yaml does not seal %s, which the draft seals", sealed)
		}
	}
}

// sealedIn are the members that a definition protects.
func sealedIn(s *scene, file string) []string {
	text, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		s.Fatal(err)
	}
	d, err := dataset.Parse(text)
	if err != nil {
		s.Fatal(err)
	}
	var names []string
	for _, m := range d.Protected() {
		names = append(names, m.Name)
	}
	if len(names) == 0 {
		s.Errorf("%s protects nothing", file)
	}
	return names
}

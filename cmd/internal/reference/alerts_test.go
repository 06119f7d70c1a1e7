package reference

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"cloakroom/cmd/keys/keyscmd"
)

// dashboard is what a test reads of Grafana's JSON.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
	Templating struct{ List []struct{ Query string } }
}

// rules is what a test reads of Prometheus's rule file.
type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Annotations map[string]string
		}
	}
}

// Every query of the dashboard and of the alerts names metrics that ingest or the rotation has.
func TestDashboardAndAlertsNameWhatExists(t *testing.T) {
	names := map[string]bool{}
	for _, m := range slices.Concat(ingestMetrics(t), metricsOf(t, keyscmd.Metrics())) {
		names[m.Name] = true
		if m.Type == "histogram" {
			names[m.Name+"_bucket"], names[m.Name+"_sum"], names[m.Name+"_count"] = true, true, true
		}
	}
	metric := regexp.MustCompile(`\bcloakroom_[a-z0-9_]+`)
	check := func(where, query string) {
		t.Helper()
		found := metric.FindAllString(query, -1)
		if len(found) == 0 {
			t.Errorf("%s: %q names no metric of cloakroom", where, query)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
	}
	var d dashboard
	if err := json.Unmarshal(read(t, "../../../deploy/grafana/ingest.json"), &d); err != nil {
		t.Fatal(err)
	}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			check("panel "+panel.Title, target.Expr)
		}
	}
	var r rules
	if err := yaml.Unmarshal(read(t, "../../../deploy/prometheus/alerts.yaml"), &r); err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, group := range r.Groups {
		for _, rule := range group.Rules {
			alerts++
			check("alert "+rule.Alert, rule.Expr)
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %s does not say what to do", rule.Alert)
			}
		}
	}
	if len(d.Panels) < 10 || alerts < 5 {
		t.Errorf("read %d panels and %d alerts: too few to be the files", len(d.Panels), alerts)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

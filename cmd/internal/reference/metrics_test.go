package reference

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cloakroom/etl/metrics"
)

// metric is a metric as a scrape shows it.
type metric struct {
	Name, Type, Help string
	Labels           []described // with the values that are there from the start
}

func ingestMetrics(t *testing.T) []metric {
	t.Helper()
	m := metrics.New()
	m.Queue("q").Held(func() int { return 0 })
	m.DataKeys(func() (time.Duration, uint64) { return 0, 0 })
	return metricsOf(t, m)
}

// description is how a prometheus.Desc prints itself, which is the only way to read it.
var description = regexp.MustCompile(`fqName: "(\w+)", help: "(.*?)", .*variableLabels: \{(.*?)\}`)

// metricsOf are our metrics of a collector; the Go runtime's are left out. A metric without a series
// is found, too: its name says what it is.
func metricsOf(t *testing.T, c prometheus.Collector) []metric {
	t.Helper()
	all := map[string]metric{}
	descriptions := make(chan *prometheus.Desc)
	go func() { c.Describe(descriptions); close(descriptions) }()
	for d := range descriptions {
		if !strings.Contains(d.String(), `fqName: "cloakroom_`) {
			continue
		}
		parts := description.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("%s: not as expected", d)
		}
		m := metric{Name: parts[1], Help: parts[2]}
		for name := range strings.SplitSeq(parts[3], ",") {
			if name != "" {
				m.Labels = append(m.Labels, described{Name: name})
			}
		}
		switch {
		case strings.HasSuffix(m.Name, "_total"):
			m.Type = "counter"
		case strings.HasPrefix(m.Name, "cloakroom_index_"):
			m.Type = "gauge"
		}
		all[m.Name] = m
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		m, ours := all[family.GetName()]
		if !ours {
			continue
		}
		m.Type = strings.ToLower(family.GetType().String())
		values := map[string]map[string]bool{}
		for _, series := range family.GetMetric() {
			for _, l := range series.GetLabel() {
				if values[l.GetName()] == nil {
					values[l.GetName()] = map[string]bool{}
				}
				values[l.GetName()][l.GetValue()] = true
			}
		}
		for i := range m.Labels {
			m.Labels[i].Meaning = strings.Join(slices.Sorted(maps.Keys(values[m.Labels[i].Name])), ", ")
		}
		all[m.Name] = m
	}
	for name, m := range all {
		if m.Type == "" {
			t.Errorf("the type of %s is not known: it has no series yet", name)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b metric) int { return strings.Compare(a.Name, b.Name) })
}

package keyscmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"cloakroom/dataset/leakage"
	"cloakroom/keys"
	"cloakroom/keys/rotation"
)

// textfile is a file for node_exporter's textfile collector: a job that cron starts has nothing to
// be scraped. Counters go on from what the file says, so that they are counters although every run
// is a process of its own. Two runs at once: the last one's stand.
type textfile struct {
	path     string // empty: none
	command  string
	registry *prometheus.Registry

	rows, keys                             *prometheus.CounterVec
	lastRun, lastSuccess, seconds, problem *prometheus.GaugeVec
	givesAway, measured, accepted          *prometheus.GaugeVec // by index
}

// newTextfile reads what an earlier run left at a path, before anything is done: a wrong name, a
// directory that is not there or a file that is not ours is an error at the start.
func newTextfile(path, command string) (*textfile, error) {
	t := makeTextfile(path, command)
	if path == "" {
		return t, nil
	}
	if filepath.Ext(path) != ".prom" {
		return nil, fmt.Errorf("--metrics-file %s: node_exporter reads files whose names end in .prom, and no others", path)
	}
	return t, t.resume()
}

// Metrics are what --metrics-file holds after a run of keys rotate that found nothing to do, for the
// reference page.
func Metrics() prometheus.Collector {
	t := makeTextfile("", "rotate")
	t.add(&rotation.Report{}, false)
	return t.registry
}

func makeTextfile(path, command string) *textfile {
	t := &textfile{path: path, command: command, registry: prometheus.NewRegistry()}
	counter := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		t.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"command"})
		t.registry.MustRegister(g)
		return g
	}
	t.rows = counter("cloakroom_rotation_rows_total", "Rows and rejections that a step of the rotation changed.", "step")
	t.keys = counter("cloakroom_rotation_keys_total", "Keys that a step of the rotation changed.", "step")
	t.lastRun = gauge("cloakroom_rotation_last_run_timestamp_seconds", "When the command last ended, however it did.")
	t.lastSuccess = gauge("cloakroom_rotation_last_success_timestamp_seconds",
		"When the command last ended with nothing left to do.")
	t.seconds = gauge("cloakroom_rotation_duration_seconds", "How long the command last took.")
	t.problem = gauge("cloakroom_rotation_quarantined_rows", "Rows that did not open when the command last ran.")
	byIndex := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, indexLabels)
		t.registry.MustRegister(g)
		return g
	}
	t.givesAway = byIndex("cloakroom_index_gives_away_ratio",
		"Share of rows whose value is guessed right by who knows how often each occurs. Absent while rows are too few.")
	t.measured = byIndex("cloakroom_index_measured_timestamp_seconds", "When that was last measured.")
	t.accepted = byIndex("cloakroom_index_leakage_accepted",
		"1 if it was accepted with a reason, whatever it gives away.")
	return t
}

// indexLabels name an index.
var indexLabels = []string{"dataset", "member", "index"}

// addLeakage takes over what the vault has. An index that is gone has no series any more.
func (t *textfile) addLeakage(list []keys.IndexLeakage) {
	t.givesAway.Reset()
	t.measured.Reset()
	t.accepted.Reset()
	for _, l := range list {
		if l.MeasuredAt != nil && !leakage.TooFewRows(l.Rows, l.Halves) {
			t.givesAway.WithLabelValues(l.Dataset, l.Member, l.Index).Set(l.GivesAway)
			t.measured.WithLabelValues(l.Dataset, l.Member, l.Index).Set(float64(l.MeasuredAt.Unix()))
			t.accepted.WithLabelValues(l.Dataset, l.Member, l.Index).Set(map[bool]float64{true: 1}[l.Accepted != ""])
		}
	}
}

// resume takes over what the file says, of this command and of others.
func (t *textfile) resume() error {
	if info, err := os.Stat(filepath.Dir(t.path)); err != nil || !info.IsDir() {
		return fmt.Errorf("--metrics-file %s: there is no such directory", t.path)
	}
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading --metrics-file: %w", err)
	}
	defer f.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(f)
	if err != nil {
		return fmt.Errorf("reading --metrics-file %s: %w: it is not ours, or damaged; remove it", t.path, err)
	}
	for name, into := range map[string]*prometheus.CounterVec{
		"cloakroom_rotation_rows_total": t.rows, "cloakroom_rotation_keys_total": t.keys,
	} {
		for _, m := range families[name].GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetCounter().GetValue() >= 0 {
				into.WithLabelValues(m.GetLabel()[0].GetValue()).Add(m.GetCounter().GetValue())
			}
		}
	}
	for name, into := range map[string]*prometheus.GaugeVec{
		"cloakroom_index_gives_away_ratio": t.givesAway, "cloakroom_index_measured_timestamp_seconds": t.measured,
		"cloakroom_index_leakage_accepted": t.accepted,
	} {
		for _, m := range families[name].GetMetric() {
			labels := prometheus.Labels{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if g, err := into.GetMetricWith(labels); err == nil {
				g.Set(m.GetGauge().GetValue())
			}
		}
	}
	for name, into := range map[string]*prometheus.GaugeVec{
		"cloakroom_rotation_last_run_timestamp_seconds":     t.lastRun,
		"cloakroom_rotation_last_success_timestamp_seconds": t.lastSuccess,
		"cloakroom_rotation_duration_seconds":               t.seconds,
		"cloakroom_rotation_quarantined_rows":               t.problem,
	} {
		for _, m := range families[name].GetMetric() {
			if len(m.GetLabel()) == 1 {
				into.WithLabelValues(m.GetLabel()[0].GetValue()).Set(m.GetGauge().GetValue())
			}
		}
	}
	return nil
}

// write adds what a run did to the file. A dry run did nothing.
func (t *textfile) write(r *rotation.Report, failed bool) error {
	if t.path == "" || r.DryRun {
		return nil
	}
	t.add(r, failed)
	// Written beside it and renamed: the collector never reads half a file.
	if err := prometheus.WriteToTextfile(t.path, t.registry); err != nil {
		return fmt.Errorf("writing --metrics-file: %w; what the job did stands", err)
	}
	return nil
}

func (t *textfile) add(r *rotation.Report, failed bool) {
	reindexed := int64(0)
	if r.Reindexed != nil {
		reindexed = r.Reindexed.Rows
	}
	for step, n := range map[string]int64{
		"reseal": r.Resealed, "reseal_rejections": r.Rejections, "reindex": reindexed,
		"clear": r.Cleared, "clear_rejections": r.ClearedRejections, "purge": r.Purged,
	} {
		t.rows.WithLabelValues(step).Add(float64(n))
	}
	for step, n := range map[string]int{
		"rewrap": r.Rewrapped, "close": len(r.Closed), "retire": len(r.Retired), "shred": len(r.Shredded),
	} {
		t.keys.WithLabelValues(step).Add(float64(n))
	}
	if r.Leakage != nil {
		t.addLeakage(r.Leakage)
	}
	now := float64(time.Now().Unix())
	t.lastRun.WithLabelValues(t.command).Set(now)
	if !failed {
		t.lastSuccess.WithLabelValues(t.command).Set(now)
	}
	t.seconds.WithLabelValues(t.command).Set(r.Seconds)
	t.problem.WithLabelValues(t.command).Set(float64(len(r.Quarantined)))
}

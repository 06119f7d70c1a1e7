// Package metrics keeps the daemon's Prometheus metrics. Units are base units; no label holds an id
// or a value.
package metrics

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cloakroom/etl"
	"cloakroom/keys/kek"
)

// Metrics observes a run, its queue and its KEK.
type Metrics struct {
	registry *prometheus.Registry

	received, ignored               *prometheus.CounterVec
	committed, duplicates, rejected *prometheus.CounterVec
	dropped                         *prometheus.CounterVec
	sqsRequests                     *prometheus.CounterVec
	sqsSeconds                      *prometheus.HistogramVec
	extensions                      *prometheus.CounterVec
	lag, batchRows, batchSeconds    prometheus.Histogram
	kmsRequests                     *prometheus.CounterVec
}

// New makes the metrics on a registry of their own.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cloakroom_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "cloakroom_" + name, Help: help, Buckets: buckets})
	}
	m.received = counters("messages_received_total", "Messages received from the queue, redeliveries included.", "queue")
	m.ignored = counters("messages_ignored_total", "Messages deleted that are no events: s3:TestEvent.", "queue")
	m.committed = counters("events_committed_total", "Events stored as rows.", "dataset")
	m.duplicates = counters("events_duplicate_total", "Events dropped because they were stored already.", "dataset")
	m.rejected = counters("events_rejected_total", "Events stored as rejections, by reason code.", "dataset", "reason")
	m.dropped = counters("members_dropped_total", "Optional members stored as NULL because they could not be read.",
		"dataset", "member", "reason")
	m.sqsRequests = counters("sqs_requests_total", "Calls to SQS.", "queue", "op", "outcome")
	m.sqsSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "cloakroom_sqs_request_duration_seconds", Help: "Duration of calls to SQS; a receive includes its long poll.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 5, 20, 30},
	}, []string{"queue", "op"})
	m.extensions = counters("visibility_extensions_total", "Messages whose visibility was to be extended.", "queue",
		"outcome")
	m.lag = histogram("end_to_end_lag_seconds", "From an event's sending to its commit.",
		[]float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400})
	m.batchRows = histogram("batch_rows", "Events in a committed batch.", []float64{1, 10, 50, 100, 500, 1000, 2000, 5000})
	m.batchSeconds = histogram("batch_commit_duration_seconds", "From the first try to load a batch to its commit.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600})
	m.kmsRequests = counters("kms_requests_total", "Calls to the KEK.", "op", "outcome")
	m.begin()
	m.registry.MustRegister(m.received, m.ignored, m.committed, m.duplicates, m.rejected, m.dropped,
		m.sqsRequests, m.sqsSeconds, m.extensions,
		m.lag, m.batchRows, m.batchSeconds, m.kmsRequests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Datasets makes the series of datasets before their first event, as begin does.
func (m *Metrics) Datasets(names []string) {
	for _, name := range names {
		m.committed.WithLabelValues(name)
		m.duplicates.WithLabelValues(name)
		for _, reason := range etl.Reasons() {
			m.rejected.WithLabelValues(name, string(reason))
		}
	}
}

// begin makes the series that alerts and dashboards ask for before their first event: a rate over a
// series that begins at 1 misses the first.
func (m *Metrics) begin() {
	for _, result := range []string{"ok", "failed", "denied", "disabled", "invalid"} {
		m.kmsRequests.WithLabelValues("GenerateDataKey", result)
		m.kmsRequests.WithLabelValues("Unwrap", result)
	}
}

// Queue are the metrics of one queue. It implements queue.Observer.
type Queue struct {
	m    *Metrics
	name string
}

// Queue makes the series of a queue before its first message.
func (m *Metrics) Queue(name string) *Queue {
	m.received.WithLabelValues(name)
	m.ignored.WithLabelValues(name)
	for _, result := range []string{"ok", "failed"} {
		m.extensions.WithLabelValues(name, result)
		for _, op := range []string{"ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"} {
			m.sqsRequests.WithLabelValues(name, op, result)
			m.sqsSeconds.WithLabelValues(name, op)
		}
	}
	return &Queue{m, name}
}

// SQSRequest implements queue.Observer.
func (q *Queue) SQSRequest(operation string, err error, took time.Duration) {
	q.m.sqsRequests.WithLabelValues(q.name, operation, outcome(err)).Inc()
	q.m.sqsSeconds.WithLabelValues(q.name, operation).Observe(took.Seconds())
}

// Extended implements queue.Observer.
func (q *Queue) Extended(messages, failed int) {
	q.m.extensions.WithLabelValues(q.name, "ok").Add(float64(messages))
	q.m.extensions.WithLabelValues(q.name, "failed").Add(float64(failed))
}

// Held registers how many messages are held, which is read when it is scraped.
func (q *Queue) Held(held func() int) {
	q.m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cloakroom_messages_in_flight", Help: "Messages received and not yet deleted.",
		ConstLabels: prometheus.Labels{"queue": q.name},
	}, func() float64 { return float64(held()) }))
}

// DataKeys registers what is known of the data keys in hand, which is read when it is scraped.
func (m *Metrics) DataKeys(dataKey func() (age time.Duration, seals uint64)) {
	gauge := func(name, help string, f func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cloakroom_" + name, Help: help}, f))
	}
	gauge("data_key_age_seconds", "Age of the oldest data key in hand.", func() float64 {
		age, _ := dataKey()
		return age.Seconds()
	})
	gauge("data_key_seals", "Values sealed so far under the data keys in hand.", func() float64 {
		_, seals := dataKey()
		return float64(seals)
	})
}

// Describe implements prometheus.Collector, as Collect does: together they say what metrics there
// are.
func (m *Metrics) Describe(c chan<- *prometheus.Desc) { m.registry.Describe(c) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(c chan<- prometheus.Metric) { m.registry.Collect(c) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Received implements etl.Observer.
func (m *Metrics) Received(queue string, messages int) {
	m.received.WithLabelValues(queue).Add(float64(messages))
}

// BatchCommitted implements etl.Observer.
func (m *Metrics) BatchCommitted(queue string, messages []*etl.Message, took time.Duration, c etl.Counts) {
	if c.Ignored > 0 {
		m.ignored.WithLabelValues(queue).Add(float64(c.Ignored))
	}
	for name, of := range c.Datasets {
		m.committed.WithLabelValues(name).Add(float64(of.Stored))
		m.duplicates.WithLabelValues(name).Add(float64(of.Duplicates))
		for reason, n := range of.Rejections {
			m.rejected.WithLabelValues(name, string(reason)).Add(float64(n))
		}
		for d, n := range of.Dropped {
			m.dropped.WithLabelValues(name, d.Member, string(d.Reason)).Add(float64(n))
		}
	}
	m.batchRows.Observe(float64(len(messages)))
	m.batchSeconds.Observe(took.Seconds())
	// One observation a batch: its oldest event's.
	var oldest time.Time
	for _, message := range messages {
		if !message.DayOnly && (oldest.IsZero() || message.Sent.Before(oldest)) {
			oldest = message.Sent
		}
	}
	if !oldest.IsZero() {
		m.lag.Observe(max(0, time.Since(oldest).Seconds()))
	}
}

// KEKRequest implements kek.Observer.
func (m *Metrics) KEKRequest(operation string, err error) {
	m.kmsRequests.WithLabelValues(operation, outcome(err)).Inc()
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, kek.ErrDenied):
		return "denied"
	case errors.Is(err, kek.ErrDisabled), errors.Is(err, kek.ErrNotFound):
		return "disabled"
	case errors.Is(err, kek.ErrUnwrap):
		return "invalid"
	}
	return "failed"
}

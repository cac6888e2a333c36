package relay

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the relay's Prometheus metrics. Those of the hot path are looked up once.
type metrics struct {
	fromClient, toPrimary, fromPrimary, toClient prometheus.Counter

	won, lost, overBudget prometheus.Counter
	heldBack              prometheus.Counter

	limitedRate, limitedAddress, limitedAll prometheus.Counter

	size, response, proxy, copies, stray, late, unanswered, unreachable, send, socket prometheus.Counter

	seconds *prometheus.HistogramVec
	batch   prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, pending func() float64) (*metrics, error) {
	datagrams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zonekeeper_relay_datagrams_total",
		Help: "Datagrams that the relay has received and sent, by direction.",
	}, []string{"direction"})
	hedges := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zonekeeper_relay_hedges_total",
		Help: "Requests for which another primary was asked: it answered first (won), the first one did (lost), or the budget forbade it (budget).",
	}, []string{"result"})
	heldBack := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "zonekeeper_relay_held_back_total",
		Help: "SERVFAIL to an update that was kept from the client, because another primary may have applied it.",
	})
	limited := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zonekeeper_relay_limited_total",
		Help: "Datagrams dropped by a limit: of one address a second (rate), waiting of one address (pending_address), waiting in all (pending).",
	}, []string{"reason"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zonekeeper_relay_dropped_total",
		Help: "Datagrams, or requests (unanswered), that ended here, by reason; unreachable were answered by the front itself.",
	}, []string{"reason"})
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "zonekeeper_relay_answer_seconds",
			Help:    "Time from asking a primary to its answer.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 2, 16), // 100 µs to 3.3 s
		}, []string{"primary"}),
	}
	batch := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "zonekeeper_relay_batch_size",
		Help:    "Datagrams that one system call received.",
		Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
	})
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zonekeeper_relay_pending",
		Help: "Requests that wait for an answer.",
	}, pending)
	m.batch = batch
	m.fromClient, m.toPrimary = datagrams.WithLabelValues("from_client"), datagrams.WithLabelValues("to_primary")
	m.fromPrimary, m.toClient = datagrams.WithLabelValues("from_primary"), datagrams.WithLabelValues("to_client")
	m.won, m.lost, m.overBudget = hedges.WithLabelValues("won"), hedges.WithLabelValues("lost"), hedges.WithLabelValues("budget")
	m.heldBack = heldBack
	m.limitedRate, m.limitedAddress, m.limitedAll = limited.WithLabelValues("rate"), limited.WithLabelValues("pending_address"), limited.WithLabelValues("pending")
	for _, d := range []struct {
		reason string
		to     *prometheus.Counter
	}{
		{"short", &m.size},              // no whole header
		{"response", &m.response},       // QR set
		{"proxy", &m.proxy},             // PROXY header missing, malformed or from elsewhere
		{"copy", &m.copies},             // joined a request under way
		{"stray", &m.stray},             // from a primary, and no answer to anything
		{"late", &m.late},               // the answer to a request that is done with
		{"unanswered", &m.unanswered},   // forgotten without an answer
		{"unreachable", &m.unreachable}, // no primary could be asked
		{"send", &m.send},               // the kernel did not take it
		{"socket", &m.socket},           // reading failed
	} {
		*d.to = dropped.WithLabelValues(d.reason)
	}
	for _, c := range []prometheus.Collector{datagrams, hedges, heldBack, limited, dropped, m.seconds, batch, waiting} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("relay: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) limit(v verdict) {
	if v == tooManyPending {
		m.limitedAddress.Inc()
		return
	}
	m.limitedRate.Inc()
}

func (m *metrics) hedged(won bool) {
	if won {
		m.won.Inc()
		return
	}
	m.lost.Inc()
}

package publish

import "github.com/prometheus/client_golang/prometheus"

// metrics of the publisher. docs/metrics.md describes them.
type metrics struct {
	steps, rrs, failures   prometheus.Counter
	replacements, verified *prometheus.CounterVec
	updateSeconds          prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, p *Publisher) metrics {
	m := metrics{
		steps: prometheus.NewCounter(prometheus.CounterOpts{Name: "zonekeeper_publish_steps_total",
			Help: "Publish boundaries that the local named has acknowledged."}),
		rrs: prometheus.NewCounter(prometheus.CounterOpts{Name: "zonekeeper_publish_rrs_total",
			Help: "RRs added to and deleted from the local named."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "zonekeeper_publish_failures_total",
			Help: "Attempts to publish that failed and are tried again."}),
		replacements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_publish_zone_replacements_total",
			Help: "Zones replaced as a whole in the local named, by reason: size, serial, refused, foreign (a serial of others), different (found by a verification), deadly (named ended repeatedly with the step in flight)."}, []string{"reason"}),
		verified: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_publish_verifications_total",
			Help: "Comparisons of a zone in the local named with the state machine, by result: same, different, unknown (named was too far behind to compare)."}, []string{"result"}),
		updateSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "zonekeeper_publish_update_duration_seconds",
			Help: "Time from sending an UPDATE to the local named to its answer.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
	}
	if r == nil {
		return m
	}
	r.MustRegister(m.steps, m.rrs, m.failures, m.replacements, m.verified, m.updateSeconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_lag_seconds",
			Help: "Age of the oldest step that the local named has not acknowledged."}, func() float64 { return p.Lag().Age.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_queued_steps",
			Help: "Steps that the local named has not acknowledged."}, func() float64 { return float64(p.Lag().Steps) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_queued_bytes",
			Help: "Octets of those steps."}, func() float64 { return float64(p.Lag().Bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_zones_not_serving",
			Help: "Zones that are gated because the local named is not known to hold them."}, func() float64 { return float64(p.Lag().NotServing) }),
	)
	return m
}

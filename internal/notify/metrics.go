package notify

import "github.com/prometheus/client_golang/prometheus"

// Results of a message.
const (
	resultAcknowledged = "acknowledged"
	resultRefused      = "refused"
	resultTSIG         = "tsig_error"
	resultUnanswered   = "unanswered"
	resultNotSent      = "not_sent"
)

type metrics struct {
	messages *prometheus.CounterVec
	delay    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_notify_messages_total",
			Help: "NOTIFY messages to servers that are not ours: acknowledged, refused, tsig_error, unanswered (for a time, then sent again), not_sent."}, []string{"result"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "zonekeeper_notify_delay_seconds",
			Help:    "From a change to the target's acknowledgement of a NOTIFY with it, while this primary leads the log.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
	}
	for _, r := range []string{resultAcknowledged, resultRefused, resultTSIG, resultUnanswered, resultNotSent} {
		m.messages.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.messages, m.delay} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

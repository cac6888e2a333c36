package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// Results of a zone transfer; they are metric labels.
const (
	resultOK        = "ok"
	resultFailed    = "failed"    // no primary gave it; answered with an error
	resultBroken    = "broken"    // after part of it was handed over
	resultRefused   = "refused"   // by Screen
	resultAbandoned = "abandoned" // the name server went away
)

type metrics struct {
	transfers *prometheus.CounterVec
	failovers *prometheus.CounterVec
	tsig      *prometheus.CounterVec
	older     prometheus.Counter
	duration  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		transfers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_proxy_transfers_total",
			Help: `Zone transfers that named asked for, by how they were answered (incremental, full, up_to_date, "none" when not at all) and result.`,
		}, []string{"kind", "result"}),
		failovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_proxy_failovers_total",
			Help: "Answers of a primary that could not be used, so that another was asked.",
		}, []string{"primary"}),
		tsig: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_proxy_tsig_errors_total",
			Help: "Answers of primaries that refuse the secondary's signature, by TSIG error.",
		}, []string{"error"}),
		older: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zonekeeper_proxy_older_total",
			Help: "Answers of primaries that were older than what named serves, and were not passed on.",
		}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "zonekeeper_proxy_duration_seconds",
			Help:    "Time from named's question to the last octet of the answer, by kind: soa, incremental, full, up_to_date; news is a question for the SOA that was answered without a primary.",
			Buckets: prometheus.ExponentialBuckets(250e-6, 2, 16), // 250 µs to 8 s
		}, []string{"kind"}),
	}
	for _, c := range []prometheus.Collector{m.transfers, m.failovers, m.tsig, m.older, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("proxy: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) transfer(how Kind, result string) {
	m.transfers.WithLabelValues(how.String(), result).Inc()
}

func (m *metrics) observe(kind string, d time.Duration) {
	m.duration.WithLabelValues(kind).Observe(d.Seconds())
}

func (m *metrics) failed(primary string, err error) {
	m.failovers.WithLabelValues(primary).Inc()
	if errors.Is(err, ErrBehind) {
		m.older.Inc()
	}
	var answer *AnswerError
	if errors.As(err, &answer) && answer.TSIG != 0 {
		m.tsig.WithLabelValues(tsigText(answer.TSIG)).Inc()
	}
}

func tsigText(code uint16) string {
	switch code {
	case tsig.BadSig:
		return "BADSIG"
	case tsig.BadKey:
		return "BADKEY"
	case tsig.BadTime:
		return "BADTIME"
	case tsig.BadTrunc:
		return "BADTRUNC"
	}
	return "other"
}

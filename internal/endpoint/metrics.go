package endpoint

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons for which a request or connection gets no answer, or an early
// SERVFAIL; they are metric labels.
const (
	dropShort        = "short"          // no whole header
	dropResponse     = "response"       // QR set
	dropProxy        = "proxy"          // PROXY header missing, malformed, forged or from elsewhere
	dropReplay       = "replay"         // an unsigned update in a front's datagram that was here before
	dropInDoubt      = "in_doubt"       // the update may be in the log
	dropCopy         = "copy"           // of an update that is under way and will be answered
	dropOverload     = "overload"       // a limit is reached; answered SERVFAIL
	dropQuota        = "quota"          // more updates a second than the keys of a group may sign; answered SERVFAIL
	dropSecondLook   = "second_look"    // too many wait for one
	dropConns        = "connections"    // all connections busy
	dropConnsPerAddr = "connections_ip" // of one address
	dropEvicted      = "evicted"        // idle connection closed for a new one
	dropIdle         = "idle"           // idle or half-sent message
	dropSend         = "send"           // the client does not take the reply
	dropSocket       = "socket"         // reading failed
)

// stage is a part of a request's life that has its own latency histogram.
type stage uint8

const (
	stageTotal   stage = iota // from receipt to the reply being handed over
	stageQueue                // an update before it is proposed
	stageCommit               // an update from proposal to result
	stageBarrier              // a read until the barrier is passed
	stageForward              // a read from asking named to its last message
	stages
)

func (s stage) String() string {
	return [...]string{"total", "queue", "commit", "barrier", "forward"}[s]
}

// metrics are the endpoint's Prometheus metrics. Those of the hot path are
// looked up once and then cost one atomic addition.
type metrics struct {
	requests *prometheus.CounterVec
	byResult [transports][16][32]atomic.Pointer[prometheus.Counter] // transport, opcode, RCODE

	latency [stages]prometheus.Observer
	tsig    *prometheus.CounterVec
	drops   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "zonekeeper_endpoint_stage_seconds",
		Help:    "Time that requests spend in each stage.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2, 17), // 50 µs to 3.3 s
	}, []string{"stage"})
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_endpoint_requests_total",
			Help: "Requests by transport, opcode and response code; rcode \"none\" had no reply.",
		}, []string{"transport", "opcode", "rcode"}),
		tsig: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_endpoint_tsig_errors_total",
			Help: "Requests whose signature was not accepted, by TSIG error.",
		}, []string{"error"}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zonekeeper_endpoint_drops_total",
			Help: "Requests and connections that a limit or rule cut short, by reason.",
		}, []string{"reason"}),
	}
	s.quotas.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zonekeeper_endpoint_quota_refused_total",
		Help: "Updates beyond the updates a second that the keys of a group may sign, by group (a tenant).",
	}, []string{"group"})
	for i := range m.latency {
		m.latency[i] = latency.WithLabelValues(stage(i).String())
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_endpoint_" + name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		latency, m.requests, m.tsig, m.drops, s.quotas.refused,
		gauge("connections", "Open TCP and TLS connections.", func() float64 { return float64(s.conns.len()) }),
		gauge("updates_in_flight", "Updates proposed and not yet answered.", func() float64 { n, _ := s.admission.load(); return float64(n) }),
		gauge("updates_queued", "Updates waiting to be proposed.", func() float64 { _, n := s.admission.load(); return float64(n) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("endpoint: register metrics: %w", err)
		}
	}
	return m, nil
}

// rcodeNone is the slot of requests without a reply.
const rcodeNone = 31

func (m *metrics) result(via transport, opcode uint8, rcode uint16) {
	slot := &m.byResult[via][opcode&15][min(rcode, rcodeNone)]
	c := slot.Load()
	if c == nil {
		v := m.requests.WithLabelValues(via.String(), opcodeText(opcode), rcodeText(rcode))
		c = &v
		slot.Store(c)
	}
	(*c).Inc()
}

func (m *metrics) observe(s stage, d time.Duration) { m.latency[s].Observe(d.Seconds()) }

func (m *metrics) drop(reason string) { m.drops.WithLabelValues(reason).Inc() }

func (m *metrics) tsigError(code uint16) { m.tsig.WithLabelValues(tsigText(code)).Inc() }

func opcodeText(opcode uint8) string {
	switch opcode {
	case opQuery:
		return "query"
	case opNotify:
		return "notify"
	case opUpdate:
		return "update"
	}
	return "other"
}

// rcodeText names a response code as the IANA registry does.
func rcodeText(rcode uint16) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
	switch {
	case int(rcode) < len(names):
		return names[rcode]
	case rcode == rcodeBadVers:
		return "BADVERS"
	case rcode == rcodeNone:
		return "none"
	}
	return fmt.Sprintf("RCODE%d", rcode)
}

func tsigText(code uint16) string {
	switch code {
	case 0:
		return "none"
	case 16:
		return "BADSIG"
	case 17:
		return "BADKEY"
	case 18:
		return "BADTIME"
	case 22:
		return "BADTRUNC"
	}
	return fmt.Sprintf("TSIG%d", code)
}

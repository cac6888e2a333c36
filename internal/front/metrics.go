package front

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// metrics count what happens. What a node is like at a moment is read when somebody asks: see gauges.
type metrics struct {
	checks, restarts, reloads, transitions *prometheus.CounterVec
}

// newMetrics registers everything of a front but the relay's.
func newMetrics(f *front) (*metrics, error) {
	m := &metrics{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_front_checks_total",
			Help: "Checks of primaries by the front itself: ready, not_ready."}, []string{"primary", "result"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_front_child_restarts_total",
			Help: "Unwanted ends of haproxy and keepalived, each followed by a start."}, []string{"child"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_front_reloads_total",
			Help: "New configurations of HAProxy: done, rejected."}, []string{"result"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_front_vip_transitions_total",
			Help: "Changes of VRRP's state: to master, backup, fault."}, []string{"to"}),
	}
	dropped := func(by string, of func(*strangers) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "zonekeeper_front_vrrp_strangers_total",
			Help: "VRRP packets of others than the peers, by who dropped them: filter (nftables) or keepalived.", ConstLabels: prometheus.Labels{"by": by}}, func() float64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			return float64(of(&f.strangers))
		})
	}
	for _, c := range []prometheus.Collector{
		m.checks, m.restarts, m.reloads, m.transitions, newGauges(f),
		dropped("filter", func(s *strangers) uint64 { return s.filtered }), dropped("keepalived", func(s *strangers) uint64 { return s.passed }),
	} {
		if err := f.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

// gauges implements prometheus.Collector: the state of a node at the moment of the question.
type gauges struct {
	f    *front
	mu   sync.Mutex // one question at a time: the vectors are filled anew for each
	each []prometheus.Collector

	state, held, fault, primary      *prometheus.GaugeVec
	conflict, score, backends, stale prometheus.Gauge
}

func newGauges(f *front) *gauges {
	g := &gauges{
		f: f,
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_front_vip_state",
			Help: "1 for VRRP's state on this node: master, backup or fault."}, []string{"state"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_front_vip_held",
			Help: "1 while the interface has the address; on a node that is not master it was left behind."}, []string{"address"}),
		conflict: prometheus.NewGauge(prometheus.GaugeOpts{Name: "zonekeeper_front_vip_conflict",
			Help: "1 while somebody else uses an address of the front."}),
		score: prometheus.NewGauge(prometheus.GaugeOpts{Name: "zonekeeper_front_score",
			Help: "What this node is worth as holder: 2 a primary is ready, 1 one answers, 0 none does."}),
		fault: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_front_local_fault",
			Help: "1 while this part of the node does not work: haproxy, relay, conflict, drain."}, []string{"reason"}),
		primary: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_front_primary_state",
			Help: "1 for what a primary is by the front's own checks: ready, alive or down."}, []string{"primary", "state"}),
		backends: prometheus.NewGauge(prometheus.GaugeOpts{Name: "zonekeeper_front_backends",
			Help: "Primaries in the list."}),
		stale: prometheus.NewGauge(prometheus.GaugeOpts{Name: "zonekeeper_front_backends_stale",
			Help: "1 while the list of primaries can't be confirmed; the last one is used."}),
	}
	g.each = []prometheus.Collector{g.fault, g.primary, g.score, g.backends, g.stale}
	if f.cfg.Mode == ModeVIP {
		g.each = append(g.each, g.state, g.held, g.conflict)
	}
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, c := range g.each {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read()
	for _, c := range g.each {
		c.Collect(out)
	}
}

func (g *gauges) read() {
	f := g.f
	g.primary.Reset() // primaries that have gone
	f.mu.Lock()
	for _, s := range []keepalived.State{keepalived.Master, keepalived.Backup, keepalived.Fault} {
		g.state.WithLabelValues(s.String()).Set(number(f.m.vip == s))
	}
	for _, part := range []string{faultHAProxy, faultRelay, faultConflict, faultUnheard, faultDrain} {
		g.fault.WithLabelValues(part).Set(number(f.m.faults[part] != ""))
	}
	for _, p := range f.m.primaries {
		for _, s := range []checks.State{checks.Ready, checks.Alive, checks.Down} {
			g.primary.WithLabelValues(p.Name, s.String()).Set(number(f.m.states[p.Name].State == s))
		}
	}
	g.conflict.Set(number(f.m.faults[faultConflict] != ""))
	g.score.Set(float64(f.m.score))
	g.backends.Set(float64(len(f.m.primaries)))
	f.mu.Unlock()
	since, _ := f.source.Stale()
	g.stale.Set(number(!since.IsZero()))
	if f.keepalived == nil {
		return
	}
	for _, v := range f.set.vipAddrs {
		g.held.WithLabelValues(v.String()).Set(0)
	}
	held, err := vip.Held(f.cfg.VIP.Interface, f.set.vips)
	if err != nil {
		f.log.Warn("the interface's addresses are unknown", "err", err)
	}
	for _, a := range held {
		g.held.WithLabelValues(a.String()).Set(1)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

package propagation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

type metrics struct {
	delay                  *prometheus.HistogramVec
	served, limit, skipped prometheus.Counter
}

// maxSerialMetrics is how many zones have a metric of their serial at each secondary; with more zones than that only those
// that are behind have one.
const maxSerialMetrics = 1000

func newMetrics(reg prometheus.Registerer, t *Tracker) (metrics, error) {
	m := metrics{delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "zonekeeper_propagation_delay_seconds",
		Help:    "From a serial's publication at this primary's named to the report that the secondary serves it, or a later one.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"secondary"})}
	waits := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_propagation_waits_total",
		Help: "Updates with a propagation guarantee: served (kept), limit (answered after the time limit) or skipped (answered at once because too many waited)."},
		[]string{"result"})
	m.served, m.limit, m.skipped = waits.WithLabelValues("served"), waits.WithLabelValues("limit"), waits.WithLabelValues("skipped")
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.delay, waits, newCollector(t)} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

// forget drops the metrics of a secondary that is no longer registered.
func (m metrics) forget(name string) { m.delay.DeleteLabelValues(name) }

// collector shows the state of a tracker when it is asked.
type collector struct {
	t                              *Tracker
	lag, behind, serial, connected *prometheus.GaugeVec
}

func newCollector(t *Tracker) *collector {
	return &collector{
		t: t,
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_propagation_lag_seconds",
			Help: "How long the oldest serial that this primary has published is not served by the secondary."}, []string{"secondary"}),
		behind: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_propagation_zones_behind",
			Help: "Zones of which the secondary serves an older serial than this primary has published, or nothing."}, []string{"secondary"}),
		serial: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_propagation_serial",
			Help: "Serial that the secondary serves: of each zone, or, when there are more than 1000, of those that are behind."}, []string{"secondary", "zone"}),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_propagation_connected",
			Help: "1 while the secondary has a stream to this primary and has reported what it serves."}, []string{"secondary"}),
	}
}

func (c *collector) vectors() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{c.lag, c.behind, c.serial, c.connected}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.vectors() {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	fresh := newCollector(c.t) // of this collection alone: two may run at a time, and what is gone must not stay
	c.t.show(fresh)
	for _, v := range fresh.vectors() {
		v.Collect(ch)
	}
}

// sample is what the metrics show of one secondary.
type sample struct {
	behind    int
	oldest    time.Duration
	connected bool
	serials   []Serial
}

func (t *Tracker) show(c *collector) {
	// Formatting takes longer than looking, and must not keep those waiting who need the lock.
	for name, x := range t.samples() {
		c.behind.WithLabelValues(name).Set(float64(x.behind))
		c.lag.WithLabelValues(name).Set(x.oldest.Seconds())
		connected := 0.0
		if x.connected {
			connected = 1
		}
		c.connected.WithLabelValues(name).Set(connected)
		for _, z := range x.serials {
			c.serial.WithLabelValues(name, z.Zone.String()).Set(float64(z.Serial))
		}
	}
}

func (t *Tracker) samples() map[string]sample {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]sample, len(t.secondaries))
	for name, s := range t.secondaries {
		x := sample{connected: s.connected}
		x.behind, x.oldest = s.lag(t.zones, now)
		show := func(z zone.Name) {
			if is, ok := s.served[z]; ok {
				x.serials = append(x.serials, Serial{z, is.serial})
			}
		}
		if len(t.zones) <= maxSerialMetrics {
			for z := range t.zones {
				show(z)
			}
		} else {
			for _, w := range s.worst(t.zones, now, maxSerialMetrics) {
				show(w.Zone)
			}
		}
		out[name] = x
	}
	return out
}

package secondary

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/named"
)

// metrics are what docs/metrics.md lists for a secondary.
type metrics struct {
	notifies   *prometheus.CounterVec
	mismatches prometheus.Counter
	sightings  *prometheus.CounterVec
}

func newMetrics(s *secondary) (*metrics, error) {
	m := &metrics{
		notifies: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_secondary_notifies_total",
			Help: "NOTIFYs sent to the own named: accepted, failed."}, []string{"result"}),
		mismatches: prometheus.NewCounter(prometheus.CounterOpts{Name: "zonekeeper_secondary_digest_mismatches_total",
			Help: "Zones whose content differed from the primaries' at the same serial; each was transferred anew."}),
		sightings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_secondary_sightings_total",
			Help: "What the own named told of in its log: notify (a NOTIFY from elsewhere, refused), bad_signature (a signed message that did not verify), " +
				"unreadable_file (a zone transferred anew because its file could not be loaded)."}, []string{"kind"}),
	}
	for _, kind := range []named.SightingKind{named.ForeignNotify, named.BadSignature, named.UnreadableFile} {
		m.sightings.WithLabelValues(string(kind))
	}
	live := &liveness{s: s, desc: prometheus.NewDesc("zonekeeper_secondary_primary_live", "1 while the stream of changes from the primary is heard.", []string{"primary"}, nil)}
	of := func(f func(adminapi.SecondaryStatus) float64) func() float64 {
		return func() float64 { return f(s.recentStatus()) }
	}
	for _, c := range []prometheus.Collector{
		m.notifies, m.mismatches, m.sightings, live,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_zones", Help: "Zones of the catalog."},
			of(func(st adminapi.SecondaryStatus) float64 { return float64(st.Zones) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_zones_behind", Help: "Zones whose newest serial is not served yet."},
			of(func(st adminapi.SecondaryStatus) float64 { return float64(st.ZonesBehind) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_zones_not_served", Help: "Zones of the catalog that the own named does not answer for."},
			of(func(st adminapi.SecondaryStatus) float64 { return float64(st.ZonesNotServed) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_lag_seconds", Help: "Age of the oldest serial that a primary announced and that is not served yet."},
			of(func(st adminapi.SecondaryStatus) float64 { return float64(st.LagMS) / 1000 })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_data_age_seconds", Help: "What is served is no older than this; -1 when no primary was ever heard."},
			of(func(st adminapi.SecondaryStatus) float64 {
				if st.AsOf.IsZero() {
					return -1
				}
				return max(0, time.Since(st.AsOf).Seconds())
			})),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_clock_skew_seconds", Help: "Own clock minus the median of the live primaries'."},
			of(func(st adminapi.SecondaryStatus) float64 { return float64(st.SkewMS) / 1000 })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_catalog_held", Help: "1 while a version of the catalog that removes many zones waits for its confirmation."},
			of(func(st adminapi.SecondaryStatus) float64 { return number(st.Held != nil) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_secondary_ready", Help: "1 while every zone of the catalog is served and current."},
			of(func(st adminapi.SecondaryStatus) float64 { return number(st.Ready) })),
	} {
		if err := s.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// liveness implements prometheus.Collector.
type liveness struct {
	s    *secondary
	desc *prometheus.Desc
}

func (l *liveness) Describe(out chan<- *prometheus.Desc) { out <- l.desc }

func (l *liveness) Collect(out chan<- prometheus.Metric) {
	for _, p := range l.s.recentStatus().Primaries {
		out <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, number(p.Live), p.Name)
	}
}

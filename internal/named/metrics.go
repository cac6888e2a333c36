package named

import "github.com/prometheus/client_golang/prometheus"

// Register adds the process's metrics to r. docs/metrics.md describes them.
func (s *Server) Register(r prometheus.Registerer) error {
	state := func(f func(State) float64) func() float64 {
		return func() float64 {
			st, _ := s.Watch()
			return f(st)
		}
	}
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_named_up", Help: "1 while the local named answers."},
			state(func(st State) float64 {
				if st.Phase == Running {
					return 1
				}
				return 0
			})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "zonekeeper_named_exits_total",
			Help: "Unwanted ends of the local named: exits, kills after a hang, starts without an answer. Each is followed by a start."},
			state(func(st State) float64 { return float64(st.Exits) })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "zonekeeper_named_hangs_total",
			Help: "Kills of the local named because it no longer answered."},
			state(func(st State) float64 { return float64(st.Hangs) })),
	} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

package clustercontroller

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// metrics of the controller, beside those of controller-runtime.
type metrics struct {
	ready     *prometheus.GaugeVec
	primaries *prometheus.GaugeVec
	ends      *prometheus.GaugeVec
	answered  *prometheus.GaugeVec
	asked     *prometheus.CounterVec
	issued    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		ready: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_cluster_condition",
			Help: "1 while a condition of a BindCluster is True, 0 while it is False, -1 while it is Unknown."}, []string{"namespace", "cluster", "condition"}),
		primaries: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_cluster_primaries",
			Help: "Primaries of a BindCluster: wanted, existing, ready."}, []string{"namespace", "cluster", "state"}),
		ends: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_certificate_not_after_seconds",
			Help: "When the first of a BindCluster's certificates ends, in seconds since 1970."}, []string{"namespace", "cluster"}),
		answered: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_cluster_last_answer_seconds",
			Help: "When a primary of a BindCluster has last answered the operator, in seconds since 1970."}, []string{"namespace", "cluster"}),
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_operator_primary_questions_total",
			Help: "Questions to primaries for their status: answered, failed."}, []string{"result"}),
		issued: prometheus.NewCounter(prometheus.CounterOpts{Name: "zonekeeper_operator_certificates_issued_total",
			Help: "Certificates that the operator has issued or renewed."}),
	}
	for _, c := range []prometheus.Collector{m.ready, m.primaries, m.ends, m.answered, m.asked, m.issued} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) show(c *v1alpha1.BindCluster, ends, answered time.Time) {
	for _, cond := range c.Status.Conditions {
		value := map[string]float64{"True": 1, "False": 0, "Unknown": -1}[string(cond.Status)]
		m.ready.WithLabelValues(c.Namespace, c.Name, cond.Type).Set(value)
	}
	p := c.Status.Primaries
	for state, n := range map[string]int32{"wanted": c.Spec.Primaries.Replicas, "existing": p.Replicas, "ready": p.Ready} {
		m.primaries.WithLabelValues(c.Namespace, c.Name, state).Set(float64(n))
	}
	if !ends.IsZero() {
		m.ends.WithLabelValues(c.Namespace, c.Name).Set(float64(ends.Unix()))
	}
	if !answered.IsZero() {
		m.answered.WithLabelValues(c.Namespace, c.Name).Set(float64(answered.Unix()))
	}
}

// forget drops what is shown of a cluster that is gone.
func (m *metrics) forget(namespace, name string) {
	labels := prometheus.Labels{"namespace": namespace, "cluster": name}
	for _, v := range []*prometheus.GaugeVec{m.ready, m.primaries, m.ends, m.answered} {
		v.DeletePartialMatch(labels)
	}
}

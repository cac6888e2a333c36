package vipcontroller

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// metrics of the controller, beside those of controller-runtime.
type metrics struct {
	condition *prometheus.GaugeVec
	nodes     *prometheus.GaugeVec
	moves     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		condition: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_vip_condition",
			Help: "1 while a condition of a VirtualIP is True, 0 while it is False, -1 while it is Unknown."}, []string{"namespace", "vip", "condition"}),
		nodes: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zonekeeper_operator_vip_nodes",
			Help: "Nodes of a VirtualIP: selected, ready."}, []string{"namespace", "vip", "state"}),
		moves: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zonekeeper_operator_vip_moves_total",
			Help: "Changes of the node that has the addresses of a VirtualIP, as far as the operator has seen them."}, []string{"namespace", "vip"}),
	}
	for _, c := range []prometheus.Collector{m.condition, m.nodes, m.moves} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) show(v *v1alpha1.VirtualIP, moved bool) {
	for _, c := range v.Status.Conditions {
		value := map[string]float64{"True": 1, "False": 0, "Unknown": -1}[string(c.Status)]
		m.condition.WithLabelValues(v.Namespace, v.Name, c.Type).Set(value)
	}
	ready := 0
	for _, n := range v.Status.Nodes {
		if n.Ready {
			ready++
		}
	}
	m.nodes.WithLabelValues(v.Namespace, v.Name, "selected").Set(float64(len(v.Status.Nodes)))
	m.nodes.WithLabelValues(v.Namespace, v.Name, "ready").Set(float64(ready))
	if moved {
		m.moves.WithLabelValues(v.Namespace, v.Name).Inc()
	}
}

// forget drops what is shown of a VirtualIP that is gone.
func (m *metrics) forget(name types.NamespacedName) {
	labels := prometheus.Labels{"namespace": name.Namespace, "vip": name.Name}
	m.condition.DeletePartialMatch(labels)
	m.nodes.DeletePartialMatch(labels)
	m.moves.DeletePartialMatch(labels)
}

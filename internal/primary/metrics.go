package primary

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// etcdOnly passes the embedded etcd's own metrics on, without the runtime's, which our registry has already.
type etcdOnly struct{ from prometheus.Gatherer }

// Gather implements prometheus.Gatherer.
func (e etcdOnly) Gather() ([]*dto.MetricFamily, error) {
	all, err := e.from.Gather()
	var out []*dto.MetricFamily
	for _, f := range all {
		if n := f.GetName(); strings.HasPrefix(n, "etcd_") || strings.HasPrefix(n, "grpc_server_") {
			out = append(out, f)
		}
	}
	return out, err
}

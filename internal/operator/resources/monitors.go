package resources

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Labels that PodMonitors put on every series, besides Prometheus' own (namespace, pod). Alerts and the dashboard of the chart use them.
const (
	seriesCluster = "bindcluster"
	seriesRole    = "role"
)

// monitors adds what makes Prometheus' operator read the metrics of primaries and secondaries, with a certificate that opens nothing else. Fronts
// have theirs on their own loopback.
func (b *builder) monitors() {
	if !b.Settings.PodMonitors {
		return
	}
	b.podMonitor(b.PrimaryName(), ComponentPrimary)
	b.podMonitor(b.SecondaryName(), ComponentSecondary)
}

func (b *builder) podMonitor(name, component string) {
	entry := func(key string) map[string]any {
		return map[string]any{"name": MonitorSecret(b.Cluster.Name), "key": key}
	}
	label := func(target, value string) map[string]any {
		return map[string]any{"action": "replace", "targetLabel": target, "replacement": value}
	}
	match := map[string]any{}
	for k, v := range b.Selector(component) {
		match[k] = v
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": match},
			"podMetricsEndpoints": []any{map[string]any{
				"port": "admin", "scheme": "https", "interval": "30s",
				"tlsConfig": map[string]any{
					"ca": map[string]any{"secret": entry(fileCA)}, "cert": map[string]any{"secret": entry(fileCert)}, "keySecret": entry(fileKey),
					// Prometheus calls pods by their addresses, which are in no certificate; this name is in all of them.
					"serverName": b.domain(name),
				},
				"relabelings": []any{label(seriesCluster, b.Cluster.Name), label(seriesRole, component)},
			}},
		},
	}}
	u.SetName(name)
	labels := maps.Clone(b.Settings.PodMonitorLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, b.Labels(component)) // by these the operator finds what it made
	u.SetLabels(labels)
	b.add(u)
}

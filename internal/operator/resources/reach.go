package resources

import "github.com/zonekeeper/zonekeeper/api/v1alpha1"

// Entries of the Secrets that Certificates lists for clients of the admin API.
const (
	FileCert = fileCert
	FileKey  = fileKey
	FileCA   = fileCA
)

// MaxPrimaries is the greatest number of primaries of a cluster.
const MaxPrimaries = maxPrimaries

// OperatorSecret is the name of the Secret, in the cluster's namespace, with the certificate by which the operator reaches the primaries.
func OperatorSecret(cluster string) string { return cluster + "-operator-tls" }

// MonitorSecret is the name of the Secret, in the cluster's namespace, with the certificate by which Prometheus reads metrics of primaries
// and secondaries. It opens nothing else.
func MonitorSecret(cluster string) string { return cluster + "-monitor-tls" }

// AdminURL is where the admin API of primary i of a cluster is. Its certificate names this host.
func AdminURL(c *v1alpha1.BindCluster, clusterDomain string, i int) string {
	in := Input{Cluster: c, Settings: Settings{ClusterDomain: clusterDomain}}
	return url(in.primaryHost(i), portAdmin)
}

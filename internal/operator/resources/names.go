package resources

import (
	"fmt"
	"maps"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Labels. Those of Kubernetes' recommendation, and ours.
const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelExposure  = v1alpha1.Group + "/exposure"
	// LabelClusterNamespace is on objects outside of the cluster's own namespace.
	LabelClusterNamespace = v1alpha1.Group + "/cluster-namespace"

	appName = "zonekeeper"
	manager = "zonekeeper-operator"

	// annotationConfig on a pod template is a digest of what its pods read at their start.
	annotationConfig = v1alpha1.Group + "/config"
)

// Components.
const (
	primaryComponent   = "primary"
	secondaryComponent = "secondary"
	frontComponent     = "front"
)

// Ports of pods. They are above 1023, so that no pod needs a capability; Services have 53 in front of them.
const (
	portDNS       = 5300 // endpoint of a primary, named of a secondary, clients' port of a front pod
	portFront     = 8540 // of a primary, for fronts: TLS over TCP, a MAC in each header over UDP
	portAdmin     = 8443
	portLogPeer   = 2380
	portLogClient = 2379
	portNamed     = 5353 // on loopback
	portControl   = 9953 // on loopback
	portService   = 53
)

// Paths in pods.
const (
	pathConfig       = "/etc/zonekeeper/config"
	pathTLS          = "/etc/zonekeeper/tls"
	pathLogTLS       = "/etc/zonekeeper/log-tls"
	pathClusterKey   = "/etc/zonekeeper/cluster-key"
	pathFrontKey     = "/etc/zonekeeper/front-key"
	pathKeys         = "/etc/zonekeeper/keys"
	pathData         = "/var/lib/zonekeeper"
	pathNamed        = "/run/zonekeeper/named"
	pathFront        = "/run/zonekeeper/front"
	pathProgram      = "/opt/zonekeeper"
	fileClusterKey   = "cluster.key"
	fileFrontKey     = "front.key"
	fileCA           = "ca.crt"
	fileFrontCA      = "front-ca.crt"
	fileCert         = "tls.crt"
	fileKey          = "tls.key"
	nameOfSecretFile = ".secret"
)

// Names of Secrets that the operator makes and pods read.
type secretNames struct{ clusterKey, primaryTLS, logTLS, secondaryTLS, secondaryKeys, frontTLS, frontKey string }

func (in Input) secrets() secretNames {
	c := in.Cluster.Name
	s := secretNames{
		clusterKey: c + "-cluster-key", primaryTLS: c + "-primary-tls", logTLS: c + "-log-tls",
		secondaryTLS: c + "-secondary-tls", secondaryKeys: c + "-secondary-keys",
		frontTLS: c + "-front-tls", frontKey: c + "-front-key",
	}
	if in.external() {
		s.logTLS = in.Cluster.Spec.ExternalLog.Certificate.Name
	}
	return s
}

func (in Input) primaryName() string       { return in.Cluster.Name + "-" + primaryComponent }
func (in Input) secondaryName() string     { return in.Cluster.Name + "-" + secondaryComponent }
func (in Input) frontName(e string) string { return in.Cluster.Name + "-" + frontComponent + "-" + e }
func (in Input) frontAccount() string      { return in.Cluster.Name + "-" + frontComponent }
func (in Input) primaryPod(i int) string   { return in.primaryName() + "-" + strconv.Itoa(i) }
func (in Input) secondaryPod(i int) string { return in.secondaryName() + "-" + strconv.Itoa(i) }
func (in Input) domain(service string) string {
	return service + "." + in.Cluster.Namespace + ".svc." + in.Settings.ClusterDomain
}
func (in Input) primaryHost(i int) string {
	return in.primaryPod(i) + "." + in.domain(in.primaryName())
}
func (in Input) secondaryHost(i int) string {
	return in.secondaryPod(i) + "." + in.domain(in.secondaryName())
}

// outside is the name of an object of the cluster in the fronts' namespace, which has those of all namespaces.
func (in Input) outside(name string) string { return in.Cluster.Namespace + "-" + name }

// Member is a primary's name in the log: an identity, not an address, and the same whatever the cluster is called.
func Member(i int) string { return "primary-" + strconv.Itoa(i) }

// registered is the name under which a secondary is registered.
func registered(i int) string { return "secondary-" + strconv.Itoa(i) }

// SecondaryKey is the name of the TSIG key of secondary i, in a part of the name space that nobody else has names in.
func SecondaryKey(i int) string { return registered(i) + ".zonekeeper.invalid." }

func url(host string, port int) string { return fmt.Sprintf("https://%s:%d", host, port) }

// selector picks the pods of one component.
func (in Input) selector(component string) map[string]string {
	return map[string]string{labelName: appName, labelInstance: in.Cluster.Name, labelComponent: component}
}

func (in Input) labels(component string) map[string]string {
	l := in.selector(component)
	l[labelManagedBy] = manager
	return l
}

func (in Input) frontSelector(exposure string) map[string]string {
	return with(in.selector(frontComponent), labelExposure, exposure)
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func (in Input) meta(name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: in.labels(component)}
}

// outsideMeta is for the fronts' namespace.
func (in Input) outsideMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: in.outside(name), Labels: with(in.labels(frontComponent), LabelClusterNamespace, in.Cluster.Namespace)}
}

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
	labelComponent = "app.kubernetes.io/component"
	// LabelInstance has the cluster's name.
	LabelInstance = "app.kubernetes.io/instance"
	// LabelManagedBy has Manager on all that the operator makes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelExposure has the exposure's name on what belongs to one.
	LabelExposure = v1alpha1.Group + "/exposure"
	// LabelClusterNamespace is on objects outside of the cluster's own namespace.
	LabelClusterNamespace = v1alpha1.Group + "/cluster-namespace"

	// gatePrefix and a VirtualIP are a label of nodes: GateOpen where the network lets the addresses through.
	gatePrefix = "vip." + v1alpha1.Group + "/"
	// GateOpen is that label's only value.
	GateOpen = "open"

	appName = "zonekeeper"
	// Manager is the operator's name, as the owner of fields too.
	Manager = "zonekeeper-operator"

	// annotationLogTrust on the primaries' pod template: see Input.LogTrust.
	annotationLogTrust = v1alpha1.Group + "/log-trust"
	// annotationConfig on a pod template is a digest of what its pods read at their start.
	annotationConfig = v1alpha1.Group + "/config"
)

// Components, which pods and what belongs to them have as a label.
const (
	ComponentPrimary   = "primary"
	ComponentSecondary = "secondary"
	ComponentFront     = "front"
)

// Ports of pods. They are above 1023, so that no pod needs a capability; Services have 53 in front of them.
const (
	portDNS       = 5300 // endpoint of a primary, named of a secondary, clients' port of a front pod
	portFront     = 8540 // of a primary, for fronts: TLS over TCP, a MAC in each header over UDP
	portLogPeer   = 2380
	portLogClient = 2379
	portNamed     = 5353 // on loopback
	portControl   = 9953 // on loopback
	portService   = 53
	portAdmin     = 8443
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

// PrimaryName is the primaries' StatefulSet, SecondaryName the secondaries'; FrontName is what exposure e has: a Deployment and a Service, or a DaemonSet.
func (in Input) PrimaryName() string { return in.Cluster.Name + "-" + ComponentPrimary }

// SecondaryName is explained at PrimaryName.
func (in Input) SecondaryName() string { return in.Cluster.Name + "-" + ComponentSecondary }

// FrontName is explained at PrimaryName.
func (in Input) FrontName(e string) string { return in.Cluster.Name + "-" + ComponentFront + "-" + e }

// PrimaryPod is the name of primary i's pod.
func (in Input) PrimaryPod(i int) string { return in.PrimaryName() + "-" + strconv.Itoa(i) }

// PrimaryClaim is the name of its volume's claim, as the StatefulSet makes it.
func (in Input) PrimaryClaim(i int) string { return claimName + "-" + in.PrimaryPod(i) }

func (in Input) frontAccount() string      { return in.Cluster.Name + "-" + ComponentFront }
func (in Input) secondaryPod(i int) string { return in.SecondaryName() + "-" + strconv.Itoa(i) }
func (in Input) domain(service string) string {
	return service + "." + in.Cluster.Namespace + ".svc." + in.Settings.ClusterDomain
}

func (in Input) primaryHost(i int) string {
	return in.PrimaryPod(i) + "." + in.domain(in.PrimaryName())
}
func (in Input) secondaryHost(i int) string {
	return in.secondaryPod(i) + "." + in.domain(in.SecondaryName())
}

// Outside is the name of an object of the cluster in the fronts' namespace, which has those of all namespaces: neither a namespace nor a cluster
// can have a dot in its name, so no two are called alike.
func (in Input) Outside(name string) string { return in.Cluster.Namespace + "." + name }

// Gate is the label of nodes by which fronts of a VirtualIP are let in, where the network has a say in that.
func Gate(v *v1alpha1.VirtualIP) string { return gatePrefix + label(v.Namespace+"."+v.Name) }

// VIPLease is where the fronts of a VIP's exposure tell their state; in the fronts' namespace, as the DaemonSet of the same name.
func (in Input) VIPLease(exposure string) string { return in.Outside(in.FrontName(exposure)) }

// VIPSelector picks the pods of a VIP's exposure in the fronts' namespace.
func (in Input) VIPSelector(exposure string) map[string]string {
	return with(in.frontSelector(exposure), LabelClusterNamespace, in.Cluster.Namespace)
}

// Member is a primary's name in the log: an identity, not an address, and the same whatever the cluster is called.
func Member(i int) string { return "primary-" + strconv.Itoa(i) }

// Registered is the name under which a secondary is registered.
func Registered(i int) string { return "secondary-" + strconv.Itoa(i) }

// SecondaryKey is the name of the TSIG key of secondary i, in a part of the name space that nobody else has names in.
func SecondaryKey(i int) string { return Registered(i) + ".zonekeeper.invalid." }

func url(host string, port int) string { return fmt.Sprintf("https://%s:%d", host, port) }

// Selector picks the pods of one component.
func (in Input) Selector(component string) map[string]string {
	return map[string]string{labelName: appName, LabelInstance: in.Cluster.Name, labelComponent: component}
}

// Labels are what objects of one component have.
func (in Input) Labels(component string) map[string]string {
	l := in.Selector(component)
	l[LabelManagedBy] = Manager
	return l
}

func (in Input) frontSelector(exposure string) map[string]string {
	return with(in.Selector(ComponentFront), LabelExposure, exposure)
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
	return metav1.ObjectMeta{Name: name, Labels: in.Labels(component)}
}

// outsideMeta is for the fronts' namespace.
func (in Input) outsideMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: in.Outside(name), Labels: in.OutsideLabels()}
}

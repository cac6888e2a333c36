package resources

import (
	"errors"
	"fmt"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Input is all that decides about the objects.
type Input struct {
	Cluster *v1alpha1.BindCluster
	// VirtualIPs are those that the cluster's exposures name, by name.
	VirtualIPs map[string]*v1alpha1.VirtualIP
	// Ungated are exposures whose fronts run without the gate of their VirtualIP's network, and go on so: too few nodes are let in.
	Ungated map[string]bool
	// LogTrust tells apart what members of the log have to trust, which they read at their start; "" except while that CA is replaced.
	LogTrust string
	// Nodes of the Kubernetes cluster; read only for VirtualIPs.
	Nodes    []Node
	State    State
	Settings Settings
}

// Node is what matters of one.
type Node struct {
	Name   string
	Labels map[string]string
	// Addresses are those of type InternalIP, in their order.
	Addresses []string
}

// State is how far the cluster has come. It changes step by step, so that a majority is never at risk; the steps are decided elsewhere.
type State struct {
	// Token is minted once for the cluster.
	Token string
	// Initial is the number of primaries that bootstrap the log together. It stays what it was at the first start.
	Initial int
	// Formed: the log exists. From then on an empty disk is a new member.
	Formed bool
	// Members is the number of primaries' pods, ordinals 0 to Members-1.
	Members int
	// Peers is how many of them, from ordinal 0 on, count each other as the cluster: at least those that stay while members are removed,
	// at most those that have joined while members are added.
	Peers int
	// Partition: primaries from this ordinal on run the newest pod template. It is Members except during a rollout, so that a new template changes
	// no pod by itself.
	Partition int
	// Leaving: the highest member is being taken out of the quorum. There is no way back: once it is out, what it has on its disk is
	// nobody's any more, and its pod and volume have to go before anything else comes.
	Leaving bool
}

// NewState is that of a cluster that was not started yet.
func NewState(replicas int32, token string) State {
	n := int(replicas)
	return State{Token: token, Initial: n, Members: n, Peers: n, Partition: n}
}

// Settings are the operator's own.
type Settings struct {
	// Image is used where the cluster names none.
	Image string
	// ClusterDomain is the one of Services, without dots at its ends.
	ClusterDomain string
	// FrontNamespace is where fronts of VIPs run. It permits privileged pods. Empty: there are no VIPs.
	FrontNamespace string
	// OperatorNamespace is where the operator runs, with OperatorLabels: it may ask the primaries' admin API.
	OperatorNamespace string
	OperatorLabels    map[string]string
	// PodMonitors: the Kubernetes cluster has that kind, of Prometheus' operator.
	PodMonitors bool
	// PodMonitorLabels are further labels of theirs, by which a Prometheus may select them.
	PodMonitorLabels map[string]string
}

// DefaultSettings has every value that has a sensible default; Image has none.
func DefaultSettings() Settings {
	return Settings{
		ClusterDomain: "cluster.local", FrontNamespace: "zonekeeper-front", OperatorNamespace: "zonekeeper-system",
		OperatorLabels: map[string]string{labelName: appName, labelComponent: "operator"},
	}
}

// maxPrimaries is the greatest number of primaries. Certificates name that many, so that growing needs no new ones.
const maxPrimaries = 5

// Validate reports what the caller has forgotten. What users can get wrong the API server has refused before, or is a Problem.
func (in Input) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("resources: "+format, args...)) }
	if in.Cluster == nil || in.Cluster.Name == "" || in.Cluster.Namespace == "" {
		bad("Cluster has no name or namespace: pass an object that the API server has stored")
		return errors.Join(errs...)
	}
	s := in.State
	if s.Token == "" {
		bad("State.Token is empty: mint one, store it, then build")
	}
	if s.Peers < 1 || s.Peers > s.Members || s.Members > maxPrimaries {
		bad("State has Peers %d and Members %d: use 1 to Members, and at most %d", s.Peers, s.Members, maxPrimaries)
	}
	if s.Initial%2 == 0 || s.Initial < 1 || s.Initial > maxPrimaries {
		bad("State.Initial is %d: use 1, 3 or 5", s.Initial)
	}
	if !s.Formed && s.Members != s.Initial {
		bad("State has Members %d before the first start of %d: scale when the cluster is formed", s.Members, s.Initial)
	}
	if s.Partition < 0 || s.Partition > s.Members {
		bad("State.Partition is %d: use 0 to Members (%d)", s.Partition, s.Members)
	}
	if in.Settings.ClusterDomain == "" || in.Settings.OperatorNamespace == "" {
		bad("Settings lack ClusterDomain or OperatorNamespace: start from DefaultSettings")
	}
	if in.image() == "" {
		bad("no image: set spec.images.zonekeeper, or Settings.Image")
	}
	return errors.Join(errs...)
}

func (in Input) image() string {
	if i := in.Cluster.Spec.Images.Zonekeeper; i != "" {
		return i
	}
	return in.Settings.Image
}

func (in Input) external() bool { return in.Cluster.Spec.ExternalLog != nil }

package vipobject

import (
	"net/netip"
	"time"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front/announce"
)

// Use is an exposure that names the VirtualIP.
type Use struct{ Cluster, Exposure string }

// Uses are the exposures of clusters, which are in its namespace, that name a VirtualIP; a cluster that goes uses nothing.
func Uses(name string, clusters []v1alpha1.BindCluster) (out []Use) {
	for _, c := range clusters {
		if !c.DeletionTimestamp.IsZero() {
			continue
		}
		for _, e := range c.Spec.Exposures {
			if e.VIP != nil && e.VIP.VirtualIP == name {
				out = append(out, Use{c.Name, e.Name})
			}
		}
	}
	return out
}

// Said is a front's last word, with times of the operator's own clock.
type Said struct {
	announce.State
	// Heard is when it was heard last, Began when it was heard first in its present VRRP state.
	Heard, Began time.Time
	// Stale: it has not been repeated for long.
	Stale bool
}

// Front is a pod on a node.
type Front struct {
	Ready bool
	// Message says why it does not run or is not ready, as Kubernetes has it.
	Message string
}

// Node is one that the VirtualIP selects.
type Node struct {
	Name string
	// Labelled: the gate is open there.
	Labelled bool
	Front    *Front // nil: there is none
	Said     *Said  // nil: it has said nothing
}

// Openness is what is known of the network at one node.
type Openness int

// Openness of a node.
const (
	// Unknown: the network could not be asked, or not about this node.
	Unknown Openness = iota
	// Open: packets from and to the addresses pass.
	Open
	// Closed: they don't.
	Closed
)

// NodeNetwork is the network at one node; Message says what is missing.
type NodeNetwork struct {
	Openness Openness
	Message  string
}

// Network is what there is below the nodes.
type Network struct {
	// Done: nothing is missing.
	Done bool
	// Reason and Message of the condition when something is; both empty stands for what Nodes and Pending say.
	Reason, Message string
	// Unreachable: nothing is known, because the network could not be asked.
	Unreachable bool
	Nodes       map[string]NodeNetwork
	// Pending are changes that are missing.
	Pending           []string
	FloatingAddresses []string
}

// Facts are all that decides.
type Facts struct {
	VIP  *v1alpha1.VirtualIP
	Uses []Use
	// Nodes that are selected, by name.
	Nodes []Node
	// Network is nil when the VirtualIP has no section about one.
	Network *Network
	// Last is the node that was seen with the addresses last, and Taken when it was heard first that it has them, by the operator's clock.
	Last  string
	Taken time.Time
	// Moving: a node had the addresses a moment ago.
	Moving bool
	// Enabled: the operator may run fronts in nodes' networks.
	Enabled bool
}

// Addresses are the VirtualIP's, without the prefixes' lengths.
func Addresses(v *v1alpha1.VirtualIP) (out []netip.Addr) {
	for _, a := range v.Spec.Addresses {
		if p, err := netip.ParsePrefix(string(a)); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

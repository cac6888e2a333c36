package vipobject

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
)

// enough is how many fronts an address needs to survive the loss of a node.
const enough = 2

// Result is what a pass says.
type Result struct {
	// Findings are the conditions in the order in which one needs the other; Healthy is the summary when there is no trouble.
	Findings []conditions.Finding
	Healthy  string
	// Status has everything but conditions, summary and generation.
	Status v1alpha1.VirtualIPStatus
}

// Judge says what a VirtualIP is.
func Judge(f Facts) Result {
	var r Result
	for _, a := range Addresses(f.VIP) {
		r.Status.Addresses = append(r.Status.Addresses, a.String())
	}
	r.Findings = append(r.Findings, f.accepted(&r.Status))
	masters, ready := f.nodes(&r.Status)
	r.Status.Ready = fmt.Sprintf("%d/%d", ready, len(f.Nodes))
	if f.VIP.Spec.OpenStack != nil {
		r.Findings = append(r.Findings, f.network(&r.Status))
	}
	if len(f.Uses) != 1 {
		missing := "no exposure uses it, so no front runs"
		if len(f.Uses) > 1 {
			missing = "several exposures use it"
		}
		r.Findings = append(r.Findings, conditions.Unknown(v1alpha1.ConditionFrontsReady, v1alpha1.ReasonPending, missing),
			conditions.Unknown(v1alpha1.ConditionPublished, v1alpha1.ReasonPending, missing))
		return r
	}
	published := f.published(masters, &r.Status)
	fronts := f.fronts(&r.Status, ready)
	// Without a holder that is what matters, and the fronts say why; with one it is the fronts that need somebody.
	r.Findings = append(r.Findings, fronts, published)
	r.Healthy = fmt.Sprintf("%s is at node %s; %s nodes are ready", strings.Join(r.Status.Addresses, ", "), r.Status.Holder, r.Status.Ready)
	return r
}

func (f Facts) accepted(s *v1alpha1.VirtualIPStatus) conditions.Finding {
	const kind = v1alpha1.ConditionAccepted
	switch {
	case len(f.Uses) == 0:
		return conditions.Bad(kind, v1alpha1.ReasonNotUsed, fmt.Sprintf(
			"no BindCluster of namespace %s has an exposure with vip.virtualIP: %s; add one to spec.exposures, with type: VIP", f.VIP.Namespace, f.VIP.Name))
	case len(f.Uses) > 1:
		var names []string
		for _, u := range f.Uses {
			names = append(names, u.Cluster+"/"+u.Exposure)
		}
		return conditions.Bad(kind, v1alpha1.ReasonUsedTwice, fmt.Sprintf(
			"exposures %s use it; an address can lead to one of them: give each a VirtualIP of its own", strings.Join(names, ", ")))
	}
	s.Cluster, s.Exposure = f.Uses[0].Cluster, f.Uses[0].Exposure
	if !f.Enabled {
		return conditions.Bad(kind, v1alpha1.ReasonInvalid,
			"the operator was installed without VIPs, so no front may run in a node's network; install it with vip.enabled: true, or use another type of exposure")
	}
	return conditions.Good(kind, fmt.Sprintf("exposure %s of BindCluster %s uses it", s.Exposure, s.Cluster))
}

// lag is how much later than its successor's first word a former holder's last one may have been heard: they come on different ways.
const lag = 5 * time.Second

// masters are the nodes that say that they have the addresses, the newest first. Those that have said nothing since that one took them are left out: they are
// dead, or did not come to say that they lost them.
func (f Facts) masters() []*Node {
	var all []*Node
	for i := range f.Nodes {
		if n := &f.Nodes[i]; n.Front != nil && n.Said != nil && !n.Said.Stale && n.Said.VRRP == v1alpha1.VIPNodeMaster && !f.outdated(n) {
			all = append(all, n)
		}
	}
	slices.SortStableFunc(all, func(a, b *Node) int { return b.Said.Since.Compare(a.Said.Since) })
	if len(all) < 2 {
		return all
	}
	taken := all[0].Said.Began
	return append(all[:1:1], slices.DeleteFunc(all[1:], func(n *Node) bool { return n.Said.Heard.Before(taken.Add(lag)) })...)
}

// outdated: another node has taken the addresses since this one has said that it has them, and nothing was heard of it after that.
func (f Facts) outdated(n *Node) bool {
	return f.Last != "" && n.Name != f.Last && n.Said.Began.Before(f.Taken) && n.Said.Heard.Before(f.Taken.Add(lag))
}

// nodes writes what each node is, and gives those that have the addresses.
func (f Facts) nodes(s *v1alpha1.VirtualIPStatus) (masters []*Node, ready int) {
	masters = f.masters()
	for i := range f.Nodes {
		n := &f.Nodes[i]
		st := f.node(n)
		if st.State == v1alpha1.VIPNodeMaster && !slices.Contains(masters, n) {
			st.State, st.Ready, st.Message = v1alpha1.VIPNodeSilent, false, "another node has taken the addresses, and this one has said nothing since"
		}
		if st.Ready {
			ready++
		}
		s.Nodes = append(s.Nodes, st)
	}
	return masters, ready
}

func (f Facts) node(n *Node) v1alpha1.VIPNodeStatus {
	st := v1alpha1.VIPNodeStatus{Name: n.Name, State: v1alpha1.VIPNodeAbsent}
	switch said := n.Said; {
	case n.Front == nil && f.Network != nil && !n.Labelled:
		st.State = v1alpha1.VIPNodeWaiting
		st.Message = cmp.Or(f.Network.Nodes[n.Name].Message, "the network was not asked about this node yet")
	case n.Front == nil:
		st.Message = "no front runs there; does the node take pods (taints, room), and has it no other VirtualIP?"
	case said == nil:
		st.Message = cmp.Or(n.Front.Message, "its front starts")
	case said.Stale:
		st.State = v1alpha1.VIPNodeSilent
		st.Message = cmp.Or(n.Front.Message, "its front has said nothing for long: is the node cut off from the API server?")
	default:
		st.State, st.Message = said.VRRP, said.Message
		if said.VRRP == v1alpha1.VIPNodeFault {
			st.Message = cmp.Or(said.Message, "keepalived has not joined the others yet")
		}
		t := metav1.NewTime(said.Since).Rfc3339Copy()
		st.Since = &t
		st.Ready = said.Ready && said.VRRP != v1alpha1.VIPNodeFault
		if st.Ready && said.Score < 2 {
			st.Message = "no primary is ready, as seen from there"
		}
	}
	return st
}

func (f Facts) network(s *v1alpha1.VirtualIPStatus) conditions.Finding {
	const kind = v1alpha1.ConditionNetworkReady
	n := f.Network
	if n == nil {
		return conditions.Unknown(kind, v1alpha1.ReasonPending, "the network was not asked yet")
	}
	const most = 64
	s.Network = &v1alpha1.VIPNetworkStatus{Message: n.Message, Pending: n.Pending[:min(len(n.Pending), most)], FloatingAddresses: n.FloatingAddresses}
	var closed []string
	for _, node := range f.Nodes {
		if at := n.Nodes[node.Name]; at.Openness == Closed {
			closed = append(closed, fmt.Sprintf("node %s: %s", node.Name, at.Message))
		}
	}
	switch {
	case n.Unreachable:
		return conditions.Unknown(kind, cmp.Or(n.Reason, v1alpha1.ReasonUnreachable), n.Message+"; fronts stay as they are")
	case n.Reason != "":
		return conditions.Bad(kind, n.Reason, n.Message)
	case len(closed) > 0:
		return conditions.Bad(kind, v1alpha1.ReasonNetworkClosed, strings.Join(closed, "; "))
	case !n.Done:
		return conditions.Bad(kind, v1alpha1.ReasonNetworkClosed, cmp.Or(n.Message, strings.Join(n.Pending, "; "), "something is missing"))
	}
	return conditions.Good(kind, cmp.Or(n.Message, "the network lets the addresses through at every node"))
}

// fronts says whether the addresses would survive the loss of a node.
func (f Facts) fronts(s *v1alpha1.VirtualIPStatus, ready int) conditions.Finding {
	const kind = v1alpha1.ConditionFrontsReady
	var missing []string
	for _, n := range s.Nodes {
		if !n.Ready {
			missing = append(missing, fmt.Sprintf("node %s is %s: %s", n.Name, n.State, n.Message))
		}
	}
	text := strings.Join(missing, "; ")
	switch {
	case len(f.Nodes) < enough:
		return conditions.Bad(kind, v1alpha1.ReasonFrontsMissing, fmt.Sprintf("spec.nodeSelector picks %d nodes; label %d or more", len(f.Nodes), enough))
	case ready < enough:
		return conditions.Bad(kind, v1alpha1.ReasonFrontsMissing, fmt.Sprintf("%d of %d nodes are ready, and the addresses need %d to survive one: %s", ready, len(f.Nodes), enough, text))
	case text != "":
		return conditions.Good(kind, fmt.Sprintf("%d of %d nodes are ready; %s", ready, len(f.Nodes), text))
	}
	return conditions.Good(kind, fmt.Sprintf("all %d nodes are ready", len(f.Nodes)))
}

// published says who has the addresses.
func (f Facts) published(masters []*Node, s *v1alpha1.VirtualIPStatus) conditions.Finding {
	const kind = v1alpha1.ConditionPublished
	if len(masters) == 0 && f.Moving {
		return conditions.Unknown(kind, v1alpha1.ReasonPending, "the addresses are on their way to another node")
	}
	if len(masters) == 0 {
		return conditions.Bad(kind, v1alpha1.ReasonNoHolder, "no node says that it has the addresses; see status.nodes")
	}
	holder := masters[0]
	s.Holder = holder.Name
	t := metav1.NewTime(holder.Said.Since).Rfc3339Copy()
	s.HolderSince = &t
	if len(masters) > 1 {
		var names []string
		for _, m := range masters {
			names = append(names, m.Name)
		}
		return conditions.Bad(kind, v1alpha1.ReasonTwoHolders, fmt.Sprintf(
			"nodes %s all have the addresses: they do not hear each other; let VRRP (protocol 112) pass between them. No update is lost or applied twice by this", strings.Join(names, ", ")))
	}
	return conditions.Good(kind, "node "+holder.Name+" has the addresses")
}

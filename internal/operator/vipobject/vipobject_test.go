package vipobject

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front/announce"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// node is one with a front that says vrrp since so many seconds after noon, and was heard then and now.
func node(name, vrrp string, since int, adjust ...func(*Node)) Node {
	at := noon.Add(time.Duration(since) * time.Second)
	n := Node{Name: name, Labelled: true, Front: &Front{Ready: true},
		Said: &Said{State: announce.State{VRRP: vrrp, Since: at, Ready: vrrp != "fault", Score: 2}, Began: at, Heard: noon.Add(time.Hour)}}
	for _, a := range adjust {
		a(&n)
	}
	return n
}

func virtualIP() *v1alpha1.VirtualIP {
	return &v1alpha1.VirtualIP{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "updates"}, Spec: v1alpha1.VirtualIPSpec{
		Addresses: []v1alpha1.Prefix{"192.0.2.100/32", "2001:db8::100/128"}}}
}

func TestJudge(t *testing.T) {
	one := []Use{{"c", "vip"}}
	silent := func(n *Node) { n.Said = nil }
	network := func(nodes map[string]NodeNetwork, adjust ...func(*Network)) *Network {
		n := &Network{Nodes: nodes}
		for _, a := range adjust {
			a(n)
		}
		return n
	}
	open := map[string]NodeNetwork{"n1": {Openness: Open}, "n2": {Openness: Open}}
	for name, c := range map[string]struct {
		f Facts
		// want is "condition status reason" of each that is not True, and holder and ready.
		want, holder, ready string
		words               string // in the message of the first that is not True, or in Healthy
	}{
		"healthy": {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1)}}, "", "n1", "2/2",
			"192.0.2.100, 2001:db8::100 is at node n1; 2/2 nodes are ready"},
		"nobody uses it":     {Facts{}, "Accepted False NotUsed;FrontsReady Unknown Pending;Published Unknown Pending", "", "0/0", "add one to spec.exposures"},
		"two use it":         {Facts{Uses: []Use{{"c", "a"}, {"d", "b"}}}, "Accepted False UsedTwice;FrontsReady Unknown Pending;Published Unknown Pending", "", "0/0", "c/a, d/b"},
		"it begins":          {Facts{Uses: one, Nodes: []Node{node("n1", "", 0, silent), node("n2", "", 0, silent)}}, "FrontsReady False FrontsMissing;Published False NoHolder", "", "0/2", "n1 is absent: its front starts"},
		"no pods":            {Facts{Uses: one, Nodes: []Node{{Name: "n1"}, {Name: "n2"}}}, "FrontsReady False FrontsMissing;Published False NoHolder", "", "0/2", "n1 is absent: no front runs there"},
		"one of three fails": {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1), node("n3", "fault", 1, func(n *Node) { n.Said.Message = "haproxy: it ended" })}}, "", "n1", "2/3", "at node n1"},
		"two of three fail": {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1), node("n2", "fault", 1), node("n3", "fault", 1, func(n *Node) { n.Said.Message = "haproxy: it ended" })}},
			"FrontsReady False FrontsMissing", "n1", "1/3", "node n3 is fault: haproxy: it ended"},
		"the former holder died": {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1, func(n *Node) { n.Said.Heard = noon.Add(100 * time.Second) }), node("n2", "master", 99), node("n3", "backup", 1)}},
			"", "n2", "2/3", "at node n2"},
		"two holders":         {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1), node("n2", "master", 99)}}, "Published False TwoHolders", "n2", "2/2", "nodes n2, n1 all have"},
		"a holder falls mute": {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1, func(n *Node) { n.Said.Stale = true }), node("n2", "backup", 1), node("n3", "backup", 1)}}, "Published False NoHolder", "", "2/3", "see status.nodes"},
		"it moves":            {Facts{Uses: one, Moving: true, Nodes: []Node{node("n1", "fault", 1), node("n2", "backup", 1), node("n3", "backup", 1)}}, "Published Unknown Pending", "", "2/3", "on their way"},
		"one node":            {Facts{Uses: one, Nodes: []Node{node("n1", "master", 1)}}, "FrontsReady False FrontsMissing", "n1", "1/1", "picks 1 nodes; label 2"},
		"not asked yet":       {Facts{Uses: one, VIP: inOpenStack(), Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1)}}, "NetworkReady Unknown Pending", "n1", "2/2", "not asked yet"},
		"the network is open": {Facts{Uses: one, VIP: inOpenStack(), Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1)}, Network: network(open, func(n *Network) { n.Done = true })}, "", "n1", "2/2", "at node n1"},
		"a node is closed": {Facts{Uses: one, VIP: inOpenStack(), Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1), {Name: "n3"}},
			Network: network(map[string]NodeNetwork{"n1": {Openness: Open}, "n2": {Openness: Open}, "n3": {Closed, "its port lacks a pair"}})},
			"NetworkReady False NetworkClosed", "n1", "2/3", "node n3: its port lacks a pair"},
		"the network is not reached": {Facts{Uses: one, VIP: inOpenStack(), Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1)},
			Network: network(nil, func(n *Network) { n.Unreachable, n.Message = true, "Neutron: 503" })}, "NetworkReady Unknown Unreachable", "n1", "2/2", "Neutron: 503; fronts stay"},
		"verify finds what is missing": {Facts{Uses: one, VIP: inOpenStack(), Nodes: []Node{node("n1", "master", 1), node("n2", "backup", 1)},
			Network: network(open, func(n *Network) { n.Pending = []string{"create rule 53/udp"} })}, "NetworkReady False NetworkClosed", "n1", "2/2", "create rule 53/udp"},
	} {
		if c.f.VIP == nil {
			c.f.VIP = virtualIP()
		}
		c.f.Enabled = true
		r := Judge(c.f)
		var bad []string
		words := r.Healthy
		for i := len(r.Findings) - 1; i >= 0; i-- {
			if f := r.Findings[i]; f.Status != metav1.ConditionTrue {
				bad = append([]string{fmt.Sprint(f.Type, " ", f.Status, " ", f.Reason)}, bad...)
				words = f.Message
			}
		}
		if got := strings.Join(bad, ";"); got != c.want || r.Status.Holder != c.holder || r.Status.Ready != c.ready || !strings.Contains(words, c.words) {
			t.Errorf("%s: %q, holder %q, ready %q, %q", name, got, r.Status.Holder, r.Status.Ready, words)
		}
		if (r.Status.Holder == "") != (r.Status.HolderSince == nil) {
			t.Errorf("%s: holder %q since %v", name, r.Status.Holder, r.Status.HolderSince)
		}
	}
	if r := Judge(Facts{VIP: virtualIP(), Uses: one}); r.Findings[0].Reason != v1alpha1.ReasonInvalid || !strings.Contains(r.Findings[0].Message, "vip.enabled") {
		t.Errorf("without VIPs: %+v", r.Findings[0])
	}
}

func inOpenStack() *v1alpha1.VirtualIP {
	v := virtualIP()
	v.Spec.OpenStack = &v1alpha1.OpenStackVIP{}
	return v
}

// TestGate: in any order of what is found, no front is sent away unless a better node is known, and none is let in before the network is open.
func TestGate(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a simulation
	for range 20000 {
		network, nodes := &Network{Nodes: map[string]NodeNetwork{}}, []Node(nil)
		for i := range r.IntN(5) {
			n := Node{Name: fmt.Sprint(i), Labelled: r.IntN(2) == 0}
			nodes = append(nodes, n)
			network.Nodes[n.Name] = NodeNetwork{Openness: Openness(r.IntN(3))}
		}
		got := Gate(nodes, network)
		before, after, open := 0, 0, 0
		for _, n := range nodes {
			o := network.Nodes[n.Name].Openness
			if got[n.Name] && !n.Labelled && o != Open {
				t.Fatalf("seed %d: node %s opens while its network is %d", seed, n.Name, o)
			}
			if !got[n.Name] && (o != Closed && n.Labelled || o == Open) {
				t.Fatalf("seed %d: node %s is closed while its network is %d", seed, n.Name, o)
			}
			if n.Labelled {
				before++
			}
			if got[n.Name] {
				after++
			}
			if o == Open {
				open++
			}
		}
		if before > 0 && after == 0 || open == 0 && after != before {
			t.Fatalf("seed %d: %d open gates become %d, with %d open nodes", seed, before, after, open)
		}
	}
	if got := Gate([]Node{{Name: "a", Labelled: true}}, nil); len(maps.Collect(maps.All(got))) != 0 {
		t.Errorf("without a network: %v", got)
	}
}

func TestUses(t *testing.T) {
	now := metav1.Now()
	named := func(name string, deleted *metav1.Time, vip string) v1alpha1.BindCluster {
		return v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Name: name, DeletionTimestamp: deleted}, Spec: v1alpha1.BindClusterSpec{
			Exposures: []v1alpha1.Exposure{{Name: "plain"}, {Name: "e", VIP: &v1alpha1.VIPExposure{VirtualIP: vip}}}}}
	}
	got := Uses("v", []v1alpha1.BindCluster{named("a", nil, "v"), named("b", &now, "v"), named("c", nil, "w")})
	if len(got) != 1 || got[0] != (Use{"a", "e"}) {
		t.Errorf("%v", got)
	}
}

// Package policy enforces NetworkPolicies on the nodes of a test cluster, whose network plugin does not: what Kubernetes' API documentation
// says a policy does, as rules of nftables. It knows pods, namespaces, ipBlocks and numbers of ports; a rule with anything else lets nobody in.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// State is what rules are made of.
type State struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
}

// Table is the name of the nftables table.
const Table = "network-policies"

// Rules is the table of a node, as one transaction of nft. It is pure, and the same for the same state.
func Rules(node string, s State) string {
	var own []*corev1.Pod
	for _, p := range s.Pods {
		if p.Spec.NodeName == node && hasAddress(p) {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	policies := slices.SortedFunc(slices.Values(s.Policies), func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})

	var chains strings.Builder
	in, out := []string{}, []string{}
	for _, p := range own {
		for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			isolated := false
			var rules []string
			for _, np := range policies {
				if np.Namespace != p.Namespace || !selects(&np.Spec.PodSelector, p.Labels) || !slices.Contains(np.Spec.PolicyTypes, direction) {
					continue
				}
				isolated = true
				rules = append(rules, s.allowed(np, direction)...)
			}
			if !isolated {
				continue
			}
			chain := fmt.Sprintf("%s-%s", strings.ToLower(string(direction)), strings.ReplaceAll(p.Status.PodIP, ".", "-"))
			fmt.Fprintf(&chains, "  chain %s { # %s/%s\n", chain, p.Namespace, p.Name)
			for _, r := range rules {
				fmt.Fprintf(&chains, "    %s\n", r)
			}
			fmt.Fprintf(&chains, "    counter drop\n  }\n")
			element := fmt.Sprintf("%s : jump %s", p.Status.PodIP, chain)
			if direction == networkingv1.PolicyTypeIngress {
				in = append(in, element)
			} else {
				out = append(out, element)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n%s", Table, chains.String())
	hook := func(name string, maps ...string) {
		fmt.Fprintf(&b, "  chain %s {\n    type filter hook %[1]s priority 0; policy accept;\n    ct state established,related accept\n", name)
		for _, m := range maps {
			if m != "" {
				fmt.Fprintf(&b, "    %s\n", m)
			}
		}
		b.WriteString("  }\n")
	}
	leaving := vmap("saddr", out)
	hook("forward", leaving, vmap("daddr", in))
	hook("input", leaving) // a pod that asks its own node; what comes from the node is the kubelet's, and always allowed
	b.WriteString("}\n")
	return b.String()
}

func vmap(field string, elements []string) string {
	if len(elements) == 0 {
		return ""
	}
	return fmt.Sprintf("ip %s vmap { %s }", field, strings.Join(elements, ", "))
}

// hasAddress says whether a pod has an address of its own that is in use.
func hasAddress(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && p.Status.PodIP != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// allowed are the rules that accept what a policy allows: "return", because the other end's policies are asked as well.
func (s State) allowed(np *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) (rules []string) {
	add := func(field string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		from := []string{""}
		if len(peers) > 0 {
			from = s.addresses(np.Namespace, field, peers)
		}
		to := []string{""}
		if len(ports) > 0 {
			to = nil
			for _, p := range ports {
				if m, ok := port(p); ok {
					to = append(to, m)
				}
			}
		}
		for _, f := range from {
			for _, t := range to {
				rules = append(rules, strings.Join(strings.Fields(f+" "+t+" return"), " "))
			}
		}
	}
	if direction == networkingv1.PolicyTypeIngress {
		for _, r := range np.Spec.Ingress {
			add("saddr", r.From, r.Ports)
		}
		return rules
	}
	for _, r := range np.Spec.Egress {
		add("daddr", r.To, r.Ports)
	}
	return rules
}

// addresses are matches of a packet's address, one for each kind of peer.
func (s State) addresses(namespace, field string, peers []networkingv1.NetworkPolicyPeer) (matches []string) {
	var pods []string
	for _, peer := range peers {
		if b := peer.IPBlock; b != nil {
			m := fmt.Sprintf("ip %s %s", field, b.CIDR)
			if len(b.Except) > 0 {
				m += fmt.Sprintf(" ip %s != { %s }", field, strings.Join(b.Except, ", "))
			}
			matches = append(matches, m)
			continue
		}
		for _, p := range s.Pods {
			if !hasAddress(p) || !s.inside(peer.NamespaceSelector, namespace, p.Namespace) || peer.PodSelector != nil && !selects(peer.PodSelector, p.Labels) {
				continue
			}
			pods = append(pods, p.Status.PodIP)
		}
	}
	if len(pods) > 0 {
		slices.Sort(pods)
		matches = append(matches, fmt.Sprintf("ip %s { %s }", field, strings.Join(slices.Compact(pods), ", ")))
	}
	return matches
}

// inside says whether a namespace is one that a peer means: the policy's own without a selector.
func (s State) inside(selector *metav1.LabelSelector, own, name string) bool {
	if selector == nil {
		return name == own
	}
	for _, n := range s.Namespaces {
		if n.Name == name {
			return selects(selector, n.Labels)
		}
	}
	return false
}

// selects says whether a selector matches; one that can't be read does not.
func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}

// port is the match of a port; a name of one is not known here.
func port(p networkingv1.NetworkPolicyPort) (string, bool) {
	protocol := "tcp"
	if p.Protocol != nil {
		protocol = strings.ToLower(string(*p.Protocol))
	}
	switch {
	case p.Port == nil:
		return "meta l4proto " + protocol, true
	case p.Port.StrVal != "":
		return "", false
	case p.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", protocol, p.Port.IntVal, *p.EndPort), true
	}
	return fmt.Sprintf("%s dport %d", protocol, p.Port.IntVal), true
}

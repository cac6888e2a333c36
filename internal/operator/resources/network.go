package resources

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Values of BindClusterSpec.NetworkPolicy.
const (
	policiesCilium = "Cilium"
	policiesNone   = "None"
)

// API servers listen on either; a policy can't name them.
const (
	portAPI      = 443
	portAPIOther = 6443
)

// policies adds what narrows traffic to what the cluster needs. Policies add up: users allow more by policies of their own.
func (b *builder) policies() {
	if b.Cluster.Spec.NetworkPolicy == policiesNone {
		return
	}
	b.add(b.policy(b.PrimaryName(), ComponentPrimary, b.toPrimaries(), b.fromPrimaries()))
	b.add(b.policy(b.SecondaryName(), ComponentSecondary, b.toSecondaries(), append(resolver(),
		networkingv1.NetworkPolicyEgressRule{To: b.pods(ComponentPrimary), Ports: ports(both(portDNS), tcp(portAdmin))})))
	if slices.ContainsFunc(b.Cluster.Spec.Exposures, func(e v1alpha1.Exposure) bool { return e.Type != v1alpha1.ExposureVIP }) {
		b.add(b.policy(b.frontAccount(), ComponentFront,
			[]networkingv1.NetworkPolicyIngressRule{{Ports: ports(both(portDNS))}},
			append(resolver(), networkingv1.NetworkPolicyEgressRule{To: b.pods(ComponentPrimary), Ports: ports(both(portFront), tcp(portAdmin))},
				networkingv1.NetworkPolicyEgressRule{Ports: ports(tcp(portAPI, portAPIOther))})))
	}
	if b.Cluster.Spec.NetworkPolicy == policiesCilium {
		b.cilium()
	}
}

func (b *builder) policy(name, component string, in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: b.meta(name, component),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: b.Selector(component)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     in, Egress: out,
		},
	}
}

func (b *builder) toPrimaries() []networkingv1.NetworkPolicyIngressRule {
	rules := []networkingv1.NetworkPolicyIngressRule{
		{From: b.pods(ComponentSecondary), Ports: ports(both(portDNS), tcp(portAdmin))},
		{From: b.pods(ComponentFront), Ports: ports(both(portFront), tcp(portAdmin))},
	}
	log := []int32{portAdmin}
	if !b.external() {
		log = append(log, portLogClient, portLogPeer)
	}
	rules = append(rules, networkingv1.NetworkPolicyIngressRule{From: b.pods(ComponentPrimary), Ports: ports(tcp(log...))})
	if nodes := b.frontNodes(); len(nodes) > 0 {
		// A pod in its node's network has the node's address, which no selector picks.
		rules = append(rules, networkingv1.NetworkPolicyIngressRule{From: nodes, Ports: ports(both(portFront), tcp(portAdmin))})
	}
	return append(rules, networkingv1.NetworkPolicyIngressRule{From: b.administrators(), Ports: ports(tcp(portAdmin))})
}

func (b *builder) fromPrimaries() []networkingv1.NetworkPolicyEgressRule {
	log := []int32{portAdmin}
	if !b.external() {
		log = append(log, portLogClient, portLogPeer)
	}
	rules := append(resolver(),
		networkingv1.NetworkPolicyEgressRule{To: b.pods(ComponentPrimary), Ports: ports(tcp(log...))},
		networkingv1.NetworkPolicyEgressRule{To: b.pods(ComponentSecondary), Ports: ports(tcp(portAdmin))},
		// NOTIFY to foreign secondaries, wherever they are.
		networkingv1.NetworkPolicyEgressRule{Ports: ports(both(portService))})
	if b.external() {
		rules = append(rules, networkingv1.NetworkPolicyEgressRule{Ports: ports(tcp(portLogClient))})
	}
	return rules
}

func (b *builder) toSecondaries() []networkingv1.NetworkPolicyIngressRule {
	return []networkingv1.NetworkPolicyIngressRule{
		{Ports: ports(both(portDNS))}, // the world
		{From: b.pods(ComponentPrimary), Ports: ports(tcp(portAdmin))},
		{From: b.administrators(), Ports: ports(tcp(portAdmin))},
	}
}

// resolver lets pods ask the cluster's DNS: the pods themselves on any port, since a policy sees the port behind the Service, and a cache on the
// node at its usual address.
func resolver() []networkingv1.NetworkPolicyEgressRule {
	return []networkingv1.NetworkPolicyEgressRule{
		{To: []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
		}}},
		{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "169.254.20.10/32"}}}, Ports: ports(both(portService))},
	}
}

// administrators are the operator, and whoever may read metrics.
func (b *builder) administrators() []networkingv1.NetworkPolicyPeer {
	peers := []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.Settings.OperatorNamespace}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: b.Settings.OperatorLabels},
	}}
	if s := b.Cluster.Spec.MonitoredFrom; s != nil {
		peers = append(peers, networkingv1.NetworkPolicyPeer{NamespaceSelector: s})
	}
	return peers
}

func (b *builder) pods(component string) []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: b.Selector(component)}}}
}

// frontNodes are the nodes with fronts of VIPs.
func (b *builder) frontNodes() []networkingv1.NetworkPolicyPeer {
	var blocks []string
	for _, e := range b.Cluster.Spec.Exposures {
		if e.Type != v1alpha1.ExposureVIP || b.VirtualIPs[e.VIP.VirtualIP] == nil {
			continue
		}
		nodes, _ := b.vipNodes(b.VirtualIPs[e.VIP.VirtualIP])
		for _, n := range nodes {
			a := netip.MustParseAddr(n.address) // vipNodes has parsed it
			blocks = append(blocks, netip.PrefixFrom(a, a.BitLen()).String())
		}
	}
	slices.Sort(blocks)
	var peers []networkingv1.NetworkPolicyPeer
	for _, c := range slices.Compact(blocks) {
		peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: c}})
	}
	return peers
}

func tcp(numbers ...int32) (l []networkingv1.NetworkPolicyPort) {
	for _, n := range numbers {
		l = append(l, networkingv1.NetworkPolicyPort{Protocol: ptr(corev1.ProtocolTCP), Port: ptr(intstr.FromInt32(n))})
	}
	return l
}

// both are UDP and TCP.
func both(number int32) []networkingv1.NetworkPolicyPort {
	return append([]networkingv1.NetworkPolicyPort{{Protocol: ptr(corev1.ProtocolUDP), Port: ptr(intstr.FromInt32(number))}}, tcp(number)...)
}

func ports(lists ...[]networkingv1.NetworkPolicyPort) []networkingv1.NetworkPolicyPort {
	return slices.Concat(lists...)
}

// cilium adds what Cilium's own policies can name and Kubernetes' can't: nodes, whose traffic its ipBlocks never match, and the API server.
func (b *builder) cilium() {
	entities := func(ports ...any) map[string]any { return map[string]any{"ports": ports} }
	port := func(number int, protocol string) any {
		return map[string]any{"port": strconv.Itoa(number), "protocol": protocol}
	}
	if b.HasVIP() {
		b.ciliumPolicy(b.PrimaryName(), ComponentPrimary, "ingress", map[string]any{
			"fromEntities": []any{"host", "remote-node"},
			"toPorts":      []any{entities(port(portFront, "UDP"), port(portFront, "TCP"), port(portAdmin, "TCP"))},
		})
	}
	if len(b.Cluster.Spec.Exposures) > 0 {
		b.ciliumPolicy(b.frontAccount(), ComponentFront, "egress", map[string]any{
			"toEntities": []any{"kube-apiserver"},
			"toPorts":    []any{entities(port(portAPI, "TCP"), port(portAPIOther, "TCP"))},
		})
	}
}

func (b *builder) ciliumPolicy(name, component, direction string, rule map[string]any) {
	match := map[string]any{}
	for k, v := range b.Selector(component) {
		match[k] = v
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
		"spec": map[string]any{"endpointSelector": map[string]any{"matchLabels": match}, direction: []any{rule}},
	}}
	u.SetName(name)
	u.SetLabels(b.Labels(component))
	b.add(u)
}

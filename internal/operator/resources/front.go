package resources

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front"
)

// frontGrace is how long a front has to drain, in seconds: three steps of drain_timeout, and some.
const frontGrace = 30

// frontLinger is how long a front behind a Service works on after it was told to end, in seconds. It is part of frontGrace.
const frontLinger = 5

// frontRole is what fronts of all exposures have in common; secrets are their names in the fronts' own namespace.
func frontRole(file, configMap, tls, key string) role {
	socket := front.SocketPath(pathFront)
	return role{
		component: ComponentFront, grace: frontGrace,
		config:    path.Join(pathConfig, file),
		arguments: []string{"front", "--config", path.Join(pathConfig, file)},
		live:      []string{"front", "probe", "--socket", socket},
		ready:     []string{"front", "probe", "--ready", "--socket", socket},
		volumes: []volume{scratch("run", pathFront, corev1.StorageMediumMemory), configVolume(configMap),
			secretVolume("tls", tls, pathTLS), secretVolume("front-key", key, pathFrontKey)},
	}
}

// frontService adds the front pods of an exposure behind a Service.
func (b *builder) frontService(e v1alpha1.Exposure) error {
	name, secrets := b.FrontName(e.Name), b.secrets()
	text, err := sparse(b.serviceConfig(e), front.DefaultConfig())
	if err != nil {
		return err
	}
	r := frontRole("front.json", name, secrets.frontTLS, secrets.frontKey)
	r.resources = e.Resources
	r.ports = []corev1.ContainerPort{
		{Name: "dns", ContainerPort: portDNS, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", ContainerPort: portDNS, Protocol: corev1.ProtocolTCP}}
	spec := b.podSpec(r, b.frontAccount())
	spec.AutomountServiceAccountToken = ptr(true) // it follows the primaries' EndpointSlices
	// Nodes send to a pod that ends until they have heard of it; then they forget the flows that they had led there. Meanwhile it works on.
	spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: frontLinger}}}
	place(&spec, v1alpha1.Placement{Nodes: v1alpha1.SpreadPreferred, Zones: v1alpha1.SpreadPreferred}, b.frontSelector(e.Name))
	labelled := func(m metav1.ObjectMeta) metav1.ObjectMeta {
		m.Labels = with(m.Labels, LabelExposure, e.Name)
		return m
	}
	replicas := ptr(int32(2))
	if e.Replicas != nil {
		replicas = e.Replicas
	}
	config := b.configMap(name, ComponentFront, map[string]string{"front.json": text})
	config.ObjectMeta = labelled(config.ObjectMeta)
	b.add(config)
	b.add(b.exposureService(e))
	budget := b.budget(name, ComponentFront, policyv1.AlwaysAllow)
	budget.ObjectMeta = labelled(budget.ObjectMeta)
	budget.Spec.Selector.MatchLabels = b.frontSelector(e.Name)
	b.add(budget)
	b.add(&appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: labelled(b.meta(name, ComponentFront)),
		Spec: appsv1.DeploymentSpec{
			Replicas: replicas, Selector: &metav1.LabelSelector{MatchLabels: b.frontSelector(e.Name)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr(intstr.FromInt32(0)), MaxSurge: ptr(intstr.FromInt32(1))}},
			RevisionHistoryLimit: ptr(int32(5)),
			Template: corev1.PodTemplateSpec{Spec: spec, ObjectMeta: metav1.ObjectMeta{
				Labels: with(b.Labels(ComponentFront), LabelExposure, e.Name), Annotations: map[string]string{annotationConfig: digest(text)}}},
		},
	})
	return nil
}

// vipNode is a node that a VirtualIP selects, with the address by which fronts reach each other.
type vipNode struct{ name, address string }

// vipNodes are the nodes that v selects, by name; those without an address of the family that VRRP uses are named apart.
func (in Input) vipNodes(v *v1alpha1.VirtualIP) (nodes []vipNode, without []string) {
	p, err := netip.ParsePrefix(string(v.Spec.Addresses[0]))
	v4 := err != nil || p.Addr().Is4()
	pick := labels.SelectorFromSet(v.Spec.NodeSelector)
	for _, n := range in.Nodes {
		if !pick.Matches(labels.Set(n.Labels)) {
			continue
		}
		i := slices.IndexFunc(n.Addresses, func(a string) bool {
			x, err := netip.ParseAddr(a)
			return err == nil && x.Is4() == v4
		})
		if i < 0 {
			without = append(without, n.Name)
			continue
		}
		nodes = append(nodes, vipNode{n.Name, n.Addresses[i]})
	}
	slices.SortFunc(nodes, func(a, b vipNode) int { return strings.Compare(a.name, b.name) })
	return nodes, without
}

// LetIn is the number of selected nodes where the gate of v is open.
func (in Input) LetIn(v *v1alpha1.VirtualIP) (n int) {
	pick := labels.SelectorFromSet(with(v.Spec.NodeSelector, Gate(v), GateOpen))
	for _, node := range in.Nodes {
		if pick.Matches(labels.Set(node.Labels)) {
			n++
		}
	}
	return n
}

// vip adds the fronts of an exposure whose address moves between nodes.
func (b *builder) vip(e v1alpha1.Exposure) error {
	if b.Settings.FrontNamespace == "" {
		b.problem(e.Name, "the operator was installed without VIPs; install it with vip.enabled: true, or use another type of exposure")
		return nil
	}
	v := b.VirtualIPs[e.VIP.VirtualIP]
	if v == nil || len(v.Spec.Addresses) == 0 {
		b.problem(e.Name, fmt.Sprintf("there is no VirtualIP %s/%s; create it", b.Cluster.Namespace, e.VIP.VirtualIP))
		return nil
	}
	nodes, without := b.vipNodes(v)
	if len(without) > 0 {
		b.problem(e.Name, fmt.Sprintf("nodes %s have no address of the family of %s, which VRRP uses; put an address of theirs first, or select other nodes",
			strings.Join(without, ", "), v.Spec.Addresses[0]))
	}
	if len(nodes) < 2 {
		b.problem(e.Name, fmt.Sprintf("VirtualIP %s selects %d nodes; label at least 2 by its nodeSelector, or use an exposure of type ClusterIP for a single node",
			v.Name, len(nodes)))
		return nil
	}
	files := map[string]string{}
	for _, n := range nodes {
		text, err := sparse(b.vipConfig(v, b.VIPLease(e.Name), n, nodes), front.DefaultConfig())
		if err != nil {
			return err
		}
		files[n.name+".json"] = text
	}
	// Of no node: fronts read their peers again while they run, so a node more or less restarts none.
	common, err := sparse(b.vipConfig(v, b.VIPLease(e.Name), vipNode{}, nil), front.DefaultConfig())
	if err != nil {
		return err
	}
	name, secrets := b.FrontName(e.Name), b.secrets()
	meta := b.outsideMeta(name)
	meta.Labels = with(meta.Labels, LabelExposure, e.Name)
	b.addFront(&corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta, Data: files})

	b.addFront(&coordinationv1.Lease{TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}, ObjectMeta: meta})

	r := frontRole("$(NODE_NAME).json", meta.Name, b.Outside(secrets.frontTLS), b.Outside(secrets.frontKey))
	r.resources = e.Resources
	spec := b.podSpec(r, b.Outside(b.frontAccount()))
	b.onNode(&spec, v)
	if v.Spec.OpenStack != nil && !b.Ungated[e.Name] {
		spec.NodeSelector = with(spec.NodeSelector, Gate(v), GateOpen)
	}
	b.addFront(&appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"}, ObjectMeta: meta,
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: b.VIPSelector(e.Name)},
			// The address moves once at most for each node: whoever has it is drained first.
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr(intstr.FromInt32(1)), MaxSurge: ptr(intstr.FromInt32(0))}},
			MinReadySeconds: 5, RevisionHistoryLimit: ptr(int32(5)),
			Template: corev1.PodTemplateSpec{Spec: spec, ObjectMeta: metav1.ObjectMeta{
				Labels: meta.Labels, Annotations: map[string]string{annotationConfig: digest(common)}}},
		},
	})
	return nil
}

// onNode makes a pod part of its node's network, with the capabilities to move addresses there.
func (b *builder) onNode(spec *corev1.PodSpec, v *v1alpha1.VirtualIP) {
	spec.HostNetwork, spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	spec.AutomountServiceAccountToken = ptr(true)
	spec.NodeSelector = with(v.Spec.NodeSelector, corev1.LabelOSStable, string(corev1.Linux))
	spec.Tolerations = tolerations(v.Spec.Tolerations)
	spec.PriorityClassName = "system-node-critical"
	// Capabilities reach only root: Kubernetes has no ambient ones. Root has these three and no other.
	spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	c := &spec.Containers[0]
	if b.Settings.Image != "" {
		c.Image = b.Settings.Image // whoever may write a BindCluster does not choose what is root in the nodes' network
	}
	c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup = ptr(int64(0)), ptr(int64(0))
	c.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"}
	// Two fronts would claim the node's table of packet filters: another VirtualIP of this node waits for it.
	spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey:       corev1.LabelHostname,
		LabelSelector:     &metav1.LabelSelector{MatchLabels: map[string]string{labelName: appName, labelComponent: ComponentFront}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.Settings.FrontNamespace}},
	}}}}
}

// frontAccess adds the fronts' accounts, and their rights: to follow the primaries' EndpointSlices and, of VIPs, to tell their state in their Leases.
func (b *builder) frontAccess() {
	name := b.frontAccount()
	var subjects []rbacv1.Subject
	var leases []string
	for _, e := range b.Cluster.Spec.Exposures {
		s := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: b.Cluster.Namespace}
		if e.Type == v1alpha1.ExposureVIP {
			if b.Settings.FrontNamespace == "" {
				continue
			}
			s.Name, s.Namespace = b.Outside(name), b.Settings.FrontNamespace
			leases = append(leases, b.VIPLease(e.Name))
		}
		if slices.Contains(subjects, s) {
			continue
		}
		subjects = append(subjects, s)
		account := b.account(name, ComponentFront)
		if e.Type == v1alpha1.ExposureVIP {
			account.ObjectMeta = b.outsideMeta(name)
			b.addFront(account)
		} else {
			b.add(account)
		}
	}
	if len(subjects) == 0 {
		return
	}
	role, binding := access(b.meta(name, ComponentFront), subjects,
		rbacv1.PolicyRule{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"}})
	b.add(role)
	b.add(binding)
	if len(leases) > 0 {
		slices.Sort(leases)
		role, binding := access(b.outsideMeta(name), slices.DeleteFunc(slices.Clone(subjects), func(s rbacv1.Subject) bool {
			return s.Namespace != b.Settings.FrontNamespace || s.Name != b.Outside(name)
		}),
			rbacv1.PolicyRule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: leases, Verbs: []string{"patch"}})
		b.addFront(role)
		b.addFront(binding)
	}
}

// access is a Role with one rule, and who has it.
func access(meta metav1.ObjectMeta, subjects []rbacv1.Subject, rule rbacv1.PolicyRule) (*rbacv1.Role, *rbacv1.RoleBinding) {
	const group = "rbac.authorization.k8s.io"
	return &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: group + "/v1", Kind: "Role"}, ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}},
		&rbacv1.RoleBinding{TypeMeta: metav1.TypeMeta{APIVersion: group + "/v1", Kind: "RoleBinding"}, ObjectMeta: meta,
			RoleRef: rbacv1.RoleRef{APIGroup: group, Kind: "Role", Name: meta.Name}, Subjects: slices.Clone(subjects)}
}

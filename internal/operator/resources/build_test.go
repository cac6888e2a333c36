package resources

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// base is a cluster as the API server stores the smallest one, after its defaults.
func base(name string) *v1alpha1.BindCluster {
	storage := v1alpha1.Storage{Size: resource.MustParse("10Gi")}
	return &v1alpha1.BindCluster{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "dns", UID: "11111111-2222-3333-4444-555555555555"},
		Spec: v1alpha1.BindClusterSpec{
			Primaries: v1alpha1.PrimariesSpec{Replicas: 3, Storage: storage, NamedMemory: resource.MustParse("512Mi"),
				Placement: v1alpha1.Placement{Nodes: v1alpha1.SpreadRequired, Zones: v1alpha1.SpreadPreferred}},
			Secondaries: v1alpha1.SecondariesSpec{Replicas: 2, Storage: storage, MaxLag: metav1.Duration{Duration: 5 * time.Second},
				Service:   v1alpha1.SecondaryService{Type: "ClusterIP", ClientAddresses: "hidden"},
				Placement: v1alpha1.Placement{Nodes: v1alpha1.SpreadPreferred, Zones: v1alpha1.SpreadPreferred}},
			Limits:     v1alpha1.ClientLimits{Connections: 10000, ConnectionsPerAddress: 200, DatagramsPerSecond: 2000},
			Images:     v1alpha1.Images{PullPolicy: corev1.PullIfNotPresent},
			IPFamilies: []v1alpha1.IPFamily{"IPv4"}, NetworkPolicy: "Kubernetes", LogLevel: "info", DeletionPolicy: v1alpha1.DeletionRetain,
		},
	}
}

func settings() Settings {
	s := DefaultSettings()
	s.Image = "registry.example.org/zonekeeper:v1"
	return s
}

// samples are clusters whose objects are kept in testdata.
func samples() map[string]Input {
	small := base("small")
	small.Spec.Primaries.Replicas = 1
	small.Spec.Primaries.Storage.Size = resource.MustParse("1Gi")
	small.Spec.Secondaries.Replicas = 1
	small.Spec.Exposures = []v1alpha1.Exposure{{Name: "updates", Type: v1alpha1.ExposureClusterIP, Replicas: ptr(int32(1))}}

	zones := base("dns")
	zones.Spec.Primaries.Placement.Zones = v1alpha1.SpreadRequired
	zones.Spec.Primaries.Storage.StorageClassName = "fast"
	zones.Spec.Primaries.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}}
	zones.Spec.Secondaries.Placement.Tolerations = []v1alpha1.Toleration{{Key: "dns", Operator: "Exists"}}
	zones.Spec.Secondaries.Service = v1alpha1.SecondaryService{Type: "LoadBalancer", ClientAddresses: "preserved", LoadBalancerClass: "octavia",
		Annotations: map[string]string{"loadbalancer.openstack.org/keep-floatingip": "true"}}
	zones.Spec.IPFamilies = []v1alpha1.IPFamily{"IPv6", "IPv4"}
	zones.Spec.Images.Bind = "registry.example.org/bind:9.20"
	zones.Spec.Images.PullSecrets = []v1alpha1.LocalReference{{Name: "registry"}}
	zones.Spec.MonitoredFrom = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "monitoring"}}
	zones.Spec.LogLevel = "debug"
	zones.Spec.Exposures = []v1alpha1.Exposure{
		{Name: "octavia", Type: v1alpha1.ExposureLoadBalancer, Replicas: ptr(int32(3)), LoadBalancer: &v1alpha1.LoadBalancerExposure{
			Class: "octavia", ProxyProtocol: true, ProxyFrom: []v1alpha1.Prefix{"10.250.0.0/16"}, SourceRanges: []v1alpha1.Prefix{"192.0.2.0/24"},
			Annotations: map[string]string{"loadbalancer.openstack.org/proxy-protocol": "true"}}},
		{Name: "inside", Type: v1alpha1.ExposureClusterIP, ClusterIP: &v1alpha1.ClusterIPExposure{Address: "100.70.224.11"}},
	}

	vip := base("dns")
	vip.Spec.NetworkPolicy = policiesCilium
	vip.Spec.Exposures = []v1alpha1.Exposure{{Name: "vip", Type: v1alpha1.ExposureVIP, VIP: &v1alpha1.VIPExposure{VirtualIP: "updates"}}}
	vip.Spec.Limits.Exempt = []v1alpha1.Prefix{"10.0.0.0/8"}
	address := &v1alpha1.VirtualIP{ObjectMeta: metav1.ObjectMeta{Name: "updates", Namespace: "dns"}, Spec: v1alpha1.VirtualIPSpec{
		Addresses: []v1alpha1.Prefix{"192.0.2.100/32", "2001:db8::100/128"}, Interface: "eth0", RouterID: 53,
		NodeSelector: map[string]string{"dns.zonekeeper.io/front": "true"}, AdvertInterval: metav1.Duration{Duration: 200 * time.Millisecond},
		Tolerations: []v1alpha1.Toleration{{Operator: "Exists", Effect: "NoSchedule"}}}}
	monitored := settings()
	monitored.PodMonitors, monitored.PodMonitorLabels = true, map[string]string{"release": "prometheus", labelComponent: "nonsense"}
	fronts := map[string]string{"dns.zonekeeper.io/front": "true"}
	return map[string]Input{
		"small": {Cluster: small, Settings: settings(), State: NewState(1, "token-small")},
		"zones": {Cluster: zones, Settings: monitored,
			State: State{Token: "token-zones", Initial: 3, Formed: true, Members: 3, Peers: 3, Partition: 2}},
		"vip": {Cluster: vip, Settings: settings(), State: NewState(3, "token-vip"),
			VirtualIPs: map[string]*v1alpha1.VirtualIP{"updates": address},
			Nodes: []Node{
				{Name: "node-c.example.org", Labels: fronts, Addresses: []string{"2001:db8::13", "192.0.2.13"}},
				{Name: "node-a", Labels: fronts, Addresses: []string{"192.0.2.11"}},
				{Name: "node-b", Labels: fronts, Addresses: []string{"192.0.2.12", "2001:db8::12"}},
				{Name: "node-d", Addresses: []string{"192.0.2.14"}},
			}},
	}
}

func build(t *testing.T, in Input) []Object {
	t.Helper()
	objects, problems, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("exposure %s: %s", p.Exposure, p.Message)
	}
	return objects
}

func TestGolden(t *testing.T) {
	for name, in := range samples() {
		var text strings.Builder
		for _, o := range build(t, in) {
			b, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := yaml.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			delete(m, "status")
			if b, err = yaml.Marshal(m); err != nil {
				t.Fatal(err)
			}
			text.WriteString("---\n" + string(b))
		}
		path := filepath.Join("testdata", name+".yaml")
		if *rewrite {
			if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil { //nolint:gosec // as git has it
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if text.String() != string(want) {
			t.Errorf("%s differs from what is built; look at the difference after: go test ./internal/operator/resources -rewrite", path)
		}
	}
}

// pods are the pod templates among objects, by kind and name.
func pods(objects []Object) map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.StatefulSet:
			out["StatefulSet/"+o.Name] = o.Spec.Template
		case *appsv1.Deployment:
			out["Deployment/"+o.Name] = o.Spec.Template
		case *appsv1.DaemonSet:
			out["DaemonSet/"+o.Name] = o.Spec.Template
		}
	}
	return out
}

// TestPodSecurity asks the code by which the API server enforces the Pod Security Standards.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	seen := 0
	for sample, in := range samples() {
		for name, p := range pods(build(t, in)) {
			if strings.HasPrefix(name, "DaemonSet/") {
				continue // in a namespace of their own
			}
			seen++
			for _, r := range evaluator.EvaluatePod(restricted, &p.ObjectMeta, &p.Spec) {
				if !r.Allowed {
					t.Errorf("%s: %s: %s: %s", sample, name, r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
			for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
				if ro := c.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
					t.Errorf("%s: %s: container %s may write to its image", sample, name, c.Name)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no pods")
	}
}

// TestImageOnNodes: a BindCluster names the image of its pods, but not of those that are root in the nodes' network.
func TestImageOnNodes(t *testing.T) {
	in := samples()["vip"]
	in.Cluster.Spec.Images.Zonekeeper = "registry.example.org/own:1"
	for name, p := range pods(build(t, in)) {
		want := in.Cluster.Spec.Images.Zonekeeper
		if p.Spec.HostNetwork {
			want = in.Settings.Image
		}
		if got := p.Spec.Containers[0].Image; got != want {
			t.Errorf("%s runs %s, want %s", name, got, want)
		}
	}
}

// TestConfigurationsLoad: every file that a pod may be told to read is one that its program accepts, and is told apart by the pod's name.
func TestConfigurationsLoad(t *testing.T) {
	ins := samples()
	five := ins["zones"]
	five.Cluster = five.Cluster.DeepCopy()
	five.State = State{Token: "t", Initial: 3, Formed: true, Members: 5, Peers: 3}
	ins["growing"] = five
	outside := ins["small"]
	outside.Cluster = outside.Cluster.DeepCopy()
	outside.Cluster.Spec.ExternalLog = &v1alpha1.ExternalLog{Endpoints: []string{"https://etcd:2379"}, Prefix: "/zonekeeper/a", Certificate: v1alpha1.LocalReference{Name: "etcd"}}
	ins["external"] = outside
	for sample, in := range ins {
		seen := map[string]int{}
		for _, o := range build(t, in) {
			m, ok := o.(*corev1.ConfigMap)
			if !ok {
				continue
			}
			component := m.Labels[labelComponent]
			for file, text := range m.Data {
				seen[component]++
				path := filepath.Join(t.TempDir(), file)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				var err error
				switch component {
				case ComponentPrimary:
					var c primary.Config
					if c, err = primary.LoadConfig(path); err == nil && !strings.HasSuffix(file, c.Name+".json") {
						t.Errorf("%s: %s is of %s", sample, file, c.Name)
					}
				case ComponentSecondary:
					var c secondary.Config
					if c, err = secondary.LoadConfig(path); err == nil && !strings.HasSuffix(file, c.Name+".json") {
						t.Errorf("%s: %s is of %s", sample, file, c.Name)
					}
				case ComponentFront:
					_, err = front.LoadConfig(path)
				default:
					t.Errorf("%s: ConfigMap %s is of no component", sample, m.Name)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", sample, file, err)
				}
			}
		}
		want := map[string]int{ComponentPrimary: in.State.Members, ComponentSecondary: int(in.Cluster.Spec.Secondaries.Replicas)}
		for c, n := range want {
			if seen[c] != n {
				t.Errorf("%s: %d configurations of component %s, want %d", sample, seen[c], c, n)
			}
		}
		if seen[ComponentFront] == 0 {
			t.Errorf("%s: no configuration of a front", sample)
		}
	}
}

// TestSound: names and labels that the API server takes, selectors that pick their own pods, mounts that have a volume, no object twice.
func TestSound(t *testing.T) {
	for sample, in := range samples() {
		objects := build(t, in)
		seen := map[string]bool{}
		for _, o := range objects {
			gvk := o.GetObjectKind().GroupVersionKind()
			id := gvk.String() + " " + o.GetNamespace() + "/" + o.GetName()
			if gvk.Kind == "" || gvk.Version == "" || o.GetNamespace() == "" || seen[id] {
				t.Errorf("%s: %q is there twice, or incomplete", sample, id)
			}
			seen[id] = true
			for _, problem := range validation.IsDNS1123Subdomain(o.GetName()) {
				t.Errorf("%s: %s: %s", sample, id, problem)
			}
			if gvk.Kind == "Service" {
				for _, problem := range validation.IsDNS1035Label(o.GetName()) {
					t.Errorf("%s: %s: %s", sample, id, problem)
				}
			}
			for k, v := range o.GetLabels() {
				for _, problem := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...) {
					t.Errorf("%s: %s: label %s=%s: %s", sample, id, k, v, problem)
				}
			}
			owned := len(o.GetOwnerReferences()) == 1
			if owned != (o.GetNamespace() == in.Cluster.Namespace) {
				t.Errorf("%s: %s: an owner can be in its own namespace only", sample, id)
			}
			switch o := o.(type) {
			case *appsv1.StatefulSet:
				checkSet(t, id, o.Spec.Selector, o.Spec.Template, o.Spec.VolumeClaimTemplates)
			case *appsv1.Deployment:
				checkSet(t, id, o.Spec.Selector, o.Spec.Template, nil)
			case *appsv1.DaemonSet:
				checkSet(t, id, o.Spec.Selector, o.Spec.Template, nil)
			}
		}
	}
}

func checkSet(t *testing.T, id string, selector *metav1.LabelSelector, p corev1.PodTemplateSpec, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	for k, v := range selector.MatchLabels {
		if p.Labels[k] != v {
			t.Errorf("%s: its selector wants %s=%s, its pods have %q", id, k, v, p.Labels[k])
		}
	}
	volumes := map[string]bool{}
	for _, v := range p.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range claims {
		volumes[c.Name] = true
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: container %s mounts %s, which is no volume", id, c.Name, m.Name)
			}
		}
		for _, port := range c.Ports {
			for _, problem := range validation.IsValidPortName(port.Name) {
				t.Errorf("%s: port %s: %s", id, port.Name, problem)
			}
		}
	}
}

// restarts is what makes the primaries' pods restart.
func restarts(t *testing.T, in Input) string {
	t.Helper()
	return pods(build(t, in))["StatefulSet/"+in.PrimaryName()].Annotations[annotationConfig]
}

// TestRestarts: a member that comes, and the end of the first start, restart nobody; that members count one another does.
func TestRestarts(t *testing.T) {
	in := samples()["zones"]
	before := restarts(t, in)
	for name, c := range map[string]struct {
		change func(*Input)
		same   bool
	}{
		"not formed yet":   {func(in *Input) { in.State.Formed = false }, true},
		"a member comes":   {func(in *Input) { in.State.Members = 4 }, true},
		"members count it": {func(in *Input) { in.State.Members, in.State.Peers = 4, 4 }, false},
		"another level":    {func(in *Input) { in.Cluster.Spec.LogLevel = "warn" }, false},
		"more secondaries": {func(in *Input) { in.Cluster.Spec.Secondaries.Replicas = 9 }, true},
		"another exposure": {func(in *Input) { in.Cluster.Spec.Exposures = in.Cluster.Spec.Exposures[:1] }, true},
	} {
		changed := in
		changed.Cluster = in.Cluster.DeepCopy()
		c.change(&changed)
		if same := restarts(t, changed) == before; same != c.same {
			t.Errorf("%s: the same pod template: %v", name, same)
		}
	}
}

// TestFrontRestarts: nodes that come and go restart no front, because fronts read their peers again; another address does.
func TestFrontRestarts(t *testing.T) {
	template := func(in Input) string {
		for _, o := range build(t, in) {
			if d, ok := o.(*appsv1.DaemonSet); ok {
				text, err := json.Marshal(d.Spec.Template)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
		}
		t.Fatal("there is no DaemonSet")
		return ""
	}
	in := samples()["vip"]
	before := template(in)
	more := in
	more.Nodes = append(slices.Clone(in.Nodes), Node{Name: "node-e", Labels: in.Nodes[0].Labels, Addresses: []string{"192.0.2.15"}})
	if template(more) != before {
		t.Error("a node more changes the pod template")
	}
	other := in
	v := in.VirtualIPs["updates"].DeepCopy()
	v.Spec.Addresses = []v1alpha1.Prefix{"192.0.2.101/32"}
	other.VirtualIPs = map[string]*v1alpha1.VirtualIP{"updates": v}
	if template(other) == before {
		t.Error("another address leaves the pod template as it is")
	}
}

// TestGate: with a network below the nodes fronts run only where it is open, unless they run already and would lose their nodes.
func TestGate(t *testing.T) {
	selector := func(in Input) map[string]string {
		t.Helper()
		for _, o := range build(t, in) {
			if d, ok := o.(*appsv1.DaemonSet); ok {
				return d.Spec.Template.Spec.NodeSelector
			}
		}
		t.Fatal("there is no DaemonSet")
		return nil
	}
	const gate = "vip.dns.zonekeeper.io/dns.updates"
	in := samples()["vip"]
	if s := selector(in); s[gate] != "" {
		t.Errorf("without a network: %v", s)
	}
	v := in.VirtualIPs["updates"].DeepCopy()
	v.Spec.OpenStack = &v1alpha1.OpenStackVIP{}
	in.VirtualIPs = map[string]*v1alpha1.VirtualIP{"updates": v}
	if s := selector(in); s[gate] != GateOpen || s["dns.zonekeeper.io/front"] != "true" {
		t.Errorf("with one: %v", s)
	}
	in.Nodes = slices.Clone(in.Nodes)
	for i, open := range []bool{true, false, true, true} { // the last is not selected
		if open {
			in.Nodes[i].Labels = with(in.Nodes[i].Labels, gate, GateOpen)
		}
	}
	if n := in.LetIn(v); n != 2 {
		t.Errorf("%d nodes are let in", n)
	}
	in.Ungated = map[string]bool{"vip": true}
	if s := selector(in); s[gate] != "" {
		t.Errorf("fronts that run already: %v", s)
	}
	long := v.DeepCopy()
	long.Namespace = strings.Repeat("n", 63)
	if key := Gate(long); len(strings.TrimPrefix(key, gatePrefix)) != 63 || key == Gate(v) {
		t.Errorf("gate of a long name: %s", key)
	}
}

// TestWithoutVIPs: an operator without a namespace for fronts makes none, says so, and builds the rest.
func TestWithoutVIPs(t *testing.T) {
	in := samples()["vip"]
	in.Settings.FrontNamespace = ""
	objects, problems, err := Build(in)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "vip.enabled") || in.HasVIP() {
		t.Errorf("%v, %v, %v", err, problems, in.HasVIP())
	}
	for _, o := range objects {
		if o.GetNamespace() != in.Cluster.Namespace {
			t.Errorf("%T %s is in namespace %q", o, o.GetName(), o.GetNamespace())
		}
	}
}

// TestMonitors: Prometheus finds in the Secret what it is told to show, and believes the name that it is told to expect of every pod.
func TestMonitors(t *testing.T) {
	in := samples()["zones"]
	var shown Certificate
	hosts := map[string][]Certificate{} // by the pods that show them
	for _, c := range Certificates(in) {
		switch c.Secret {
		case MonitorSecret(in.Cluster.Name):
			shown = c
		case in.secrets().primaryTLS:
			hosts[in.PrimaryName()] = append(hosts[in.PrimaryName()], c)
		case in.secrets().secondaryTLS:
			hosts[in.SecondaryName()] = append(hosts[in.SecondaryName()], c)
		}
	}
	if shown.Unit != UnitMonitor {
		t.Errorf("the certificate in %s has the unit %q", MonitorSecret(in.Cluster.Name), shown.Unit)
	}
	seen := 0
	for _, o := range build(t, in) {
		u, ok := o.(*unstructured.Unstructured)
		if !ok || u.GetKind() != "PodMonitor" {
			continue
		}
		seen++
		endpoints, _, err := unstructured.NestedSlice(u.Object, "spec", "podMetricsEndpoints")
		if err != nil || len(endpoints) != 1 {
			t.Fatalf("%s: endpoints %v, %v", u.GetName(), endpoints, err)
		}
		endpoint := endpoints[0].(map[string]any)
		name, _, _ := unstructured.NestedString(endpoint, "tlsConfig", "serverName")
		for _, c := range hosts[u.GetName()] {
			if !slices.Contains(c.Hosts, name) {
				t.Errorf("%s expects %s, which is not in the certificate for %v", u.GetName(), name, c.Hosts)
			}
		}
		for _, at := range [][]string{{"tlsConfig", "ca", "secret"}, {"tlsConfig", "cert", "secret"}, {"tlsConfig", "keySecret"}} {
			entry, _, _ := unstructured.NestedStringMap(endpoint, at...)
			_, trusted := shown.Trust[entry["key"]]
			if entry["name"] != shown.Secret || entry["key"] != shown.CertFile && entry["key"] != shown.KeyFile && !trusted {
				t.Errorf("%s: %v is %v, which nobody makes", u.GetName(), at, entry)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d PodMonitors, want 2", seen)
	}
}

// TestProblems: an exposure that can't be built says why, and the rest is there all the same.
func TestProblems(t *testing.T) {
	whole := len(build(t, samples()["vip"]))
	for name, c := range map[string]struct {
		change func(*Input)
		want   string
	}{
		"no VirtualIP":  {func(in *Input) { in.VirtualIPs = nil }, "there is no VirtualIP dns/updates; create it"},
		"one node":      {func(in *Input) { in.Nodes = in.Nodes[:1] }, "VirtualIP updates selects 1 nodes; label at least 2"},
		"other address": {func(in *Input) { in.Nodes[1].Addresses = []string{"2001:db8::11"} }, "nodes node-a have no address of the family of 192.0.2.100/32"},
	} {
		in := samples()["vip"]
		c.change(&in)
		objects, problems, err := Build(in)
		if err != nil || len(problems) != 1 || problems[0].Exposure != "vip" || !strings.Contains(problems[0].Message, c.want) {
			t.Errorf("%s: %v, problems %v; want %q", name, err, problems, c.want)
		}
		if len(objects) < whole-3 {
			t.Errorf("%s: %d objects of %d are left", name, len(objects), whole)
		}
	}
}

// TestInputs: what the caller forgot is named.
func TestInputs(t *testing.T) {
	in := samples()["zones"]
	for want, change := range map[string]func(*Input){
		"Cluster has no name":   func(in *Input) { in.Cluster.Namespace = "" },
		"Token is empty":        func(in *Input) { in.State.Token = "" },
		"Peers 4 and Members 3": func(in *Input) { in.State.Peers = 4 },
		"Initial is 2":          func(in *Input) { in.State.Initial = 2 },
		"scale when the":        func(in *Input) { in.State.Formed, in.State.Members = false, 5 },
		"Partition is 4":        func(in *Input) { in.State.Partition = 4 },
		"no image":              func(in *Input) { in.Settings.Image = "" },
		"Settings lack":         func(in *Input) { in.Settings = Settings{} },
	} {
		changed := in
		changed.Cluster = in.Cluster.DeepCopy()
		change(&changed)
		if _, _, err := Build(changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestCertificates: every file of a certificate that a configuration names is in a Secret that is mounted there, and authorities don't mix.
func TestCertificates(t *testing.T) {
	in := samples()["zones"]
	have := map[string][]string{}
	for _, c := range Certificates(in) {
		have[c.Secret] = append(have[c.Secret], c.CertFile, c.KeyFile)
		have[c.Secret] = append(have[c.Secret], slices.Collect(maps.Keys(c.Trust))...)
		if c.Authority != AdminAuthority && c.Unit == UnitSecondary || c.Authority == LogAuthority && c.Trust[fileCA] != LogAuthority {
			t.Errorf("%s: authority %s", c.Secret, c.Authority)
		}
	}
	at := map[string]string{}
	for _, p := range pods(build(t, in)) {
		for _, v := range p.Spec.Volumes {
			for _, m := range p.Spec.Containers[0].VolumeMounts {
				if v.Secret != nil && m.Name == v.Name {
					at[p.Labels[labelComponent]+m.MountPath] = v.Secret.SecretName
				}
			}
		}
	}
	p, s, f := in.primaryConfig(0), in.secondaryConfig(1), in.serviceConfig(in.Cluster.Spec.Exposures[0])
	for component, files := range map[string][]string{
		ComponentPrimary: {p.Admin.TLSCert, p.Admin.TLSKey, p.Admin.TLSClientCA, p.DNS.FrontTLSCert, p.DNS.FrontTLSKey, p.DNS.FrontTLSClientCA,
			p.Etcd.CA, p.Etcd.Cert, p.Etcd.Key},
		ComponentSecondary: {s.Admin.TLSCert, s.Admin.TLSKey, s.Admin.TLSClientCA},
		ComponentFront:     {f.Primaries.TLS.Cert, f.Primaries.TLS.Key, f.Primaries.TLS.CA},
	} {
		for _, file := range files {
			if secret := at[component+filepath.Dir(file)]; !slices.Contains(have[secret], filepath.Base(file)) {
				t.Errorf("%s: %s is in no Secret (%q has %v)", component, file, secret, have[secret])
			}
		}
	}
}

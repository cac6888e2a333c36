package chart

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/internal/operator/command"
	"github.com/zonekeeper/zonekeeper/internal/operator/program"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/test/crd"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files and what is generated from the chart")

// same compares a file with what it should have, or writes it.
func same(t *testing.T, path, want, remedy string) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as git has it
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // as git has it
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is stale; run: %s", strings.TrimPrefix(path, root+"/"), remedy)
	}
}

// Helm's own opinion, its advice included.
func TestLint(t *testing.T) {
	out, err := helm(t, "lint", "--strict", chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "[") && !strings.Contains(line, "icon is recommended") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// What each set of values renders, without what has files of its own: definitions, alerts, the dashboard.
func TestGolden(t *testing.T) {
	for name, r := range releases() {
		var text strings.Builder
		for _, o := range render(t, r) {
			if isDefinition(o) {
				continue
			}
			shown := strings.TrimSpace(o.text)
			switch o.GetKind() {
			case "PrometheusRule":
				shown = without(t, shown, "files/alerts.yaml", 2)
			case "ConfigMap":
				shown = without(t, shown, "files/dashboard.json", 4)
			}
			text.WriteString("---\n" + shown + "\n")
		}
		same(t, filepath.Join("testdata", name+".yaml"), text.String(), "go test ./test/chart -run TestGolden -rewrite, and look at the difference")
	}
}

// without replaces the content of one of the chart's files, which has to be there as a whole.
func without(t *testing.T, text, file string, indent int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(chartDir, file))
	if err != nil {
		t.Fatal(err)
	}
	var content strings.Builder
	for line := range strings.Lines(strings.TrimSpace(string(b))) {
		content.WriteString(strings.Repeat(" ", indent) + line)
	}
	if !strings.Contains(text, content.String()) {
		t.Errorf("%s is not rendered as it is", file)
	}
	return strings.Replace(text, content.String(), strings.Repeat(" ", indent)+"# "+file, 1)
}

// Values that can't be meant are refused before anything is rendered, by a message that names them.
func TestSchema(t *testing.T) {
	for values, want := range map[string]string{
		"images: {}":                                                       "additional properties 'images' not allowed",
		"image: {name: x}":                                                 "additional properties 'name' not allowed",
		"image: {digest: sha256:12}":                                       "/image/digest",
		"image: {pullPolicy: Sometimes}":                                   "/image/pullPolicy",
		"image: {pullSecrets: [{name: x}]}":                                "/image/pullSecrets/0",
		"operator: {replicas: two}":                                        "/operator/replicas",
		"operator: {logLevel: loud}":                                       "/operator/logLevel",
		"operator: {resources: {claims: []}}":                              "additional properties 'claims' not allowed",
		"operator: {podLabels: {app.kubernetes.io/component: x}}":          "invalid propertyName 'app.kubernetes.io/component'",
		"operator: {tolerations: [{key: a, operator: Sometimes}]}":         "/operator/tolerations/0/operator",
		"vip: {namespace: Front}":                                          "/vip/namespace",
		"crds: {install: sometimes}":                                       "/crds/install",
		"monitoring: {podMonitor: {interval: often}}":                      "/monitoring/podMonitor/interval",
		"monitoring: {serviceMonitor: {enabled: true}}":                    "additional properties 'serviceMonitor' not allowed",
		"clusters: {domain: .local}":                                       "/clusters/domain",
		"serviceAccount: {name: \"\"}":                                     "/serviceAccount/name",
		"clusters: {image: \"registry.example.org/zonekeeper:1 --debug\"}": "/clusters/image",
	} {
		_, err := template(t, release{values: values})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "'/", "/"), want) {
			t.Errorf("%s: %v\nwant %q", values, err, want)
		}
	}
}

// Every object is one that the API server can read whole: a field that it does not know is an error here and lost there.
func TestObjectsAreStrict(t *testing.T) {
	// Kinds of others, which no type here describes; their golden files are what there is.
	foreign := []string{"PodMonitor", "PrometheusRule"}
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for name, r := range releases() {
		seen := map[string]bool{}
		for _, o := range render(t, r) {
			if seen[o.id()] {
				t.Errorf("%s: %s is there twice", name, o.id())
			}
			seen[o.id()] = true
			switch {
			case isDefinition(o):
				if _, err := crd.Parse([]byte(o.text)); err != nil {
					t.Errorf("%s: %s: an API server would refuse it: %v", name, o.id(), err)
				}
			case slices.Contains(foreign, o.GetKind()):
			default:
				if _, _, err := decoder.Decode([]byte(o.text), nil, nil); err != nil {
					t.Errorf("%s: %s: %v", name, o.id(), err)
				}
			}
			cluster := []string{"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Namespace"}
			if (o.GetNamespace() == "") != slices.Contains(cluster, o.GetKind()) {
				t.Errorf("%s: %s: its namespace is %q", name, o.id(), o.GetNamespace())
			}
		}
	}
}

// deployment of the operator.
func deployment(t *testing.T, r release) appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(find(t, render(t, r), "Deployment", "zonekeeper-operator").text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPodSecurity asks the code by which the API server enforces the Pod Security Standards.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range releases() {
		p := deployment(t, r).Spec.Template
		for _, result := range evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		for _, c := range p.Spec.Containers {
			if ro := c.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
				t.Errorf("%s: container %s may write to its image", name, c.Name)
			}
		}
	}
}

// The pods' labels are those by which NetworkPolicies of BindClusters let the operator in, whatever the values.
func TestOperatorLabels(t *testing.T) {
	for name, r := range releases() {
		d := deployment(t, r)
		for k, v := range resources.DefaultSettings().OperatorLabels {
			if d.Spec.Template.Labels[k] != v || d.Spec.Selector.MatchLabels[k] != v {
				t.Errorf("%s: label %s of the operator's pods is %q, want %q", name, k, d.Spec.Template.Labels[k], v)
			}
		}
	}
}

// What an uninstall leaves: definitions, and with them all objects and zones; the namespace in which fronts hold addresses. Nothing else.
func TestUninstallKeeps(t *testing.T) {
	definitions := 0
	for name, r := range releases() {
		for _, o := range render(t, r) {
			want := isDefinition(o) || o.GetKind() == "Namespace"
			if isDefinition(o) {
				definitions++
			}
			if keeps(o) != want {
				t.Errorf("%s: an uninstall keeps %s: %v", name, o.id(), keeps(o))
			}
			for _, kind := range []string{"BindCluster", "Zone", "TSIGKey", "VirtualIP", "ScheduledBackup"} {
				if o.GetKind() == kind {
					t.Errorf("%s: %s belongs to the release, and would go with it", name, o.id())
				}
			}
		}
	}
	if definitions == 0 {
		t.Error("no definitions")
	}
}

// The definitions that are installed are the files that controller-gen wrote, all of them.
func TestDefinitions(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(chartDir, "files", "crds", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, string(b)) {
			want[o.GetName()] = strings.TrimSpace(o.text)
		}
	}
	for _, o := range render(t, releases()["default"]) {
		if !isDefinition(o) {
			continue
		}
		_, text, _ := strings.Cut(strings.TrimSpace(o.text), "\n") // Helm's line with the template's name
		if want[o.GetName()] != text && want[o.GetName()] != strings.TrimSpace(o.text) {
			t.Errorf("%s is not as in its file", o.GetName())
		}
		delete(want, o.GetName())
	}
	for name := range want {
		t.Errorf("%s is not installed", name)
	}
}

// Wherever an image is named, registry, digest and pull secrets of the values count.
func TestMirroredImages(t *testing.T) {
	const want = "registry.example.org:5000/mirror/zonekeeper/zonekeeper@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	d := deployment(t, releases()["mirrored"])
	for _, i := range images(d) {
		if i != want {
			t.Errorf("image %s, want %s", i, want)
		}
	}
	if s := d.Spec.Template.Spec.ImagePullSecrets; len(s) != 2 || s[0].Name != "registry" {
		t.Errorf("pull secrets %v", s)
	}
}

// images are those of the operator's pods and the one that it puts into others.
func images(d appsv1.Deployment) []string {
	var all []string
	for _, c := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
		all = append(all, c.Image)
		for _, a := range c.Args {
			if image, ok := strings.CutPrefix(a, "--image="); ok {
				all = append(all, image)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Without Prometheus' kinds in the cluster none of its objects is rendered: one values file serves any cluster.
func TestMonitoringNeedsItsKinds(t *testing.T) {
	r := releases()["monitored"]
	r.apis = nil
	for _, o := range render(t, r) {
		if o.GetObjectKind().GroupVersionKind().Group == "monitoring.coreos.com" {
			t.Errorf("%s would be refused by a cluster without that kind", o.id())
		}
	}
}

// The operator takes the arguments that the chart gives it, whatever the values.
func TestArguments(t *testing.T) {
	for name, r := range releases() {
		d := deployment(t, r)
		c := d.Spec.Template.Spec.Containers[0]
		if len(c.Command) != 1 || c.Command[0] != "zonekeeper-operator" {
			t.Errorf("%s: the command is %v", name, c.Command)
		}
		var args []string
		for _, a := range c.Args { // as the kubelet does
			a = strings.ReplaceAll(a, "$(POD_NAMESPACE)", namespace)
			for _, e := range c.Env {
				if e.ValueFrom == nil {
					a = strings.ReplaceAll(a, "$("+e.Name+")", e.Value)
				}
			}
			args = append(args, a)
		}
		var said bytes.Buffer
		var got program.Config
		p := command.Program{Out: &said, Err: &said, Run: func(_ context.Context, cfg program.Config, _ program.Environment) error {
			got = cfg
			return nil
		}}
		// The flags are judged before the connection is looked for, which is the one that is missing here.
		file := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: https://127.0.0.1:1}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := p.Main(t.Context(), append(args, "--kubeconfig", file)); code != command.ExitOK {
			t.Errorf("%s: %v: exit code %d: %s", name, args, code, said.String())
		}
		if !slices.Contains(images(d), got.Image) || got.Namespace != namespace {
			t.Errorf("%s: the operator understands %+v", name, got)
		}
		want := map[string]string{}
		for _, o := range render(t, r) {
			if o.GetKind() == "PodMonitor" {
				maps.Copy(want, o.GetLabels())
			}
		}
		for k, v := range got.PodMonitorLabels {
			if want[k] != v && len(want) > 0 {
				t.Errorf("%s: BindClusters' PodMonitors have label %s=%s, the operator's own does not", name, k, v)
			}
		}
		if name == "monitored" && got.PodMonitorLabels["release"] != "prometheus" {
			t.Errorf("%s: the operator knows the labels %v", name, got.PodMonitorLabels)
		}
		for _, port := range c.Ports {
			if l := map[string]string{"metrics": got.MetricsListen, "health": got.HealthListen}[port.Name]; l != fmt.Sprintf(":%d", port.ContainerPort) {
				t.Errorf("%s: the operator serves %s at %s, its port is %d", name, port.Name, l, port.ContainerPort)
			}
		}
		if g := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; time.Duration(g)*time.Second <= got.StopGrace {
			t.Errorf("%s: pods get %d s to stop, the operator takes up to %v", name, g, got.StopGrace)
		}
	}
}

// What is said after an install: it renders, and names what this release lacks.
func TestNotes(t *testing.T) {
	notes := func(args ...string) string {
		out, err := helm(t, append([]string{"install", "zonekeeper", chartDir, "--namespace", namespace, "--dry-run=client"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(out, "\nNOTES:\n")
		return text
	}
	if text := notes(); !strings.Contains(text, namespace) || !strings.Contains(text, "--set vip.enabled=true") || strings.Contains(text, "crds.install") {
		t.Errorf("notes:\n%s", text)
	}
	if text := notes("--set=vip.enabled=true", "--set=crds.install=false"); strings.Contains(text, "vip.enabled") || !strings.Contains(text, "crds.install is false") {
		t.Errorf("notes:\n%s", text)
	}
}

// The probes ask ports that the operator is told to listen on.
func TestProbes(t *testing.T) {
	c := deployment(t, releases()["default"]).Spec.Template.Spec.Containers[0]
	ports := map[string]corev1.ContainerPort{}
	for _, p := range c.Ports {
		ports[p.Name] = p
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || ports[p.HTTPGet.Port.StrVal].ContainerPort == 0 {
			t.Errorf("probe %v asks no port of the container", p)
		}
	}
}

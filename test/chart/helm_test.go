package chart

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	root     = "../.."
	chartDir = root + "/charts/zonekeeper"
	// namespace of releases in these tests, as in the README.
	namespace = "zonekeeper-system"
)

// helmPath builds Helm, or finds the one that was built.
var helmPath = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(filepath.Join(root, "scripts", "helm.sh"), "--path")
	cmd.Stderr = os.Stderr // says what is being built
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
})

// helm runs it and gives what it printed; an error has what it said.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatalf("scripts/helm.sh: %v", err)
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	dir := t.TempDir() // no configuration of whoever runs the test
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir, "KUBECONFIG="+filepath.Join(dir, "none"))
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(strings.TrimSpace(said.String() + "\n" + out.String()))
	}
	return out.String(), nil
}

// monitored are the kinds of Prometheus' operator, as --api-versions has them.
var monitored = []string{"monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule"}

// release is a set of values and what the cluster offers.
type release struct {
	values string
	apis   []string
}

// releases are the sets of values whose objects are kept in testdata.
func releases() map[string]release {
	return map[string]release{
		"default": {},
		"monitored": {apis: monitored, values: `
monitoring:
  podMonitor: {labels: {release: prometheus}, interval: 10s}
  prometheusRule: {labels: {release: prometheus}}
  dashboard: {enabled: true, annotations: {grafana_folder: DNS}}
`},
		"mirrored": {values: `
image:
  registry: registry.example.org:5000/mirror/
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullPolicy: Always
  pullSecrets: [registry, registry-old]
clusters: {domain: k8s.example.org}
`},
		"everything": {apis: monitored, values: `
image: {registry: "", repository: dns/zonekeeper, tag: v9}
clusters: {image: "registry.example.org/other:v8"}
operator:
  replicas: 2
  logLevel: debug
  resources: {requests: {cpu: 1, memory: 256Mi}}
  nodeSelector: {pool: system}
  tolerations: [{key: system, operator: Exists, effect: NoSchedule}]
  affinity: {nodeAffinity: {}}
  priorityClassName: system-cluster-critical
  podAnnotations: {note: "yes"}
  podLabels: {team: dns}
serviceAccount: {annotations: {note: "yes"}}
vip: {enabled: true, namespace: fronts}
monitoring: {dashboard: {enabled: true}}
`},
		"least": {values: `
operator: {replicas: 0, resources: {}}
serviceAccount: {create: false, name: operator}
rbac: {aggregate: false}
crds: {install: false}
vip: {enabled: true, createNamespace: false}
monitoring: {podMonitor: {enabled: false}, prometheusRule: {enabled: false}}
`, apis: monitored},
	}
}

// template renders the chart.
func template(t *testing.T, r release) (string, error) {
	t.Helper()
	args := []string{"template", "zonekeeper", chartDir, "--namespace", namespace}
	if r.values != "" {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(r.values), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--values", file)
	}
	for _, a := range r.apis {
		args = append(args, "--api-versions", a)
	}
	return helm(t, args...)
}

// object is a rendered one, as text and parsed.
type object struct {
	*unstructured.Unstructured
	text string
}

func (o object) id() string {
	return o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
}

// objects splits what Helm renders.
func objects(t *testing.T, text string) []object {
	t.Helper()
	var all []object
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		m := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(doc), &m); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		if len(m) == 0 {
			continue
		}
		all = append(all, object{&unstructured.Unstructured{Object: m}, doc})
	}
	return all
}

func render(t *testing.T, r release) []object {
	t.Helper()
	text, err := template(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}

// find gives the one object of a kind and name.
func find(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return object{}
}

// isDefinition: CustomResourceDefinitions are compared with their files instead of being kept once more.
func isDefinition(o object) bool { return o.GetKind() == "CustomResourceDefinition" }

// keeps says whether an uninstall leaves the object.
func keeps(o metav1.Object) bool { return o.GetAnnotations()["helm.sh/resource-policy"] == "keep" }

func quoted(s string) string { return fmt.Sprintf("%q", s) }

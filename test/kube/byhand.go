package kube

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// namespaces enforce the Pod Security Standards that ZoneKeeper is made for.
const namespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + namespace + `, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ` + fronts + `, labels: {pod-security.kubernetes.io/enforce: privileged}}
`

// bindCluster is the cluster of the tests.
const bindCluster = `
apiVersion: dns.zonekeeper.io/v1alpha1
kind: BindCluster
metadata: {name: ` + cluster + `, namespace: ` + namespace + `}
spec:
  primaries: {replicas: 3, storage: {size: 1Gi}}
  secondaries: {replicas: 2, storage: {size: 1Gi}}
  images: {zonekeeper: "ghcr.io/zonekeeper/zonekeeper:0.1.0", pullPolicy: Never}
  exposures:
  - {name: updates, type: ClusterIP, replicas: 2}
`

// byHand applies what the operator would: the objects of resources.Build, and the Secrets that these name.
type byHand struct {
	*site
	ca    map[resources.Authority]*harness.Authority
	input resources.Input
	// keys are the secondaries' TSIG secrets by file.
	keys   map[string][]byte
	client key
}

func (s *site) byHand() *byHand {
	s.t.Helper()
	crds, err := filepath.Glob("../../charts/zonekeeper/files/crds/*.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range crds {
		s.kubectl("apply", "--server-side", "-f", f)
	}
	s.kubectl("wait", "--for=condition=Established", "crd/bindclusters.dns.zonekeeper.io", "--timeout=60s")
	s.apply(namespaces)
	s.apply(bindCluster)
	h := &byHand{site: s, ca: map[resources.Authority]*harness.Authority{}}
	h.input = resources.Input{Cluster: &v1alpha1.BindCluster{}, Settings: resources.DefaultSettings(), State: resources.NewState(3, "token")}
	h.read()
	for _, a := range []resources.Authority{resources.AdminAuthority, resources.LogAuthority, resources.FrontAuthority} {
		h.ca[a] = harness.NewAuthority(s.t, string(a))
	}
	h.secrets()
	h.build()
	return h
}

// read takes the cluster as it is stored.
func (h *byHand) read() {
	h.t.Helper()
	if err := get(h.site, h.input.Cluster, "-n", namespace, "bindcluster", cluster); err != nil {
		h.t.Fatal(err)
	}
}

// build applies the objects of the cluster.
func (h *byHand) build() {
	h.t.Helper()
	objects, problems, err := resources.Build(h.input)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range problems {
		h.t.Errorf("exposure %s: %s", p.Exposure, p.Message)
	}
	var list []any
	for _, o := range objects {
		list = append(list, o)
	}
	h.applyAll(list)
}

// applyAll stores Go objects.
func (h *byHand) applyAll(items []any) {
	h.t.Helper()
	b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		h.t.Fatal(err)
	}
	h.apply(string(b))
}

// secrets makes certificates and keys.
func (h *byHand) secrets() {
	h.t.Helper()
	data := map[string]map[string][]byte{}
	put := func(secret, file string, b []byte) {
		if data[secret] == nil {
			data[secret] = map[string][]byte{}
		}
		data[secret][file] = b
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			h.t.Fatal(err)
		}
		return b
	}
	for _, c := range resources.Certificates(h.input) {
		cert, key, _ := h.ca[c.Authority].IssueFor(c.CommonName, c.Unit, c.Hosts...)
		put(c.Secret, c.CertFile, read(cert))
		put(c.Secret, c.KeyFile, read(key))
		for file, a := range c.Trust {
			put(c.Secret, file, read(h.ca[a].CA))
		}
	}
	random := func() []byte {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // it does not fail
		return []byte(base64.StdEncoding.EncodeToString(b) + "\n")
	}
	put(cluster+"-cluster-key", "cluster.key", random())
	put(cluster+"-front-key", "front.key", random())
	for i := range int(h.input.Cluster.Spec.Secondaries.Replicas) {
		put(cluster+"-secondary-keys", fmt.Sprintf("secondary-%d.secret", i), random())
	}
	var list []any
	for name, d := range data {
		list = append(list, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Data: d})
	}
	h.applyAll(list)
	h.keys = data[cluster+"-secondary-keys"]
}

// register makes the secondaries known, and a zone with a key that may change everything there.
func (h *byHand) register() {
	h.t.Helper()
	do := func(input string, args ...string) string {
		h.t.Helper()
		out, err := h.inPrimary(0, input, args...)
		if err != nil {
			h.t.Fatal(err)
		}
		return out
	}
	for i := range int(h.input.Cluster.Spec.Secondaries.Replicas) {
		key := resources.SecondaryKey(i)
		do(string(h.keys[fmt.Sprintf("secondary-%d.secret", i)]), "key", "add", key, "--secret-file=-")
		do("", "secondary", "add", fmt.Sprintf("secondary-%d", i), "--key", key)
	}
	h.client = key{"client.", "hmac-sha256", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))}
	do(h.client.secret, "key", "add", "client.", "--secret-file=-")
	do("", "zone", "add", zoneName, "--grant", "client.")
}

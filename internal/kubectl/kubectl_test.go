package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// condition is one that changed two hours before now.
func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour))}
}

func ready0() []metav1.Condition {
	return []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonHealthy, "")}
}

// stored are the objects of the API server in these tests.
func stored() (clusters []v1alpha1.BindCluster, zones []v1alpha1.Zone, keys []v1alpha1.TSIGKey, vips []v1alpha1.VirtualIP) {
	at := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 1}
	}
	well := v1alpha1.BindCluster{ObjectMeta: at("dns", "dns"), Status: v1alpha1.BindClusterStatus{
		ObservedGeneration: 1, Summary: "healthy: 3 primaries, 2 secondaries", Conditions: ready0(),
		Addresses: []v1alpha1.ExposureStatus{{Exposure: "vip", Addresses: []string{"192.0.2.100"}, Ready: "3/3"}, {Exposure: "updates", Addresses: []string{"10.96.0.53"}, Ready: "2/2"}},
		Primaries: v1alpha1.PrimariesStatus{Summary: "3/3", Leader: "primary-1", Members: []v1alpha1.MemberStatus{
			{Name: "primary-0", Ready: true, Node: "n1", Version: "v1", BindVersion: "9.20.23", Applied: 4711},
			{Name: "primary-1", Ready: true, Node: "n2", Version: "v1", BindVersion: "9.20.23", Applied: 4711},
			{Name: "primary-2", Ready: true, Node: "n3", Version: "v1", BindVersion: "9.20.23", Applied: 4709}}},
		Secondaries: v1alpha1.SecondariesStatus{Summary: "2/2"}, Zones: 2, Keys: 1,
		Tenants: []v1alpha1.TenantStatus{{Name: "team-a", Zones: 1, Records: 12}},
	}}
	well.Spec.Exposures = []v1alpha1.Exposure{{Name: "vip", Type: v1alpha1.ExposureVIP, VIP: &v1alpha1.VIPExposure{VirtualIP: "updates"}}}
	ill := v1alpha1.BindCluster{ObjectMeta: at("lab", "lab"), Status: v1alpha1.BindClusterStatus{
		ObservedGeneration: 1, Summary: "primary-2 joins again; nothing to do",
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonMembersMissing, "2 of 3 primaries are ready"),
			condition(v1alpha1.ConditionWritable, metav1.ConditionTrue, v1alpha1.ReasonHealthy, ""),
			condition(v1alpha1.ConditionRolledOut, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, "no primary answers the operator")},
		Primaries: v1alpha1.PrimariesStatus{Summary: "2/3", Leader: "primary-0", Members: []v1alpha1.MemberStatus{
			{Name: "primary-0", Ready: true, Applied: 9}, {Name: "primary-2", Learner: true, Message: "catching up"}}},
		Secondaries: v1alpha1.SecondariesStatus{Summary: "1/2", HeldCatalog: "version 7 removes 40 of 41 zones"},
	}}
	ill.Generation = 2
	young := v1alpha1.BindCluster{ObjectMeta: at("lab", "young")}
	rotated := metav1.NewTime(now.Add(-72 * time.Hour))
	foreign := v1alpha1.BindCluster{ObjectMeta: at("lab", "bind")}
	foreign.Spec.Images.Bind = "registry.example.org/bind:9.20"
	foreign.Status = v1alpha1.BindClusterStatus{Summary: "healthy", Conditions: ready0()}
	foreign.Status.Primaries.Members = []v1alpha1.MemberStatus{{Name: "primary-0"}, {Name: "primary-1", Ready: true}}
	clusters = []v1alpha1.BindCluster{well, ill, young, foreign}
	zones = []v1alpha1.Zone{
		{ObjectMeta: at("dns", "example-org"), Spec: v1alpha1.ZoneSpec{ZoneName: "example.org", ClusterRef: v1alpha1.ClusterReference{Name: "dns"}},
			Status: v1alpha1.ZoneStatus{Serial: 17, Records: 120, Conditions: ready0(), Summary: "served by 3 primaries"}},
		{ObjectMeta: at("team-a", "a"), Spec: v1alpha1.ZoneSpec{ZoneName: "a.example.org", ClusterRef: v1alpha1.ClusterReference{Name: "dns", Namespace: "dns"}},
			Status: v1alpha1.ZoneStatus{Conditions: []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNameTaken, "")},
				Summary: "the name is taken by team-b/a"}},
		{ObjectMeta: at("team-a", "other"), Spec: v1alpha1.ZoneSpec{ZoneName: "other.example", ClusterRef: v1alpha1.ClusterReference{Name: "dns"}}},
	}
	keys = []v1alpha1.TSIGKey{{ObjectMeta: at("dns", "nsupdate"), Spec: v1alpha1.TSIGKeySpec{ClusterRef: v1alpha1.ClusterReference{Name: "dns"}},
		Status: v1alpha1.TSIGKeyStatus{KeyName: "nsupdate.dns", SecretName: "nsupdate", Conditions: ready0(), Rotated: &rotated, Summary: "valid at 3 primaries"}}}
	vips = []v1alpha1.VirtualIP{
		{ObjectMeta: at("dns", "updates"), Spec: v1alpha1.VirtualIPSpec{Addresses: []v1alpha1.Prefix{"192.0.2.100/32"}},
			Status: v1alpha1.VirtualIPStatus{Conditions: ready0(), Holder: "n2", Ready: "3/3", Summary: "n2 has the address"}},
		{ObjectMeta: at("dns", "unused")}}
	return clusters, zones, keys, vips
}

// server is as much of an API server as the plugin asks for. Who names the token "one-namespace" may list in namespace dns only.
func server(t *testing.T) *httptest.Server {
	t.Helper()
	clusters, zones, keys, vips := stored()
	in := func(namespace, own string) bool { return namespace == "" || namespace == own }
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	fail := func(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
		answer(w, code, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
	}
	list := func(w http.ResponseWriter, r *http.Request) {
		namespace, resource := r.PathValue("namespace"), r.PathValue("resource")
		if namespace == "" && r.Header.Get("Authorization") == "Bearer one-namespace" {
			fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, resource+" is forbidden at the cluster scope")
			return
		}
		kind := func(k string) metav1.TypeMeta {
			return metav1.TypeMeta{APIVersion: "dns.zonekeeper.io/v1alpha1", Kind: k}
		}
		switch resource {
		case "bindclusters":
			l := v1alpha1.BindClusterList{TypeMeta: kind("BindClusterList")}
			for _, o := range clusters {
				if in(namespace, o.Namespace) {
					l.Items = append(l.Items, o)
				}
			}
			answer(w, http.StatusOK, l)
		case "zones":
			l := v1alpha1.ZoneList{TypeMeta: kind("ZoneList")}
			for _, o := range zones {
				if in(namespace, o.Namespace) {
					l.Items = append(l.Items, o)
				}
			}
			answer(w, http.StatusOK, l)
		case "tsigkeys":
			answer(w, http.StatusOK, v1alpha1.TSIGKeyList{TypeMeta: kind("TSIGKeyList"), Items: keys})
		case "virtualips":
			answer(w, http.StatusOK, v1alpha1.VirtualIPList{TypeMeta: kind("VirtualIPList"), Items: vips})
		default:
			fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, resource)
		}
	}
	mux.HandleFunc("GET /apis/dns.zonekeeper.io/v1alpha1/{resource}", list)
	mux.HandleFunc("GET /apis/dns.zonekeeper.io/v1alpha1/namespaces/{namespace}/{resource}", list)
	mux.HandleFunc("GET /apis/dns.zonekeeper.io/v1alpha1/namespaces/{namespace}/bindclusters/{name}", func(w http.ResponseWriter, r *http.Request) {
		for _, o := range clusters {
			if o.Namespace == r.PathValue("namespace") && o.Name == r.PathValue("name") {
				o.TypeMeta = metav1.TypeMeta{APIVersion: "dns.zonekeeper.io/v1alpha1", Kind: "BindCluster"}
				answer(w, http.StatusOK, o)
				return
			}
		}
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("bindclusters.dns.zonekeeper.io %q not found", r.PathValue("name")))
	})
	s := httptest.NewTLSServer(mux) // without TLS no token would be sent
	t.Cleanup(s.Close)
	return s
}

// kubeconfig has two contexts: one for everything, one of a person who may see one namespace.
func kubeconfig(t *testing.T, s *httptest.Server) string {
	t.Helper()
	type m = map[string]any
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	text, err := yaml.Marshal(m{
		"apiVersion": "v1", "kind": "Config", "current-context": "all",
		"clusters": []m{{"name": "c", "cluster": m{"server": s.URL, "certificate-authority-data": ca}}},
		"users":    []m{{"name": "all", "user": m{"token": "all"}}, {"name": "one", "user": m{"token": "one-namespace"}}},
		"contexts": []m{
			{"name": "all", "context": m{"cluster": "c", "user": "all", "namespace": "dns"}},
			{"name": "one", "context": m{"cluster": "c", "user": "one", "namespace": "dns"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStatus(t *testing.T) {
	config := kubeconfig(t, server(t))
	for name, c := range map[string]struct {
		args string
		code int
	}{
		"namespace":       {"status", ExitOK},
		"one":             {"status dns -n dns", ExitOK},
		"all":             {"status --all-namespaces", ExitFailed},
		"ill":             {"status lab --namespace lab", ExitFailed},
		"one-namespace":   {"status --context one", ExitOK},
		"none":            {"status -n empty", ExitOK},
		"missing":         {"status nosuch", ExitFailed},
		"json":            {"status -n lab young -o json", ExitFailed},
		"not-allowed":     {"status -A --context one", ExitFailed},
		"two-names":       {"status a b", ExitUsage},
		"no-command":      {"show", ExitUsage},
		"no-output":       {"status -o yaml", ExitUsage},
		"no-such-context": {"status --context nosuch", ExitFailed},
		"run":             {"run dns -- verify", ExitOK},
		"run-fails":       {"run dns -- zone export nosuch.example", 7},
		"run-flags":       {"run -n dns dns --domain k8s.example --context all -- zone export example.org", ExitOK},
		"run-own-bind":    {"run bind -n lab -- status", ExitOK},
		"run-none-ready":  {"run young -n lab -- verify", ExitFailed},
		"run-no-command":  {"run dns", ExitUsage},
		"run-no-cluster":  {"run -- verify", ExitUsage},
		"status-command":  {"status -- verify", ExitUsage},
		"help":            {"status --help", ExitOK},
		"version":         {"version", ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			var out, said bytes.Buffer
			p := &Program{Version: "v1", Out: &out, Err: &said, Now: func() time.Time { return now }}
			p.Execute = func(_ context.Context, name string, args []string) (int, error) {
				fmt.Fprintln(&out, name, strings.ReplaceAll(strings.Join(args, " "), config, "CONFIG"))
				if slices.Contains(args, "nosuch.example") {
					return 7, nil
				}
				return ExitOK, nil
			}
			args := strings.Fields(c.args)
			if args[0] == "status" || args[0] == "run" {
				args = slices.Insert(args, 1, "--kubeconfig", config)
			}
			if code := p.Run(t.Context(), args); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			text := "$ kubectl zonekeeper " + c.args + "\n" + out.String()
			if said.Len() > 0 {
				text += "--- standard error\n" + said.String()
			}
			var lines []string
			for line := range strings.Lines(text) {
				lines = append(lines, strings.TrimRight(line, " \n"))
			}
			text = strings.Join(lines, "\n") + "\n"
			path := filepath.Join("testdata", name+".txt")
			if *rewrite {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // as git has it
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("%s:\n%s\nwant:\n%s", path, text, want)
			}
		})
	}
}

// TestNames: a command runs in a pod that there is, calls the primary by the name in its certificate, and shows files that the pod has.
func TestNames(t *testing.T) {
	c := &v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "a"}}
	c.Spec.Primaries.Replicas, c.Spec.Images.Bind = 3, "bind:9.20"
	c.Status.Primaries.Members = []v1alpha1.MemberStatus{{Name: resources.Member(2), Ready: true}}
	in := resources.Input{Cluster: c, State: resources.NewState(3, "token"), Settings: resources.DefaultSettings()}
	in.Settings.Image = "zonekeeper:1"
	args, err := inside(*c, options{domain: in.Settings.ClusterDomain, command: []string{"verify"}})
	if err != nil {
		t.Fatal(err)
	}
	objects, _, err := resources.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(objects, func(o resources.Object) bool {
		s, ok := o.(*appsv1.StatefulSet)
		return ok && s.Name+"-2" == args[slices.Index(args, "exec")+2]
	})
	if i < 0 {
		t.Fatalf("%v runs in no primary's pod", args)
	}
	container := objects[i].(*appsv1.StatefulSet).Spec.Template.Spec.Containers[0]
	if want := args[slices.Index(args, "--container")+1]; container.Name != want {
		t.Errorf("the container is called %s, not %s", container.Name, want)
	}
	if want := args[slices.Index(args, "--")+1]; container.Command[0] != want {
		t.Errorf("the container runs %s, not %s", container.Command[0], want)
	}
	shown := map[string]string{}
	for _, a := range args {
		if name, value, ok := strings.Cut(a, "="); ok {
			shown[name] = value
		}
	}
	certificates := resources.Certificates(in)
	i = slices.IndexFunc(certificates, func(c resources.Certificate) bool {
		return slices.ContainsFunc(c.Hosts, func(h string) bool { return strings.HasPrefix(shown["--admin"], "https://"+h+":") })
	})
	if i < 0 || shown["--admin"] != resources.AdminURL(c, in.Settings.ClusterDomain, 2) {
		t.Fatalf("%s is in no certificate, or not where the operator calls it", shown["--admin"])
	}
	mounted := slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
		return shown["--tls-cert"] == m.MountPath+"/"+certificates[i].CertFile && shown["--tls-key"] == m.MountPath+"/"+certificates[i].KeyFile &&
			shown["--tls-ca"] == m.MountPath+"/"+resources.FileCA
	})
	if !mounted {
		t.Errorf("the pod has no volume with %v", shown)
	}
}

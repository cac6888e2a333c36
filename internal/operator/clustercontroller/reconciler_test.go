package clustercontroller

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/rbac"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// testObjects are a cluster with an exposure of each kind that needs no cloud, as the API server's defaults leave it.
func testObjects(primaries int32) []client.Object {
	storage := v1alpha1.Storage{Size: resource.MustParse("1Gi")}
	c := &v1alpha1.BindCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: testName, UID: "u", Generation: 1},
		Spec: v1alpha1.BindClusterSpec{
			Primaries:   v1alpha1.PrimariesSpec{Replicas: primaries, Storage: storage},
			Secondaries: v1alpha1.SecondariesSpec{Replicas: 2, Storage: storage},
			Exposures: []v1alpha1.Exposure{{Name: "inside", Type: v1alpha1.ExposureClusterIP},
				{Name: "vip", Type: v1alpha1.ExposureVIP, VIP: &v1alpha1.VIPExposure{VirtualIP: "v"}}},
			DeletionPolicy: v1alpha1.DeletionRetain,
		},
	}
	out := []client.Object{c, &v1alpha1.VirtualIP{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "v"},
		Spec: v1alpha1.VirtualIPSpec{Addresses: []v1alpha1.Prefix{"192.0.2.100/32"}, Interface: "eth0", RouterID: 7}}}
	for i := range 3 {
		out = append(out, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i+1)},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.0.2.%d", i+1)}}}})
	}
	return out
}

func (w *world) change(do func(*v1alpha1.BindCluster)) {
	w.t.Helper()
	c := w.cluster()
	do(c)
	c.Generation++
	w.must(w.client.Update(w.t.Context(), c))
}

// story is a cluster's life, chapter by chapter: it starts, grows with another image and one more secondary, shrinks and loses an exposure.
func story() []func(*v1alpha1.BindCluster) {
	return []func(*v1alpha1.BindCluster){
		func(*v1alpha1.BindCluster) {},
		func(c *v1alpha1.BindCluster) {
			c.Spec.Primaries.Replicas, c.Spec.Secondaries.Replicas, c.Spec.Images.Zonekeeper = 3, 3, "zonekeeper:2"
		},
		func(c *v1alpha1.BindCluster) {
			c.Spec.Primaries.Replicas, c.Spec.Secondaries.Replicas = 1, 1
			c.Spec.Exposures = c.Spec.Exposures[:1]
		},
	}
}

// inventory is everything that there is, without what is random.
func (w *world) inventory() string {
	w.t.Helper()
	var lines []string
	lists := append(append(ownedKinds(), outsideKinds()...), &corev1.SecretList{}, &corev1.PersistentVolumeClaimList{}, &corev1.PodList{})
	for _, l := range lists {
		w.must(w.client.List(w.t.Context(), l))
		items, err := meta.ExtractList(l)
		w.must(err)
		for _, item := range items {
			o := item.(client.Object)
			line := fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
			if s, ok := o.(*corev1.Secret); ok {
				line += " " + strings.Join(slices.Sorted(maps.Keys(s.Data)), " ")
			}
			lines = append(lines, line)
		}
	}
	c := w.cluster()
	lines = append(lines, "finalizers "+strings.Join(c.Finalizers, " "), "summary "+c.Status.Summary, fmt.Sprint("members ", w.members), fmt.Sprint("secondaries ", w.have), fmt.Sprint("keys ", slices.Sorted(maps.Keys(w.keys))))
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func TestLife(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	c := w.cluster()
	if got := c.Status.Summary; got != "healthy: 1/1 primaries, 2/2 secondaries, 1 zones; updates go to 10.96.0.53" {
		t.Errorf("summary %q", got)
	}
	if a := c.Status.Addresses; len(a) != 2 || a[1].Addresses[0] != "192.0.2.100" || a[1].Ready != "3/3" {
		t.Errorf("addresses %+v", a)
	}
	if len(c.Finalizers) != 1 {
		t.Errorf("finalizers %v: objects are in the fronts' namespace", c.Finalizers)
	}
	secrets := w.secrets()
	// A pass over a cluster that is what it is to be changes nothing.
	before := w.writes
	w.must(w.pass(r))
	if w.writes != before {
		t.Errorf("%d writes of a pass that had nothing to do", w.writes-before)
	}
	w.change(func(c *v1alpha1.BindCluster) { c.Spec.Primaries.Replicas = 3 })
	r = w.settle(r)
	if len(w.members) != 3 {
		t.Errorf("members %v", w.members)
	}
	w.change(func(c *v1alpha1.BindCluster) { c.Spec.Images.Zonekeeper = "zonekeeper:2" })
	before = w.verified
	r = w.settle(r)
	if w.verified != before+1 {
		t.Errorf("copies were compared %d times during a rollout, want once", w.verified-before)
	}
	for i := range 3 {
		var p corev1.Pod
		w.must(w.client.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: fmt.Sprintf("c-primary-%d", i)}, &p))
	}
	w.change(func(c *v1alpha1.BindCluster) {
		c.Spec.Primaries.Replicas, c.Spec.Secondaries.Replicas, c.Spec.Exposures = 1, 1, c.Spec.Exposures[:1]
	})
	w.settle(r)
	if !slices.Equal(w.removed, []string{"primary-2", "primary-1"}) {
		t.Errorf("removed %v", w.removed)
	}
	if text := w.inventory(); strings.Contains(text, resources.DefaultSettings().FrontNamespace+"/") || strings.Contains(text, "data-c-primary-1") || strings.Contains(text, "Service dns/c-secondary-1") {
		t.Errorf("left behind:\n%s", text)
	}
	if f := w.cluster().Finalizers; len(f) != 0 {
		t.Errorf("finalizers %v: nothing is left that needs one", f)
	}
	if len(w.have) != 1 || len(w.keys) != 1 {
		t.Errorf("registered: %v, keys %v", w.have, w.keys)
	}
	for name, data := range secrets {
		for file, text := range data {
			if got := w.secrets()[name][file]; string(got) != string(text) && !strings.HasPrefix(name, resources.DefaultSettings().FrontNamespace) && file != stateEntry {
				t.Errorf("entry %s of Secret %s was written again", file, name)
			}
		}
	}
}

func (w *world) secrets() map[string]map[string][]byte {
	w.t.Helper()
	var l corev1.SecretList
	w.must(w.client.List(w.t.Context(), &l))
	out := map[string]map[string][]byte{}
	for _, s := range l.Items {
		out[s.Namespace+"/"+s.Name] = s.Data
	}
	return out
}

// TestKilledAtAnyWrite: after whichever write the operator dies, the next one ends where an undisturbed one does.
func TestKilledAtAnyWrite(t *testing.T) {
	calm := newWorld(t, testObjects(1)...)
	r := calm.operator()
	var want []string // what there is after each chapter, and how many writes it took from the beginning
	var ends []int
	for _, chapter := range story() {
		calm.change(chapter)
		r = calm.settle(r)
		want, ends = append(want, calm.inventory()), append(ends, calm.writes)
	}
	t.Logf("writes after each chapter: %d", ends)
	if ends[len(ends)-1] < 50 {
		t.Fatal("the story tells nothing")
	}
	for n := 1; n <= ends[len(ends)-1]; n++ {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testObjects(1)...)
			w.failAt = n
			r := w.operator()
			for i, chapter := range story() {
				w.change(chapter)
				r = w.settle(r)
				if n > ends[i] {
					continue
				}
				if got := w.inventory(); got != want[i] {
					t.Errorf("chapter %d:\n%s", i, difference(got, want[i]))
				}
				return
			}
		})
	}
}

// TestRights: the operator asks for nothing that it was not granted, and was granted nothing that it does not ask for.
func TestRights(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.operator()
	for _, chapter := range story() {
		w.change(chapter)
		r = w.settle(r)
	}
	w.change(func(c *v1alpha1.BindCluster) { c.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.must(w.pass(r))
	w.change(func(c *v1alpha1.BindCluster) { c.Spec.Primaries.Storage.Size = resource.MustParse("2Gi") })
	w.must(w.pass(r))
	w.must(w.client.Delete(t.Context(), w.cluster()))
	w.must(w.pass(r))
	granted := map[string]bool{}
	for _, rule := range slices.Concat(rbac.ClusterRules(), rbac.FrontRules()) {
		for _, res := range rule.Resources {
			for _, verb := range rule.Verbs {
				granted[verb+" "+rule.APIGroups[0]+"/"+res] = true
			}
		}
	}
	for u := range w.used {
		if !granted[u] {
			t.Errorf("not granted: %s", u)
		}
	}
	elsewhere := []string{"watch ", " cilium.io/", " cert-manager.io/", " monitoring.coreos.com/", " events.k8s.io/", " discovery.k8s.io/", "bindclusters/finalizers",
		" dns.zonekeeper.io/", "get ", "list ", "delete "} // caches, recorders, kinds that this world does not have; deletions of what this story keeps
	for g := range granted {
		if !w.used[g] && !slices.ContainsFunc(elsewhere, func(e string) bool { return strings.Contains(g, e) }) {
			t.Errorf("granted and never used: %s", g)
		}
	}
}

// TestDeletion: Retain keeps what a cluster of the same name resumes with, Delete keeps nothing. Primaries are not asked.
func TestDeletion(t *testing.T) {
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionRetain, v1alpha1.DeletionDelete} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t, testObjects(1)...)
			r := w.settle(w.operator())
			w.change(func(c *v1alpha1.BindCluster) { c.Spec.DeletionPolicy = policy })
			r = w.settle(r)
			w.formed = false // nobody answers
			w.must(w.client.Delete(t.Context(), w.cluster()))
			w.must(w.pass(r))
			if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: testName}, &v1alpha1.BindCluster{}); err == nil {
				t.Error("it is still there")
			}
			left := w.secrets()
			for name := range left {
				if strings.HasPrefix(name, resources.DefaultSettings().FrontNamespace) {
					t.Errorf("Secret %s is left", name)
				}
			}
			for _, name := range []string{"dns/c-bootstrap", "dns/c-cluster-key", "dns/c-secondary-keys"} {
				if (left[name] != nil) != (policy == v1alpha1.DeletionRetain) {
					t.Errorf("Secret %s: there %v", name, left[name] != nil)
				}
			}
			var claims corev1.PersistentVolumeClaimList
			w.must(w.client.List(t.Context(), &claims))
			if (len(claims.Items) == 1) != (policy == v1alpha1.DeletionRetain) {
				t.Errorf("%d claims", len(claims.Items))
			}
		})
	}
}

// TestLost: what can't be made anew is not; status says what to do, and everything else goes on.
func TestLost(t *testing.T) {
	for secret, reason := range map[string]string{"c-cluster-key": v1alpha1.ReasonKeyMissing, "c-bootstrap": v1alpha1.ReasonStateMissing} {
		w := newWorld(t, testObjects(1)...)
		r := w.settle(w.operator())
		w.must(w.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: secret}}))
		w.must(w.pass(r))
		c := condition(w.cluster(), v1alpha1.ConditionReady)
		if c.Status != metav1.ConditionFalse || c.Reason != reason || !strings.Contains(c.Message, "backup") {
			t.Errorf("%s is gone: %+v", secret, c)
		}
		if w.secrets()["dns/"+secret] != nil {
			t.Errorf("%s was made anew", secret)
		}
	}
}

// TestUnreachable: an operator that is cut off says nothing new for a minute, then that it does not know; never that something is broken.
func TestUnreachable(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	w.formed = false
	for range 5 {
		w.must(w.pass(r))
		if c := condition(w.cluster(), v1alpha1.ConditionWritable); c.Status != metav1.ConditionTrue {
			t.Fatalf("at once: %+v", c)
		}
	}
	for range 3 {
		w.must(w.pass(r))
	}
	for _, name := range []string{v1alpha1.ConditionWritable, v1alpha1.ConditionConsistent, v1alpha1.ConditionSecondariesCurrent} {
		if c := condition(w.cluster(), name); c.Status != metav1.ConditionUnknown || c.Reason != v1alpha1.ReasonUnreachable {
			t.Errorf("after a minute: %+v", c)
		}
	}
}

// TestPaused: nothing is changed, and status goes on.
func TestPaused(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	w.change(func(c *v1alpha1.BindCluster) { c.Spec.Paused, c.Spec.Primaries.Replicas = true, 3 })
	before := w.inventory()
	w.must(w.pass(r))
	c := w.cluster()
	if got := condition(c, v1alpha1.ConditionRolledOut); got.Reason != v1alpha1.ReasonPaused || !strings.Contains(c.Status.Summary, "paused") {
		t.Errorf("%+v, summary %q", got, c.Status.Summary)
	}
	summary := func(s string) string {
		return strings.Join(slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.HasPrefix(l, "summary") }), "\n")
	}
	if got := w.inventory(); summary(got) != summary(before) {
		t.Errorf("changed:\n%s\nbefore:\n%s", got, before)
	}
}

// TestRenewal: after two thirds of their lives certificates are issued anew, without a new template; keys are not.
func TestRenewal(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	before, template := w.secrets(), w.set().Annotations[annotationTemplate]
	w.now = w.now.Add(61 * 24 * time.Hour)
	w.must(w.pass(r))
	after := w.secrets()
	for name, data := range before {
		if strings.Contains(name, "-ca-") {
			if string(data[resources.FileCert]) != string(after[name][resources.FileCert]) {
				t.Errorf("%s was renewed", name)
			}
			continue
		}
		for file, text := range data {
			isLeaf := strings.HasSuffix(name, "-tls") && !strings.HasSuffix(file, "ca.crt")
			if (string(after[name][file]) != string(text)) != isLeaf {
				t.Errorf("%s/%s: renewed %v, want %v", name, file, !isLeaf, isLeaf)
			}
		}
	}
	if got := w.set().Annotations[annotationTemplate]; got != template {
		t.Error("a renewal restarts pods")
	}
}

// difference is the lines that only one of two texts has.
func difference(got, want string) string {
	have, wish := strings.Split(got, "\n"), strings.Split(want, "\n")
	var out []string
	for _, l := range have {
		if !slices.Contains(wish, l) {
			out = append(out, "+ "+l)
		}
	}
	for _, l := range wish {
		if !slices.Contains(have, l) {
			out = append(out, "- "+l)
		}
	}
	return strings.Join(out, "\n")
}

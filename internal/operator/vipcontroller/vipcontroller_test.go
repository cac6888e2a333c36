package vipcontroller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front/announce"
	"github.com/zonekeeper/zonekeeper/internal/operator/operatortest"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipobject"
)

const fronts = "zonekeeper-front"

// world is an API server, a network, fronts, and an operator that may be killed.
type world struct {
	*testing.T
	kube   client.WithWatch
	kill   operatortest.Kill
	events chan string
	now    time.Time
	net    *fakeNetwork
	r      *Reconciler
	used   map[string]bool

	registry *prometheus.Registry
}

// fakeNetwork lets the addresses through on nodes that are open.
type fakeNetwork struct {
	kill  *operatortest.Kill
	open  map[string]vipobject.Openness
	err   error
	asked []Desired
	has   bool // something of ours
}

func (n *fakeNetwork) Reconcile(_ context.Context, d Desired) (*vipobject.Network, error) {
	n.asked = append(n.asked, d)
	if n.err != nil {
		return nil, n.err
	}
	if !d.Verify {
		n.has = !d.Remove
	}
	out := &vipobject.Network{Done: true, Nodes: map[string]vipobject.NodeNetwork{}}
	for _, node := range d.Nodes {
		at := vipobject.NodeNetwork{Openness: n.open[node.Name]}
		if at.Openness == vipobject.Closed {
			out.Done, at.Message = false, "its port has no pair"
		}
		out.Nodes[node.Name] = at
	}
	return out, nil
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	w := &world{T: t, events: make(chan string, 1000), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), net: &fakeNetwork{open: map[string]vipobject.Openness{}}, used: map[string]bool{}}
	w.net.kill = &w.kill
	scheme := operatortest.Scheme(t)
	labels := map[string]string{"app.kubernetes.io/name": "zonekeeper", "app.kubernetes.io/component": "front", resources.LabelInstance: "c", resources.LabelManagedBy: resources.Manager,
		resources.LabelExposure: "vip", resources.LabelClusterNamespace: "dns"}
	of := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: fronts, Name: name, Labels: labels}
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.VirtualIP{}).WithInterceptorFuncs(w.kill.Calls()).WithObjects(objects...).WithObjects(
		&v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "c"}, Spec: v1alpha1.BindClusterSpec{
			Exposures: []v1alpha1.Exposure{{Name: "vip", Type: v1alpha1.ExposureVIP, VIP: &v1alpha1.VIPExposure{VirtualIP: "updates"}}}}},
		&coordinationv1.Lease{ObjectMeta: of("dns.c-front-vip")}, &appsv1.DaemonSet{ObjectMeta: of("dns.c-front-vip")},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "cloud"}, Data: map[string][]byte{"clouds.yaml": []byte("secret")}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
	)
	for i := range 3 {
		node := fmt.Sprintf("n%d", i+1)
		pod := of("front-" + node)
		b = b.WithObjects(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{"front": "yes"}}},
			&corev1.Pod{ObjectMeta: pod, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}})
	}
	w.kube = b.Build()
	w.restart()
	return w
}

// restart is another process of the operator.
func (w *world) restart() {
	cfg := DefaultConfig()
	w.registry = prometheus.NewRegistry()
	c := interceptor.NewClient(w.kube, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			w.used["patch "+fmt.Sprintf("%T", o)] = true
			return c.Patch(ctx, o, p, opts...)
		},
	})
	cfg.Client, cfg.Live, cfg.Recorder, cfg.Metrics, cfg.Network = c, w.kube, &events.FakeRecorder{Events: w.events}, w.registry, w.net
	cfg.Now, cfg.Logger = func() time.Time { return w.now }, slog.New(slog.DiscardHandler)
	var err error
	if w.r, err = New(cfg); err != nil {
		w.Fatal(err)
	}
}

func virtualIP(adjust ...func(*v1alpha1.VirtualIP)) *v1alpha1.VirtualIP {
	v := &v1alpha1.VirtualIP{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "updates"}, Spec: v1alpha1.VirtualIPSpec{
		Addresses: []v1alpha1.Prefix{"192.0.2.100/32"}, NodeSelector: map[string]string{"front": "yes"}}}
	for _, a := range adjust {
		a(v)
	}
	return v
}

func managed(v *v1alpha1.VirtualIP) {
	v.Spec.OpenStack = &v1alpha1.OpenStackVIP{Management: v1alpha1.ManagementManage, Cloud: v1alpha1.SecretKeyReference{Name: "cloud", Key: "clouds.yaml"}}
}

func verified(v *v1alpha1.VirtualIP) {
	managed(v)
	v.Spec.OpenStack.Management = v1alpha1.ManagementVerify
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// say is what the front of a node tells.
func (w *world) say(node, vrrp string, since int, message string) {
	w.Helper()
	var l coordinationv1.Lease
	w.must(w.kube.Get(w.Context(), client.ObjectKey{Namespace: fronts, Name: "dns.c-front-vip"}, &l))
	text, err := json.Marshal(announce.State{VRRP: vrrp, Since: w.now.Add(time.Duration(since) * time.Second), Ready: vrrp != "fault", Score: 2, Message: message, Beat: uint64(w.now.Unix())})
	w.must(err)
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[announce.Annotation+node] = string(text)
	w.must(w.kube.Update(w.Context(), &l))
}

// pass makes one, 10 s after the last.
func (w *world) pass() *v1alpha1.VirtualIP {
	w.Helper()
	v, err := w.try()
	w.must(err)
	return v
}

func (w *world) try() (*v1alpha1.VirtualIP, error) {
	w.now = w.now.Add(10 * time.Second)
	v := virtualIP()
	_, err := operatortest.Pass(w.T, w.r, v)
	now := &v1alpha1.VirtualIP{}
	return now, errors.Join(err, w.kube.Get(w.Context(), client.ObjectKeyFromObject(v), now))
}

func (w *world) condition(v *v1alpha1.VirtualIP, kind, want string) {
	w.Helper()
	c := meta.FindStatusCondition(v.Status.Conditions, kind)
	if c == nil || string(c.Status)+" "+c.Reason != want {
		w.Errorf("%s is %+v, want %s", kind, c, want)
	}
}

// open are the nodes with the gate's label.
func (w *world) open() string {
	w.Helper()
	var l corev1.NodeList
	w.must(w.kube.List(w.Context(), &l, client.MatchingLabels{resources.Gate(virtualIP()): resources.GateOpen}))
	var names []string
	for _, n := range l.Items {
		names = append(names, n.Name)
	}
	return strings.Join(names, " ")
}

// TestHolder: status tells who has the addresses, since when and whether they are safe there, and an event tells of a move.
func TestHolder(t *testing.T) {
	w := newWorld(t, virtualIP())
	v := w.pass()
	w.condition(v, v1alpha1.ConditionReady, "False "+v1alpha1.ReasonFrontsMissing)
	w.condition(v, v1alpha1.ConditionPublished, "False "+v1alpha1.ReasonNoHolder)
	w.say("n1", "master", 0, "")
	w.say("n2", "backup", 0, "")
	w.say("n3", "fault", 0, "haproxy: it ended")
	took := w.now
	v = w.pass()
	w.condition(v, v1alpha1.ConditionReady, "True Healthy")
	if s := v.Status; s.Holder != "n1" || !s.HolderSince.Time.Equal(took) || s.Ready != "2/3" || s.Cluster != "c" || s.Exposure != "vip" || len(s.Nodes) != 3 ||
		s.Nodes[2].State != "fault" || s.Nodes[2].Message != "haproxy: it ended" || s.Nodes[2].Ready || !s.Nodes[1].Ready || strings.Join(s.Addresses, " ") != "192.0.2.100" {
		t.Errorf("%+v", s)
	}
	if !operatortest.Told(w.events, "Ready 192.0.2.100 is at node n1") {
		t.Error("no event of its being ready")
	}
	// n1 dies without a word, n2 takes over.
	w.say("n2", "master", 0, "")
	w.say("n3", "backup", 0, "")
	v = w.pass()
	w.condition(v, v1alpha1.ConditionPublished, "True Healthy")
	if v.Status.Holder != "n2" || v.Status.Nodes[0].State != v1alpha1.VIPNodeSilent || !operatortest.Told(w.events, "HolderChanged node n2 has the addresses, node n1 had them") {
		t.Errorf("after the move: %+v", v.Status)
	}
	families, err := w.registry.Gather()
	w.must(err)
	moves := 0.0
	for _, f := range families {
		if f.GetName() == "zonekeeper_operator_vip_moves_total" {
			moves = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if moves != 1 {
		t.Errorf("%v moves", moves)
	}
	// The holder is drained: for a moment nobody has it, which is no alarm, and the event names who had it before.
	w.say("n2", "fault", 0, "drain: it stops")
	w.now = w.now.Add(-8 * time.Second) // 2 s after the last pass
	v = w.pass()
	w.condition(v, v1alpha1.ConditionPublished, "Unknown "+v1alpha1.ReasonPending)
	w.say("n3", "master", 0, "")
	v = w.pass()
	w.condition(v, v1alpha1.ConditionPublished, "True Healthy")
	if !operatortest.Told(w.events, "HolderChanged node n3 has the addresses, node n2 had them") {
		t.Errorf("no event of the move; holder %s", v.Status.Holder)
	}
	w.say("n3", "backup", 0, "")
	w.say("n2", "master", 0, "")
	w.pass()
	// It was only cut off from n2: both have it now.
	w.say("n1", "master", -32, "")
	w.say("n2", "master", -10, "")
	v = w.pass()
	w.condition(v, v1alpha1.ConditionPublished, "False "+v1alpha1.ReasonTwoHolders)
	// All fall silent: nothing is known of any, and the last holder is not claimed to be one.
	for range 6 {
		v = w.pass()
	}
	w.condition(v, v1alpha1.ConditionPublished, "False "+v1alpha1.ReasonNoHolder)
	if v.Status.Holder != "" || v.Status.Nodes[1].State != v1alpha1.VIPNodeSilent {
		t.Errorf("all silent: %+v", v.Status)
	}
}

// TestPrune: words of nodes that are gone go.
func TestPrune(t *testing.T) {
	w := newWorld(t, virtualIP())
	w.say("n1", "master", 0, "")
	w.say("gone", "backup", 0, "")
	w.pass()
	var l coordinationv1.Lease
	w.must(w.kube.Get(t.Context(), client.ObjectKey{Namespace: fronts, Name: "dns.c-front-vip"}, &l))
	if len(l.Annotations) != 1 || l.Annotations[announce.Annotation+"n1"] == "" {
		t.Errorf("%v", l.Annotations)
	}
}

// TestGateOpens: fronts are let in node by node as the network opens, stay while it can't be asked, and leave a node that is closed for a better one.
func TestGateOpens(t *testing.T) {
	w := newWorld(t, virtualIP(managed))
	v := w.pass()
	if w.open() != "" || !slicesHas(v.Finalizers, Finalizer) {
		t.Errorf("nothing is known: open %q, finalizers %v", w.open(), v.Finalizers)
	}
	w.net.open["n1"], w.net.open["n2"], w.net.open["n3"] = vipobject.Open, vipobject.Closed, vipobject.Unknown
	v = w.pass()
	w.condition(v, v1alpha1.ConditionNetworkReady, "False "+v1alpha1.ReasonNetworkClosed)
	if w.open() != "n1" {
		t.Errorf("open: %q", w.open())
	}
	w.net.open["n2"], w.net.open["n3"] = vipobject.Open, vipobject.Open
	v = w.pass()
	w.condition(v, v1alpha1.ConditionNetworkReady, "True Healthy")
	if w.open() != "n1 n2 n3" {
		t.Errorf("open: %q", w.open())
	}
	// The network can't be asked: everything stays, less and less is asked, and it says so.
	w.net.err, w.net.asked = errors.New("Neutron answers 503; look at it"), nil
	for range 12 {
		v = w.pass()
	}
	w.condition(v, v1alpha1.ConditionNetworkReady, "Unknown "+v1alpha1.ReasonUnreachable)
	if n := len(w.net.asked); w.open() != "n1 n2 n3" || n < 2 || n > 6 || !strings.Contains(v.Status.Summary, "fronts") && !strings.Contains(v.Status.Summary, "503") {
		t.Errorf("open: %q; asked %d times in 120 s; %s", w.open(), n, v.Status.Summary)
	}
	// A pair is overwritten at one node, then at all: then none is better.
	w.net.err = nil
	w.net.open["n1"] = vipobject.Closed
	for range 13 { // the last failure's pause is over
		w.pass()
	}
	if w.open() != "n2 n3" {
		t.Errorf("n1 is closed: %q", w.open())
	}
	w.net.open["n2"], w.net.open["n3"] = vipobject.Closed, vipobject.Closed
	w.pass()
	if w.open() != "n2 n3" {
		t.Errorf("all are closed: %q", w.open())
	}
	// A node that is selected no more loses the label.
	var n corev1.Node
	w.must(w.kube.Get(t.Context(), client.ObjectKey{Name: "n3"}, &n))
	delete(n.Labels, "front")
	w.must(w.kube.Update(t.Context(), &n))
	w.pass()
	if w.open() != "n2" {
		t.Errorf("n3 is not selected: %q", w.open())
	}
	for _, what := range []string{"patch *v1.Node", "patch *v1alpha1.VirtualIP"} {
		if !w.used[what] {
			t.Errorf("%s was not used; is the right for it needed?", what)
		}
	}
}

func slicesHas(l []string, want string) bool { return strings.Contains(strings.Join(l, " "), want) }

// TestVerifyAndCredentials: who only looks makes nothing; without credentials nobody is asked, new ones are used at once.
func TestVerifyAndCredentials(t *testing.T) {
	w := newWorld(t, virtualIP(verified))
	w.pass()
	if len(w.net.asked) != 1 || !w.net.asked[0].Verify || string(w.net.asked[0].Credentials["clouds.yaml"]) != "secret" || len(w.net.asked[0].Nodes) != 3 {
		t.Errorf("asked %d times: %+v", len(w.net.asked), w.net.asked)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "cloud"}, Data: map[string][]byte{"clouds.yaml": []byte("new")}}
	w.must(w.kube.Update(t.Context(), secret))
	w.now = w.now.Add(-9 * time.Second)
	w.pass()
	if len(w.net.asked) != 2 || string(w.net.asked[1].Credentials["clouds.yaml"]) != "new" {
		t.Errorf("with new credentials it was asked %d times", len(w.net.asked))
	}
	w.must(w.kube.Delete(t.Context(), secret))
	v := w.pass()
	w.condition(v, v1alpha1.ConditionNetworkReady, "Unknown "+v1alpha1.ReasonNoSuchSecret)
	if len(w.net.asked) != 2 {
		t.Error("asked without credentials")
	}
	w.must(w.kube.Delete(t.Context(), v))
	if _, err := w.try(); !apierrors.IsNotFound(err) || w.net.has || len(w.net.asked) != 2 {
		t.Errorf("its deletion needs the network, which others own: %v", err)
	}
}

// TestDeletion: everything of ours goes first; a network that does not answer keeps the object for DeletionLimit, and the event says what is left.
func TestDeletion(t *testing.T) {
	for name, broken := range map[string]bool{"in order": false, "the network does not answer": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, virtualIP(managed))
			w.net.open["n1"], w.net.open["n2"] = vipobject.Open, vipobject.Open
			v := w.pass()
			if w.open() != "n1 n2" || !w.net.has {
				t.Fatalf("open %q, has %v", w.open(), w.net.has)
			}
			w.must(w.kube.Delete(t.Context(), v))
			w.must(w.kube.Get(t.Context(), client.ObjectKeyFromObject(v), v))
			w.now = v.DeletionTimestamp.Time // the fake API server has a clock of its own
			if broken {
				w.net.err = errors.New("503")
				for range 29 { // 290 s
					w.must(errorOf(w.try()))
				}
			}
			_, err := w.try()
			if !apierrors.IsNotFound(err) || w.open() != "" {
				t.Errorf("it is still there: %v, open %q", err, w.open())
			}
			event := "Removed"
			if broken {
				event = "Abandoned what OpenStack has of the VirtualIP stays there"
			}
			if !operatortest.Told(w.events, event) || w.net.has != broken {
				t.Errorf("no event %s, or the network has something: %v", event, w.net.has)
			}
		})
	}
}

func errorOf(_ *v1alpha1.VirtualIP, err error) error { return err }

// TestPaused: status goes on, nothing else is written.
func TestPaused(t *testing.T) {
	w := newWorld(t, virtualIP(managed))
	var c v1alpha1.BindCluster
	w.must(w.kube.Get(t.Context(), client.ObjectKey{Namespace: "dns", Name: "c"}, &c))
	c.Spec.Paused = true
	w.must(w.kube.Update(t.Context(), &c))
	w.net.open["n1"] = vipobject.Open
	v := w.pass()
	if w.open() != "" || len(v.Finalizers) > 0 || w.net.has || !w.net.asked[0].Verify || !strings.Contains(v.Status.Summary, "paused") {
		t.Errorf("open %q, %+v", w.open(), v)
	}
}

// TestKilled: whatever call was the operator's last while it let fronts in or removed everything, the next operator ends in the same state.
func TestKilled(t *testing.T) {
	for step, prepare := range map[string]func(*world){
		"opened": func(*world) {},
		"removed": func(w *world) {
			v := w.pass()
			w.must(w.kube.Delete(t.Context(), v))
		},
	} {
		killed := 0
		for n, hit := 0, true; hit; n++ {
			w := newWorld(t, virtualIP(managed))
			for _, node := range []string{"n1", "n2", "n3"} {
				w.net.open[node] = vipobject.Open
				w.say(node, map[string]string{"n1": "master"}[node]+map[bool]string{true: "backup"}[node != "n1"], 0, "")
			}
			w.say("gone", "backup", 0, "")
			prepare(w)
			w.kill.After(n)
			_, err := operatortest.Pass(t, w.r, virtualIP())
			if hit = w.kill.Disarm(); hit {
				killed++
			} else if err != nil {
				t.Errorf("%s: %v", step, err)
			}
			w.restart()
			v, err := w.try()
			if step == "removed" {
				if !apierrors.IsNotFound(err) || w.open() != "" || w.net.has {
					t.Errorf("killed after %d calls: %v, open %q, has %v", n, err, w.open(), w.net.has)
				}
				continue
			}
			w.must(err)
			w.condition(v, v1alpha1.ConditionReady, "True Healthy")
			if w.open() != "n1 n2 n3" || v.Status.Holder != "n1" || !w.net.has {
				t.Errorf("killed after %d calls: open %q, %+v", n, w.open(), v.Status)
			}
			before := v.ResourceVersion
			if again := w.pass(); again.ResourceVersion != before {
				t.Errorf("killed after %d calls: one more pass writes", n)
			}
		}
		if killed < 5 {
			t.Errorf("%s: killed at %d places only", step, killed)
		}
		t.Logf("%s: killed at %d places", step, killed)
	}
}

// TestNews: a front that is merely still there is no reason for a pass.
func TestNews(t *testing.T) {
	lease := func(s announce.State) *coordinationv1.Lease {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{announce.Annotation + "n": string(text), "other": "x"}}}
	}
	at := time.Unix(1, 0)
	old := lease(announce.State{VRRP: "backup", Since: at, Beat: 1})
	for s, want := range map[announce.State]bool{{VRRP: "backup", Since: at, Beat: 2}: false, {VRRP: "master", Since: at, Beat: 2}: true} {
		if got := saidSomething().Update(event.UpdateEvent{ObjectOld: old, ObjectNew: lease(s)}); got != want {
			t.Errorf("%+v: %v", s, got)
		}
	}
	if w := words(map[string]string{announce.Annotation + "n": "{"}); w["n"].VRRP != "fault" {
		t.Errorf("half a word: %+v", w)
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(DefaultConfig()); err == nil || !strings.Contains(err.Error(), "Network") {
		t.Errorf("without anything: %v", err)
	}
	c := DefaultConfig()
	c.Look = 0
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "positive") {
		t.Errorf("without a time: %v", err)
	}
}

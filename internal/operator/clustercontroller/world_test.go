package clustercontroller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// world is an API server, as much of a StatefulSet's controller as passes depend on, and primaries with one log. The API server is
// controller-runtime's fake one: that the real one takes the same objects is what test/kube shows, where the same program runs.
type world struct {
	t      *testing.T
	client client.WithWatch
	now    time.Time
	// failAt is the write after which the operator dies, before it hears of it, counted from 1. 0: never.
	failAt, writes int
	dead           bool
	used           map[string]bool // "verb group/resource" of every request

	formed   bool
	members  map[string]bool
	keys     map[string]string
	have     map[string]string // registered secondaries and their keys
	verified int
	removed  []string
}

var errKilled = errors.New("the operator was killed")

func scheme(t *testing.T) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

const (
	testNamespace = "dns"
	testName      = "c"
)

func newWorld(t *testing.T, objects ...client.Object) *world {
	w := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), used: map[string]bool{}, members: map[string]bool{}, keys: map[string]string{}, have: map[string]string{}}
	s := scheme(t)
	// Without schemas: with them the fake server reads the same NetworkPolicy sometimes with one and sometimes without.
	w.client = fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithTypeConverters(managedfields.NewDeducedTypeConverter()).
		WithStatusSubresource(&v1alpha1.BindCluster{}, &appsv1.StatefulSet{}, &appsv1.Deployment{}, &appsv1.DaemonSet{}).Build()
	return w
}

// write stands before every change that the operator makes.
func (w *world) write(do func() error) error {
	if w.dead {
		return errKilled
	}
	w.writes++
	err := do()
	if w.writes == w.failAt {
		w.dead = true
		return errKilled
	}
	return err
}

func (w *world) note(verb string, o runtime.Object) {
	gvk, err := w.client.GroupVersionKindFor(o)
	if err != nil {
		w.t.Fatalf("%T: %v", o, err)
	}
	kind := strings.TrimSuffix(gvk.Kind, "List")
	resource := strings.ToLower(kind) + "s"
	if kind == "NetworkPolicy" {
		resource = "networkpolicies"
	}
	w.used[verb+" "+gvk.Group+"/"+resource] = true
}

// operatorClient is the client through which the operator works, and through which it dies.
func (w *world) operatorClient() client.Client {
	return interceptor.NewClient(w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			w.note("get", o)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			w.note("list", l)
			return c.List(ctx, l, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			w.note("create", o)
			return w.write(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			w.note("update", o)
			return w.write(func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			w.note("patch", o)
			return w.write(func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			w.note("delete", o)
			return w.write(func() error { return c.Delete(ctx, o, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if u, ok := o.(runtime.Object); ok {
				w.note("patch", u)
				w.note("create", u)
			}
			return w.write(func() error { return c.Apply(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			w.used["patch "+v1alpha1.Group+"/bindclusters/"+sub] = true
			return w.write(func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
	})
}

// operator starts one, without any memory.
func (w *world) operator() *Reconciler {
	cfg := DefaultConfig()
	cfg.Settings.Image = "zonekeeper:1"
	c := w.operatorClient()
	r, err := New(cfg, Dependencies{Client: c, Live: c, Connect: w.connect, Forget: func(types.NamespacedName) {}, Events: events.NewFakeRecorder(10000), Metrics: prometheus.NewRegistry(),
		Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) connect(_ context.Context, c *v1alpha1.BindCluster) ([]Primary, error) {
	var out []Primary
	for i := range int(max(c.Spec.Primaries.Replicas, c.Status.Primaries.Replicas)) {
		out = append(out, &primary{w, i})
	}
	return out, nil
}

// kubernetes is what its controllers do in a while.
func (w *world) kubernetes() {
	ctx := w.t.Context()
	set := &appsv1.StatefulSet{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: testName + "-primary"}, set); err != nil {
		return // not there yet
	}
	revision := digest([]byte(set.Spec.Template.String()))
	current := set.Status.CurrentRevision
	if current == "" {
		current = revision
	}
	n, partition := int(*set.Spec.Replicas), int(*set.Spec.UpdateStrategy.RollingUpdate.Partition)
	updated := 0
	for i := range 5 {
		name := fmt.Sprintf("%s-%d", set.Name, i)
		pod := &corev1.Pod{}
		exists := w.client.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: name}, pod) == nil
		if exists && (i >= n || i >= partition && pod.Labels[appsv1.ControllerRevisionHashLabelKey] != revision) {
			w.must(w.client.Delete(ctx, pod))
			exists = false
		}
		if i >= n {
			continue
		}
		if !exists {
			l := maps.Clone(set.Spec.Template.Labels)
			l[appsv1.ControllerRevisionHashLabelKey] = current
			if i >= partition {
				l[appsv1.ControllerRevisionHashLabelKey] = revision
			}
			pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name, Labels: l}, Spec: corev1.PodSpec{NodeName: fmt.Sprintf("n%d", i+1)}}
			w.must(w.client.Create(ctx, pod))
			claim := set.Spec.VolumeClaimTemplates[0].DeepCopy()
			claim.Name, claim.Namespace = "data-"+name, testNamespace
			if err := w.client.Create(ctx, claim); err == nil && w.formed {
				w.members[resources.Member(i)] = true // an empty disk is a new member
			}
		}
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == revision {
			updated++
		}
	}
	if updated == n {
		current = revision
	}
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, Replicas: int32(n), ReadyReplicas: int32(n), UpdatedReplicas: int32(updated), CurrentRevision: current, UpdateRevision: revision}
	w.must(w.client.Status().Update(ctx, set))
	if !w.formed { // all that bootstrap are there
		w.formed = true
		for i := range n {
			w.members[resources.Member(i)] = true
		}
	}
	second := &appsv1.StatefulSet{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: testName + "-secondary"}, second); err == nil {
		k := *second.Spec.Replicas
		second.Status = appsv1.StatefulSetStatus{ObservedGeneration: second.Generation, Replicas: k, ReadyReplicas: k, UpdatedReplicas: k}
		w.must(w.client.Status().Update(ctx, second))
	}
	var fronts appsv1.DeploymentList
	w.must(w.client.List(ctx, &fronts))
	for i := range fronts.Items {
		d := &fronts.Items[i]
		d.Status.ReadyReplicas = *d.Spec.Replicas
		w.must(w.client.Status().Update(ctx, d))
		s := &corev1.Service{}
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(d), s); err == nil && len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = []string{"10.96.0.53"}
			w.must(w.client.Update(ctx, s))
		}
	}
	var vips appsv1.DaemonSetList
	w.must(w.client.List(ctx, &vips))
	for i := range vips.Items {
		vips.Items[i].Status = appsv1.DaemonSetStatus{NumberReady: 3, DesiredNumberScheduled: 3}
		w.must(w.client.Status().Update(ctx, &vips.Items[i]))
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cluster() *v1alpha1.BindCluster {
	c := &v1alpha1.BindCluster{}
	w.must(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace, Name: testName}, c))
	return c
}

func (w *world) pass(r *Reconciler) error {
	_, err := r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: testNamespace, Name: testName}})
	w.now = w.now.Add(10 * time.Second)
	return err
}

// settle runs passes, and another operator when one was killed, until the cluster is Ready for its present spec.
func (w *world) settle(r *Reconciler) *Reconciler {
	w.t.Helper()
	for range 80 {
		err := w.pass(r)
		if w.dead {
			w.dead, w.failAt = false, 0
			r = w.operator()
			continue
		}
		w.must(err)
		w.kubernetes()
		c := w.cluster()
		if condition(c, v1alpha1.ConditionReady).Status == metav1.ConditionTrue && int(c.Spec.Primaries.Replicas) == len(w.members) && c.Status.Primaries.Replicas == c.Spec.Primaries.Replicas {
			err := w.pass(r)
			if w.dead {
				w.dead, w.failAt = false, 0
				r = w.operator()
				continue
			}
			w.must(err)
			if condition(w.cluster(), v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
				return r
			}
		}
	}
	w.t.Fatalf("not ready: %s; %+v", w.cluster().Status.Summary, w.cluster().Status)
	return nil
}

func condition(c *v1alpha1.BindCluster, name string) metav1.Condition {
	for _, x := range c.Status.Conditions {
		if x.Type == name {
			return x
		}
	}
	return metav1.Condition{}
}

// primary is one of them. It answers while it has a pod and is a member.
type primary struct {
	w *world
	i int
}

func (p *primary) up(ctx context.Context) error {
	name := fmt.Sprintf("%s-primary-%d", testName, p.i)
	if err := p.w.client.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: name}, &corev1.Pod{}); err != nil || !p.w.formed {
		return errors.New("connection refused")
	}
	return nil
}

func (p *primary) Replica(ctx context.Context) (*adminapi.ReplicaStatus, error) {
	if err := p.up(ctx); err != nil {
		return nil, err
	}
	name := resources.Member(p.i)
	return &adminapi.ReplicaStatus{Name: name, Ready: p.w.members[name], Leader: p.i == 0, Version: "1", AppliedIndex: 7,
		Zones: []adminapi.ZoneStatus{{Name: "catalog.invalid.", Serial: 1, Digest: "c"}, {Name: "example.org.", Serial: 1, Digest: "d"}}}, nil
}

func (p *primary) Status(ctx context.Context) (*adminapi.Status, error) {
	s := &adminapi.Status{Leader: "primary-0"}
	for _, name := range slices.Sorted(maps.Keys(p.w.have)) {
		s.Secondaries = append(s.Secondaries, adminapi.Secondary{Name: name, Key: p.w.have[name], Connected: true, Status: &adminapi.SecondaryStatus{Ready: true}})
	}
	return s, p.up(ctx)
}

func (p *primary) Members(ctx context.Context) ([]adminapi.Member, error) {
	var out []adminapi.Member
	for _, name := range slices.Sorted(maps.Keys(p.w.members)) {
		out = append(out, adminapi.Member{Name: name})
	}
	return out, p.up(ctx)
}

func (p *primary) RemoveMember(_ context.Context, name string) error {
	return p.w.write(func() error {
		delete(p.w.members, name)
		p.w.removed = append(p.w.removed, name)
		return nil
	})
}

func (p *primary) Verify(context.Context) (*adminapi.VerifyReport, error) {
	p.w.verified++
	return &adminapi.VerifyReport{OK: true}, nil
}

func (p *primary) Catalog(context.Context) (*adminapi.Catalog, error) {
	return &adminapi.Catalog{Name: "catalog.invalid."}, nil
}

func (p *primary) Keys(context.Context) ([]adminapi.Key, error) {
	var out []adminapi.Key
	for _, name := range slices.Sorted(maps.Keys(p.w.keys)) {
		out = append(out, adminapi.Key{Name: name})
	}
	return out, nil
}

func (p *primary) Key(_ context.Context, name string, _ bool) (*adminapi.Key, error) {
	return &adminapi.Key{Name: name, Versions: []adminapi.KeyVersion{{Secret: p.w.keys[name]}}}, nil
}

func (p *primary) AddKey(_ context.Context, k adminapi.AddKey) (*adminapi.Key, error) {
	return nil, p.w.write(func() error {
		if p.w.keys[k.Name] != "" {
			return &adminapi.Error{Code: adminapi.CodeConflict, Message: "there is one"}
		}
		p.w.keys[k.Name] = k.Secret
		return nil
	})
}

func (p *primary) RotateKey(_ context.Context, name string, k adminapi.RotateKey) (*adminapi.Key, error) {
	return nil, p.w.write(func() error { p.w.keys[name] = k.Secret; return nil })
}

func (p *primary) RetireKey(context.Context, string) (*adminapi.Key, error) { return nil, nil }

func (p *primary) DeleteKey(_ context.Context, name, _ string) error {
	return p.w.write(func() error { delete(p.w.keys, name); return nil })
}

func (p *primary) Secondaries(ctx context.Context) ([]adminapi.Secondary, error) {
	s, err := p.Status(ctx)
	return s.Secondaries, err
}

func (p *primary) PutSecondary(_ context.Context, s adminapi.Secondary) error {
	return p.w.write(func() error { p.w.have[s.Name] = s.Key; return nil })
}

func (p *primary) DeleteSecondary(_ context.Context, name string) error {
	return p.w.write(func() error { delete(p.w.have, name); return nil })
}

func (w *world) set() *appsv1.StatefulSet {
	w.t.Helper()
	s := &appsv1.StatefulSet{}
	w.must(w.client.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace, Name: testName + "-primary"}, s))
	return s
}

package clustercontroller

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// TestUngated: fronts that run already get the gate of their VirtualIP's network when enough nodes are let in, and not before: the address would go.
func TestUngated(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	v := &v1alpha1.VirtualIP{}
	w.must(w.client.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "v"}, v))
	v.Spec.OpenStack = &v1alpha1.OpenStackVIP{Management: v1alpha1.ManagementManage}
	w.must(w.client.Update(t.Context(), v))
	gated := func() bool {
		t.Helper()
		w.must(w.pass(r))
		d := &appsv1.DaemonSet{}
		w.must(w.client.Get(t.Context(), client.ObjectKey{Namespace: "zonekeeper-front", Name: "dns.c-front-vip"}, d))
		return d.Spec.Template.Spec.NodeSelector[resources.Gate(v)] == resources.GateOpen
	}
	open := func(node string, yes bool) {
		t.Helper()
		n := &corev1.Node{}
		w.must(w.client.Get(t.Context(), client.ObjectKey{Name: node}, n))
		n.Labels = map[string]string{}
		if yes {
			n.Labels[resources.Gate(v)] = resources.GateOpen
		}
		w.must(w.client.Update(t.Context(), n))
	}
	if gated() {
		t.Error("the gate came while no node was let in")
	}
	open("n1", true)
	if gated() {
		t.Error("the gate came with one node")
	}
	open("n2", true)
	if !gated() {
		t.Error("two nodes are let in, and there is no gate")
	}
	open("n2", false)
	if !gated() {
		t.Error("the gate went with a node")
	}
	// A VirtualIP that is being deleted has no fronts.
	v.Finalizers = []string{"test/keep"}
	w.must(w.client.Update(t.Context(), v))
	w.must(w.client.Delete(t.Context(), v))
	w.must(w.pass(r))
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "zonekeeper-front", Name: "dns.c-front-vip"}, &appsv1.DaemonSet{}); err == nil {
		t.Error("the fronts of a VirtualIP that goes stay")
	}
}

package vipnetwork

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipcontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipobject"
)

// session answers what it is told to, and notes what it was asked.
type session struct {
	st    openstack.Status
	err   error
	asked []string
	want  plan.Desired
	ref   openstack.Ref
}

func (s *session) Look(_ context.Context, d plan.Desired) (openstack.Status, error) {
	s.asked, s.want = append(s.asked, "look"), d
	return s.st, s.err
}

func (s *session) Reconcile(_ context.Context, d plan.Desired) (openstack.Status, error) {
	s.asked, s.want = append(s.asked, "reconcile"), d
	return s.st, s.err
}

func (s *session) Delete(_ context.Context, r openstack.Ref) (openstack.Status, error) {
	s.asked, s.ref = append(s.asked, "delete"), r
	return s.st, s.err
}

func start(t *testing.T) (*Network, *session, vipcontroller.Desired) {
	t.Helper()
	s := &session{}
	kube := fake.NewClientBuilder().WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "c1"}}).Build()
	n, err := New(Config{Open: func(context.Context, openstack.Credentials) (Session, error) { return s, nil }, Reader: kube, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	node := func(name, provider string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: provider, PodCIDRs: []string{"100.96.0.0/24"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.250.0.5"}, {Type: corev1.NodeHostName, Address: name}}}}
	}
	return n, s, vipcontroller.Desired{
		VIP: &v1alpha1.VirtualIP{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "updates"}, Spec: v1alpha1.VirtualIPSpec{
			Addresses: []v1alpha1.Prefix{"10.250.0.100/32", "2001:db8::100/128"},
			OpenStack: &v1alpha1.OpenStackVIP{Cloud: v1alpha1.SecretKeyReference{Name: "cloud", Key: "clouds.yaml"}, FloatingIP: "203.0.113.9", Clients: []v1alpha1.Prefix{"10.0.0.0/8"}}}},
		Nodes: []*corev1.Node{node("n1", "openstack:///s1"), node("n2", "openstack://region/s2"), node("n3", "")},
		Credentials: map[string][]byte{"authURL": []byte("https://keystone.example/v3"), "domainName": []byte("d"), "tenantName": []byte("t"),
			"username": []byte("u"), "password": []byte("hidden")},
	}
}

// TestReconcile: a VirtualIP's meaning in OpenStack, and what came of it at each node.
func TestReconcile(t *testing.T) {
	n, s, d := start(t)
	s.st = openstack.Status{Plan: plan.Plan{
		Nodes: []plan.NodeState{{Name: "n1", Allowed: true}, {Name: "n2", Reason: "its port's list is full"}},
		VIPs:  []plan.VIPState{{Address: netip.MustParseAddr("10.250.0.100"), Floating: netip.MustParseAddr("203.0.113.9")}},
	}}
	got, err := n.Reconcile(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	w := s.want
	if w.Owner != (plan.Owner{Cluster: "c1", Name: "dns/updates"}) || len(w.VIPs) != 2 || w.VIPs[0].Floating == nil || w.VIPs[0].Floating.Address.String() != "203.0.113.9" || w.VIPs[1].Floating != nil ||
		len(w.Nodes) != 2 || w.Nodes[1].ServerID != "s2" || len(w.Nodes[0].Addresses) != 1 || fmt.Sprint(w.Security.Clients) != "[10.0.0.0/8]" || fmt.Sprint(w.Forbidden) != "[100.96.0.0/24]" {
		t.Errorf("asked for %+v", w)
	}
	if got.Nodes["n1"].Openness != vipobject.Open || got.Nodes["n2"].Openness != vipobject.Closed || got.Nodes["n2"].Message != "its port's list is full" ||
		got.Nodes["n3"].Openness != vipobject.Closed || !strings.Contains(got.Nodes["n3"].Message, "providerID") || got.Done || fmt.Sprint(got.FloatingAddresses) != "[203.0.113.9]" {
		t.Errorf("found %+v", got)
	}
	d.Verify = true
	if _, err := n.Reconcile(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	d.Remove = true
	if _, err := n.Reconcile(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(s.asked) != "[reconcile look delete]" || s.ref.Owner.Name != "dns/updates" || len(s.ref.Addresses) != 2 {
		t.Errorf("asked %v, %+v", s.asked, s.ref)
	}
	s.st.Problems = []plan.Problem{{Subject: "n1", Text: "somebody else's"}}
	if _, err := n.Reconcile(t.Context(), d); err == nil || !strings.Contains(err.Error(), "n1: somebody else's") {
		t.Errorf("what could not be removed: %v", err)
	}
}

// TestFaults: what may pass is unknown, what a person has to mend has a reason; credentials are in no message.
func TestFaults(t *testing.T) {
	for kind, want := range map[openstack.FaultKind]string{openstack.ServerError: "", openstack.Throttled: "", openstack.Unauthorized: "Unauthorized", openstack.QuotaExceeded: "QuotaExceeded"} {
		n, s, d := start(t)
		s.err = &openstack.Fault{Kind: kind, Doing: "list ports", Said: "no", Remedy: "wait"}
		got, err := n.Reconcile(t.Context(), d)
		if err == nil || got.Reason != want || got.Unreachable != (want == "") || got.Done || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %+v, %v", kind, got, err)
		}
	}
	n, _, d := start(t)
	d.VIP.Spec.Addresses = []v1alpha1.Prefix{"100.96.0.7/32"}
	if got, err := n.Reconcile(t.Context(), d); err == nil || got.Reason != v1alpha1.ReasonInvalid || !strings.Contains(err.Error(), "range of pods") {
		t.Errorf("an address of pods: %+v, %v", got, err)
	}
	d.Credentials = map[string][]byte{"clouds.yaml": []byte("clouds: {")}
	if got, err := n.Reconcile(t.Context(), d); err == nil || got.Reason != v1alpha1.ReasonInvalid || !strings.Contains(err.Error(), "Secret cloud") {
		t.Errorf("half a clouds.yaml: %+v, %v", got, err)
	}
	if _, err := New(Config{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("an empty Config: %v", err)
	}
}

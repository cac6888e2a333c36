// Package vipnetwork has OpenStack let the addresses of VirtualIPs through: it says package openstack what a VirtualIP means, and the controller what came of it.
package vipnetwork

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipcontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipobject"
)

// Session is a project of one OpenStack; *openstack.Session is one. It is safe for concurrent use.
type Session interface {
	Look(ctx context.Context, d plan.Desired) (openstack.Status, error)
	Reconcile(ctx context.Context, d plan.Desired) (openstack.Status, error)
	Delete(ctx context.Context, r openstack.Ref) (openstack.Status, error)
}

// Config of a Network.
type Config struct {
	// Open gives the session of credentials. It may give the same one again.
	Open func(ctx context.Context, c openstack.Credentials) (Session, error)
	// Reader reads the namespace whose UID tells this Kubernetes cluster from others in one OpenStack project.
	Reader client.Reader
	Logger *slog.Logger
}

// Sessions is Config.Open with real sessions.
func Sessions(s *openstack.Sessions) func(context.Context, openstack.Credentials) (Session, error) {
	return func(ctx context.Context, c openstack.Credentials) (Session, error) { return s.Open(ctx, c) }
}

// Network implements vipcontroller.Network.
type Network struct {
	cfg Config

	mu      sync.Mutex
	cluster string
}

// New gives a Network.
func New(cfg Config) (*Network, error) {
	if cfg.Open == nil || cfg.Reader == nil || cfg.Logger == nil {
		return nil, errors.New("vipnetwork: Open, Reader and Logger are needed")
	}
	return &Network{cfg: cfg}, nil
}

// Reconcile implements vipcontroller.Network.
func (n *Network) Reconcile(ctx context.Context, d vipcontroller.Desired) (*vipobject.Network, error) {
	credentials, err := openstack.FromSecret(d.Credentials, d.VIP.Spec.OpenStack.Cloud.Key)
	if err != nil {
		err = fmt.Errorf("Secret %s: %w", d.VIP.Spec.OpenStack.Cloud.Name, err)
		return &vipobject.Network{Reason: v1alpha1.ReasonInvalid}, err
	}
	owner, err := n.owner(ctx, d.VIP)
	if err != nil {
		return nil, err
	}
	session, err := n.cfg.Open(ctx, credentials)
	if err != nil {
		return found(openstack.Status{}, err), err
	}
	if d.Remove {
		st, err := session.Delete(ctx, openstack.Ref{Owner: owner, NetworkID: d.VIP.Spec.OpenStack.Network, Addresses: vipobject.Addresses(d.VIP)})
		if err == nil && !st.Done() {
			err = fmt.Errorf("not all of it could be removed: %s", strings.Join(problems(st), "; "))
		}
		return nil, err
	}
	want, foreign := desired(d.VIP, owner, d.Nodes)
	if err := want.Validate(); err != nil {
		return &vipobject.Network{Reason: v1alpha1.ReasonInvalid}, err
	}
	do := session.Reconcile
	if d.Verify {
		do = session.Look
	}
	st, err := do(ctx, want)
	if st.Steps > 0 {
		n.cfg.Logger.Info("OpenStack was changed", "vip", owner.Name, "steps", st.Steps, "looks", st.Looks)
	}
	out := found(st, err)
	for _, node := range foreign {
		out.Done = false
		out.Nodes[node] = vipobject.NodeNetwork{Openness: vipobject.Closed, Message: "its spec.providerID names no server of OpenStack; the cloud controller writes it"}
	}
	return out, err
}

// owner marks what the VirtualIP has in OpenStack. The cluster is named by the UID of a namespace that every cluster has and none can lose.
func (n *Network) owner(ctx context.Context, v *v1alpha1.VirtualIP) (plan.Owner, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cluster == "" {
		var ns corev1.Namespace
		if err := n.cfg.Reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &ns); err != nil {
			return plan.Owner{}, fmt.Errorf("namespace %s: %w", metav1.NamespaceSystem, err)
		}
		n.cluster = string(ns.UID)
	}
	return plan.Owner{Cluster: n.cluster, Name: v.Namespace + "/" + v.Name}, nil
}

// desired says what a VirtualIP means in OpenStack; foreign are nodes that are no servers there.
func desired(v *v1alpha1.VirtualIP, owner plan.Owner, nodes []*corev1.Node) (d plan.Desired, foreign []string) {
	o := v.Spec.OpenStack
	d = plan.Desired{Owner: owner, NetworkID: o.Network, Security: &plan.Security{Clients: prefixes(o.Clients)}}
	floating := &plan.Floating{Pool: o.FloatingPool}
	if a, err := netip.ParseAddr(string(o.FloatingIP)); err == nil {
		floating.Address = a
	}
	for _, a := range vipobject.Addresses(v) {
		x := plan.VIP{Address: a, IPv6: a.Is6()}
		if a.Is4() && *floating != (plan.Floating{}) {
			x.Floating, floating = floating, &plan.Floating{} // one address gets it, the first of IPv4
		}
		d.VIPs = append(d.VIPs, x)
	}
	for _, n := range nodes {
		id, ok := plan.ServerID(n.Spec.ProviderID)
		if !ok {
			foreign = append(foreign, n.Name)
			continue
		}
		node := plan.Node{Name: n.Name, ServerID: id}
		for _, a := range n.Status.Addresses {
			if x, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				node.Addresses = append(node.Addresses, x)
			}
		}
		d.Nodes = append(d.Nodes, node)
		for _, text := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(text); err == nil && !slices.Contains(d.Forbidden, p) {
				d.Forbidden = append(d.Forbidden, p)
			}
		}
	}
	return d, foreign
}

func prefixes(l []v1alpha1.Prefix) (out []netip.Prefix) {
	for _, text := range l {
		if p, err := netip.ParsePrefix(string(text)); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// found says what a call has found. What only a person can mend has the fault's kind as its reason; what may pass is unreachable.
func found(st openstack.Status, err error) *vipobject.Network {
	out := &vipobject.Network{Done: err == nil && st.Done(), Nodes: map[string]vipobject.NodeNetwork{}}
	for _, n := range st.Nodes {
		at := vipobject.NodeNetwork{Openness: vipobject.Open}
		if !n.Allowed {
			at = vipobject.NodeNetwork{Openness: vipobject.Closed, Message: n.Reason}
		}
		out.Nodes[n.Name] = at
	}
	for _, a := range st.Actions {
		out.Pending = append(out.Pending, a.String())
	}
	for _, x := range st.VIPs {
		if x.Floating.IsValid() {
			out.FloatingAddresses = append(out.FloatingAddresses, x.Floating.String())
		}
	}
	var fault *openstack.Fault
	switch {
	case err == nil:
		if p := problems(st); len(p) > 0 {
			out.Message = strings.Join(p, "; ")
		}
	case errors.As(err, &fault) && !fault.Temporary():
		out.Reason = string(fault.Kind)
	default:
		out.Unreachable = true
	}
	return out
}

func problems(st openstack.Status) (out []string) {
	for _, p := range st.Problems {
		out = append(out, p.Subject+": "+p.Text)
	}
	return out
}

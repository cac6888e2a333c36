package clustercontroller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// addresses are the VirtualIPs that the cluster names, and the nodes if there are any.
func (r *Reconciler) addresses(ctx context.Context, in resources.Input) (map[string]*v1alpha1.VirtualIP, []resources.Node, error) {
	if !in.HasVIP() {
		return nil, nil, nil
	}
	vips := map[string]*v1alpha1.VirtualIP{}
	for _, e := range in.Cluster.Spec.Exposures {
		if e.VIP == nil {
			continue
		}
		var v v1alpha1.VirtualIP
		err := r.client.Get(ctx, client.ObjectKey{Namespace: in.Cluster.Namespace, Name: e.VIP.VirtualIP}, &v)
		switch {
		case err == nil && v.DeletionTimestamp.IsZero():
			vips[v.Name] = &v
		case err == nil:
		case !apierrors.IsNotFound(err):
			return nil, nil, fmt.Errorf("VirtualIP %s/%s: %w", in.Cluster.Namespace, e.VIP.VirtualIP, err)
		}
	}
	var list corev1.NodeList
	if err := r.client.List(ctx, &list); err != nil {
		return nil, nil, fmt.Errorf("nodes: %w", err)
	}
	var nodes []resources.Node
	for _, n := range list.Items {
		node := resources.Node{Name: n.Name, Labels: n.Labels}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				node.Addresses = append(node.Addresses, a.Address)
			}
		}
		nodes = append(nodes, node)
	}
	return vips, nodes, nil
}

// daemonSet gives that of a VIP's exposure, nil when there is none.
func (r *Reconciler) daemonSet(ctx context.Context, in resources.Input, e v1alpha1.Exposure) (*appsv1.DaemonSet, error) {
	if in.Settings.FrontNamespace == "" {
		return nil, nil //nolint:nilnil // none is an answer
	}
	name := client.ObjectKey{Namespace: in.Settings.FrontNamespace, Name: in.Outside(in.FrontName(e.Name))}
	var d appsv1.DaemonSet
	err := r.client.Get(ctx, name, &d)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("DaemonSet %s: %w", name, err)
	}
	return &d, nil
}

// ungated are the exposures whose fronts run on without the gate that their VirtualIP has got meanwhile: with too few nodes that are let in already the
// address would go, although it may have worked.
func (r *Reconciler) ungated(ctx context.Context, in resources.Input) (map[string]bool, error) {
	out := map[string]bool{}
	for _, e := range in.Cluster.Spec.Exposures {
		if e.VIP == nil || in.VirtualIPs[e.VIP.VirtualIP] == nil || in.VirtualIPs[e.VIP.VirtualIP].Spec.OpenStack == nil {
			continue
		}
		d, err := r.daemonSet(ctx, in, e)
		if err != nil {
			return nil, err
		}
		gate := resources.Gate(in.VirtualIPs[e.VIP.VirtualIP])
		out[e.Name] = d != nil && d.Spec.Template.Spec.NodeSelector[gate] == "" && in.LetIn(in.VirtualIPs[e.VIP.VirtualIP]) < 2
	}
	return out, nil
}

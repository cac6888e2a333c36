package clustercontroller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// How soon a pass that failed is repeated, and how many clusters are looked at at once.
const (
	retryFirst  = time.Second
	retryLast   = 30 * time.Second
	concurrency = 4
)

// Register has mgr run the controller. What it watches only makes it look sooner: it looks in any case, and then at everything.
func (r *Reconciler) Register(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).Named("bindcluster").
		For(&v1alpha1.BindCluster{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})). // not for its own status
		Owns(&appsv1.StatefulSet{}).
		Owns(&appsv1.Deployment{}).
		Owns(&corev1.Service{}).
		Watches(&v1alpha1.VirtualIP{}, handler.EnqueueRequestsFromMapFunc(r.ofVirtualIP)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.withVIPs), builder.WithPredicates(placeChanged())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		})
	if r.cfg.Settings.FrontNamespace != "" {
		b = b.Watches(&appsv1.DaemonSet{}, handler.EnqueueRequestsFromMapFunc(ofOutside))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("controller of BindClusters: %w", err)
	}
	return nil
}

// ofOutside finds the cluster of an object in the fronts' namespace.
func ofOutside(_ context.Context, o client.Object) []reconcile.Request {
	l := o.GetLabels()
	if l[resources.LabelManagedBy] != resources.Manager || l[resources.LabelClusterNamespace] == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: l[resources.LabelClusterNamespace], Name: l[resources.LabelInstance]}}}
}

// ofVirtualIP finds the clusters that name one.
func (r *Reconciler) ofVirtualIP(ctx context.Context, o client.Object) []reconcile.Request {
	return r.clusters(ctx, func(c *v1alpha1.BindCluster) bool {
		return c.Namespace == o.GetNamespace() && slices.ContainsFunc(c.Spec.Exposures, func(e v1alpha1.Exposure) bool { return e.VIP != nil && e.VIP.VirtualIP == o.GetName() })
	})
}

// withVIPs finds the clusters that nodes matter to.
func (r *Reconciler) withVIPs(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.clusters(ctx, func(c *v1alpha1.BindCluster) bool {
		return resources.Input{Cluster: c, Settings: r.cfg.Settings}.HasVIP()
	})
}

func (r *Reconciler) clusters(ctx context.Context, pick func(*v1alpha1.BindCluster) bool) []reconcile.Request {
	var l v1alpha1.BindClusterList
	if err := r.client.List(ctx, &l); err != nil {
		r.log.Warn("BindClusters can't be listed; they are looked at when their time comes", "err", err)
		return nil
	}
	var out []reconcile.Request
	for i := range l.Items {
		if pick(&l.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&l.Items[i])})
		}
	}
	return out
}

// placeChanged: a node has come or gone, or has other labels or addresses. Its heartbeats are nobody's business.
func placeChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return ok1 && ok2 && (!maps.Equal(before.Labels, after.Labels) || !slices.Equal(before.Status.Addresses, after.Status.Addresses))
	}}
}

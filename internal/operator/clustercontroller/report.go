package clustercontroller

import (
	"context"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// report writes the status when it has changed, and tells of what has.
func (r *Reconciler) report(ctx context.Context, f *facts) error {
	next := f.cluster.DeepCopy()
	next.Status = status(f)
	if !reflect.DeepEqual(next.Status, f.cluster.Status) {
		// Only what differs is sent: tenants are another controller's.
		err := r.client.Status().Patch(ctx, next, client.MergeFrom(f.cluster))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("status of BindCluster %s/%s: %w", f.cluster.Namespace, f.cluster.Name, err)
		}
	}
	for _, c := range transitions(f.cluster.Status.Conditions, next.Status.Conditions) {
		kind := corev1.EventTypeWarning
		if c.Status == metav1.ConditionTrue {
			kind = corev1.EventTypeNormal
		}
		r.events.Eventf(f.cluster, nil, kind, c.Reason, c.Type, "%s", short(c.Message))
	}
	r.metrics.show(next, f.material.ends, f.answered)
	return nil
}

// transitions are the conditions whose status or reason has changed; Ready is left out, because it repeats another one. What was unknown and
// is good is no news.
func transitions(before, after []metav1.Condition) []metav1.Condition {
	var out []metav1.Condition
	for _, c := range after {
		if c.Type == v1alpha1.ConditionReady {
			continue
		}
		old := meta.FindStatusCondition(before, c.Type)
		switch {
		case old == nil:
			if c.Status == metav1.ConditionFalse {
				out = append(out, c)
			}
		case old.Status == c.Status && old.Reason == c.Reason:
		case old.Status == metav1.ConditionUnknown && c.Status == metav1.ConditionTrue && old.Reason == v1alpha1.ReasonPending:
		default:
			out = append(out, c)
		}
	}
	return out
}

// short is a message that fits into an Event's note (1 kB).
func short(s string) string {
	const longest = 1000
	return s[:min(len(s), longest)]
}

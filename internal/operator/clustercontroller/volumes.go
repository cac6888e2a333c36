package clustercontroller

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// volumes makes claims grow to what spec says. A StatefulSet's claim template can't change, so the one that there is stays until all claims
// have grown and nothing else is under way (rest); then the StatefulSet is deleted without its pods, and the next pass makes it anew, which
// adopts them: their template is the same. It returns why claims can't grow.
func (r *Reconciler) volumes(ctx context.Context, in resources.Input, objects []resources.Object, rest bool) (string, error) {
	trouble := ""
	for _, o := range objects {
		set, ok := o.(*appsv1.StatefulSet)
		if !ok {
			continue
		}
		have := &appsv1.StatefulSet{}
		err := r.live.Get(ctx, client.ObjectKeyFromObject(set), have)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
		}
		want := storageOf(set)
		if len(have.Spec.VolumeClaimTemplates) != 1 || same(storageOf(have), want) {
			continue
		}
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{keptTemplate(set.Spec.VolumeClaimTemplates[0], storageOf(have))}
		grown, why, err := r.grow(ctx, in.Cluster, set.Spec.Selector.MatchLabels, want)
		if err != nil {
			return "", err
		}
		if why != "" {
			trouble = why
			continue
		}
		if !grown || !rest || !have.DeletionTimestamp.IsZero() || !allReady(have) {
			continue
		}
		uid := have.UID
		if err := r.client.Delete(ctx, have, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil && !apierrors.IsNotFound(err) {
			return "", fmt.Errorf("StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
		}
		r.log.Info("StatefulSet is made anew for larger claims, its pods stay", "namespace", set.Namespace, "name", set.Name, "size", want.String())
		return trouble, errAgain
	}
	return trouble, nil
}

func storageOf(set *appsv1.StatefulSet) resource.Quantity {
	return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
}

// keptTemplate is a claim template with another size.
func keptTemplate(c corev1.PersistentVolumeClaim, size resource.Quantity) corev1.PersistentVolumeClaim {
	k := c.DeepCopy()
	k.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: size}
	return *k
}

// allReady: every pod runs the newest template and is ready.
func allReady(set *appsv1.StatefulSet) bool {
	n := int32(1)
	if set.Spec.Replicas != nil {
		n = *set.Spec.Replicas
	}
	return set.Status.ObservedGeneration >= set.Generation && set.Status.ReadyReplicas == n && set.Status.UpdatedReplicas == n
}

// grow asks for larger volumes. all: every claim asks for size by now.
func (r *Reconciler) grow(ctx context.Context, c *v1alpha1.BindCluster, match map[string]string, size resource.Quantity) (all bool, why string, err error) {
	claims, err := r.claims(ctx, c, match)
	if err != nil {
		return false, "", err
	}
	for _, claim := range claims {
		if q := claim.Spec.Resources.Requests[corev1.ResourceStorage]; q.Cmp(size) >= 0 {
			continue
		}
		before := claim.DeepCopy()
		claim.Spec.Resources.Requests[corev1.ResourceStorage] = size
		err := r.client.Patch(ctx, &claim, client.MergeFrom(before))
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			return false, fmt.Sprintf("claim %s does not grow to %s: %v; use a storage class with allowVolumeExpansion", claim.Name, size.String(), err), nil
		}
		if err != nil {
			return false, "", fmt.Errorf("PersistentVolumeClaim %s/%s: %w", claim.Namespace, claim.Name, err)
		}
	}
	return true, "", nil
}

func same(a, b resource.Quantity) bool { return a.Cmp(b) == 0 }

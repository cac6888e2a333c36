package clustercontroller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// remove takes away what no owner reference does, then the finalizer. Primaries are not asked. With policy Retain claims, the cluster key, the state
// of the first start and the secondaries' TSIG secrets stay, and a cluster of the same name resumes.
func (r *Reconciler) remove(ctx context.Context, c *v1alpha1.BindCluster) error {
	if !controllerutil.ContainsFinalizer(c, Finalizer) {
		return nil
	}
	in := resources.Input{Cluster: c, Settings: r.cfg.Settings}
	if err := r.clearOutside(ctx, in); err != nil {
		return err
	}
	if c.Spec.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.destroy(ctx, in); err != nil {
			return err
		}
	}
	return r.setFinalizer(ctx, c, false)
}

// clearOutside deletes everything in the fronts' namespace.
func (r *Reconciler) clearOutside(ctx context.Context, in resources.Input) error {
	if err := r.sweepOutside(ctx, in, func(objectKey) bool { return true }); err != nil {
		return err
	}
	if in.Settings.FrontNamespace == "" {
		return nil
	}
	for _, name := range in.FrontSecrets() {
		if err := r.deleteSecret(ctx, in.Settings.FrontNamespace, in.Outside(name)); err != nil {
			return err
		}
	}
	return nil
}

// destroy deletes volumes and what opens them. Kubernetes keeps claims until their pods are gone, so nothing is pulled away under a primary.
func (r *Reconciler) destroy(ctx context.Context, in resources.Input) error {
	for _, component := range []string{resources.ComponentPrimary, resources.ComponentSecondary} {
		claims, err := r.claims(ctx, in.Cluster, in.Selector(component))
		if err != nil {
			return err
		}
		for _, claim := range claims {
			if err := r.deleteClaim(ctx, claim.Namespace, claim.Name); err != nil {
				return err
			}
		}
	}
	names := []string{in.Bootstrap(), in.SecondaryKeys()}
	for _, v := range resources.Randoms(in) {
		if v.Outlives {
			names = append(names, v.Secret)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := r.deleteSecret(ctx, in.Cluster.Namespace, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) deleteSecret(ctx context.Context, namespace, name string) error {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := r.client.Delete(ctx, s, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("Secret %s/%s: %w", namespace, name, err)
	}
	return nil
}

package clustercontroller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// reapplyAfter is when an object is applied although nothing about it seems to have changed: labels and annotations have no generation.
const reapplyAfter = 10 * time.Minute

// applier applies objects, and remembers what it has applied, so that a pass that changes nothing asks for nothing.
type applier struct {
	mu   sync.Mutex
	last map[objectKey]applied
}

type objectKey struct {
	kind schema.GroupVersionKind
	name types.NamespacedName
}

type applied struct {
	digest  string // of what was sent
	version string // of what was there then
	at      time.Time
}

// forget drops what was applied in a namespace. What is there of another cluster is applied once more.
func (a *applier) forget(namespace string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.last, func(k objectKey, _ applied) bool { return k.name.Namespace == namespace })
}

// version is what changes when somebody changes the object otherwise than by its status. A Lease is others' but for its labels.
func version(o client.Object, kind schema.GroupVersionKind) string {
	if kind.Kind == "Lease" {
		return string(o.GetUID())
	}
	if g := o.GetGeneration(); g != 0 {
		return fmt.Sprintf("%s/%d", o.GetUID(), g)
	}
	return fmt.Sprintf("%s/%s", o.GetUID(), o.GetResourceVersion())
}

// apply makes one object what it is to be.
func (r *Reconciler) apply(ctx context.Context, o resources.Object) error {
	kind, err := apiutil.GVKForObject(o, r.client.Scheme())
	if err != nil {
		return fmt.Errorf("%T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
	}
	what := fmt.Sprintf("%s %s/%s", kind.Kind, o.GetNamespace(), o.GetName())
	u, err := fieldsOf(o, kind)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	sum := sha256.Sum256(text)
	next := applied{digest: hex.EncodeToString(sum[:]), at: r.now()}
	key := objectKey{kind, client.ObjectKeyFromObject(o)}

	r.applier.mu.Lock()
	last, known := r.applier.last[key]
	r.applier.mu.Unlock()
	if known && last.digest == next.digest && next.at.Sub(last.at) < reapplyAfter {
		have, err := r.read(ctx, o, key)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if have != nil && version(have, kind) == last.version {
			return nil
		}
	}
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(resources.Manager), client.ForceOwnership); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	next.version = version(u, kind) // Apply has put the answer there
	r.applier.mu.Lock()
	r.applier.last[key] = next
	r.applier.mu.Unlock()
	return nil
}

// read gives the object as the cache has it, nil when there is none.
func (r *Reconciler) read(ctx context.Context, like resources.Object, key objectKey) (client.Object, error) {
	have, ok := like.DeepCopyObject().(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", like)
	}
	err := r.client.Get(ctx, key.name, have)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return have, err
}

// fieldsOf are the fields that the operator owns: what was built, without what Go's zero values would say about status.
func fieldsOf(o resources.Object, kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(kind)
	delete(m, "status")
	prune(m)
	if claims, ok, err := unstructured.NestedSlice(m, "spec", "volumeClaimTemplates"); err == nil && ok {
		for _, c := range claims {
			if claim, ok := c.(map[string]any); ok {
				delete(claim, "status")
			}
		}
		if err := unstructured.SetNestedSlice(m, claims, "spec", "volumeClaimTemplates"); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// prune takes out nulls, which would claim fields in order to have them empty.
func prune(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
				continue
			}
			prune(e)
		}
	case []any:
		for _, e := range v {
			prune(e)
		}
	}
}

// ownedKinds are what a cluster can consist of in its own namespace, and outsideKinds in the fronts'. Secrets are not among them.
func ownedKinds() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.ServiceAccountList{}, &policyv1.PodDisruptionBudgetList{},
		&networkingv1.NetworkPolicyList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
	}
}

func outsideKinds() []client.ObjectList {
	return []client.ObjectList{&appsv1.DaemonSetList{}, &corev1.ConfigMapList{}, &corev1.ServiceAccountList{}, &coordinationv1.LeaseList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{}}
}

// Kinds that need not exist in a Kubernetes cluster.
func ciliumKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"}
}

func podMonitorKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}
}

func certificateKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}
}

// exists says whether the API server knows a kind.
func (r *Reconciler) exists(kind schema.GroupVersionKind) (bool, error) {
	_, err := r.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kind %s: %w", kind, err)
	}
	return true, nil
}

// sweep deletes what carries the cluster's labels and it no longer consists of.
func (r *Reconciler) sweep(ctx context.Context, in resources.Input, objects []resources.Object, issuing bool) error {
	wanted := map[objectKey]bool{}
	for _, o := range objects {
		kind, err := apiutil.GVKForObject(o, r.client.Scheme())
		if err != nil {
			return fmt.Errorf("%T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
		}
		wanted[objectKey{kind, client.ObjectKeyFromObject(o)}] = true
	}
	if issuing {
		for _, a := range resources.Authorities(in) {
			wanted[objectKey{certificateKind(), types.NamespacedName{Namespace: in.Cluster.Namespace, Name: in.AuthoritySecret(a)}}] = true
		}
	}
	own := client.MatchingLabels{resources.LabelManagedBy: resources.Manager, resources.LabelInstance: in.Cluster.Name}
	lists := ownedKinds()
	for _, kind := range []schema.GroupVersionKind{ciliumKind(), certificateKind(), podMonitorKind()} {
		known, err := r.exists(kind)
		if err != nil {
			return err
		}
		if known {
			l := &unstructured.UnstructuredList{}
			l.SetGroupVersionKind(kind)
			lists = append(lists, l)
		}
	}
	for _, l := range lists {
		err := r.deleteEach(ctx, l, in.Cluster.Namespace, own, func(key objectKey, o metav1.Object) bool { return !wanted[key] && metav1.IsControlledBy(o, in.Cluster) })
		if err != nil {
			return err
		}
	}
	return r.sweepOutside(ctx, in, func(key objectKey) bool { return !wanted[key] })
}

// sweepOutside deletes objects in the fronts' namespace, when there is one.
func (r *Reconciler) sweepOutside(ctx context.Context, in resources.Input, surplus func(objectKey) bool) error {
	if in.Settings.FrontNamespace == "" {
		return nil
	}
	for _, l := range outsideKinds() {
		err := r.deleteEach(ctx, l, in.Settings.FrontNamespace, outsideOf(in.Cluster), func(key objectKey, _ metav1.Object) bool { return surplus(key) })
		if err != nil {
			return err
		}
	}
	return nil
}

// outsideOf are the labels by which objects of a cluster are found in the fronts' namespace.
func outsideOf(c *v1alpha1.BindCluster) client.MatchingLabels {
	return client.MatchingLabels{resources.LabelManagedBy: resources.Manager, resources.LabelInstance: c.Name, resources.LabelClusterNamespace: c.Namespace}
}

// deleteEach deletes the objects of a list that pick picks, each one only as long as it is the one that was seen.
func (r *Reconciler) deleteEach(ctx context.Context, list client.ObjectList, namespace string, match client.MatchingLabels, pick func(objectKey, metav1.Object) bool) error {
	if err := r.client.List(ctx, list, client.InNamespace(namespace), match); err != nil {
		return fmt.Errorf("list of %T in %s: %w", list, namespace, err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("list of %T in %s: %w", list, namespace, err)
	}
	for _, item := range items {
		o, ok := item.(client.Object)
		if !ok || !o.GetDeletionTimestamp().IsZero() {
			continue
		}
		kind, err := apiutil.GVKForObject(o, r.client.Scheme())
		if err != nil {
			return fmt.Errorf("%T %s/%s: %w", o, namespace, o.GetName(), err)
		}
		key := objectKey{kind, client.ObjectKeyFromObject(o)}
		if !pick(key, o) {
			continue
		}
		uid := o.GetUID()
		err = r.client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s %s/%s: %w", kind.Kind, namespace, o.GetName(), err)
		}
		r.log.Info("object deleted: the cluster no longer consists of it", "kind", kind.Kind, "namespace", namespace, "name", o.GetName())
	}
	return nil
}

// claims are the claims with some labels, of the API server itself: on them depends whether there are zones.
func (r *Reconciler) claims(ctx context.Context, cluster *v1alpha1.BindCluster, match map[string]string) ([]corev1.PersistentVolumeClaim, error) {
	var l corev1.PersistentVolumeClaimList
	if err := r.live.List(ctx, &l, client.InNamespace(cluster.Namespace), client.MatchingLabels(match)); err != nil {
		return nil, fmt.Errorf("claims of BindCluster %s/%s: %w", cluster.Namespace, cluster.Name, err)
	}
	return l.Items, nil
}

// deleteClaim deletes the volume of a member that has left.
func (r *Reconciler) deleteClaim(ctx context.Context, namespace, name string) error {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := r.client.Delete(ctx, c); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("PersistentVolumeClaim %s/%s: %w", namespace, name, err)
	}
	return nil
}

// applyCertificate asks cert-manager for a CA. known is false when there is no cert-manager.
func (r *Reconciler) applyCertificate(ctx context.Context, in resources.Input, a resources.Authority) (known bool, err error) {
	if known, err = r.exists(certificateKind()); err != nil || !known {
		return known, err
	}
	issuer := in.Cluster.Spec.Certificates.Issuer
	kind := issuer.Kind
	if kind == "" {
		kind = "Issuer"
	}
	name := in.AuthoritySecret(a)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"isCA": true, "secretName": name, "commonName": fmt.Sprintf("%s %s/%s", a, in.Cluster.Namespace, in.Cluster.Name),
		"duration": r.cfg.Lifetimes.Authority.String(), "renewBefore": (r.cfg.Lifetimes.Authority / 3).String(),
		// The key stays, so what it has signed is trusted after a renewal too.
		"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Never"},
		"usages":     []any{"cert sign", "crl sign"},
		"issuerRef":  map[string]any{"name": issuer.Name, "kind": kind, "group": "cert-manager.io"},
	}}}
	u.SetGroupVersionKind(certificateKind())
	u.SetName(name)
	u.SetNamespace(in.Cluster.Namespace)
	u.SetLabels(in.Labels(resources.ComponentPrimary))
	u.SetOwnerReferences([]metav1.OwnerReference{in.Owner()})
	return true, r.apply(ctx, u)
}

// Package tenancy decides which objects may use a BindCluster, of two that want one name which has it, and who may take over what the primaries
// have already. It is pure.
package tenancy

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// ClusterOf is the BindCluster that an object in a namespace refers to.
func ClusterOf(namespace string, ref v1alpha1.ClusterReference) types.NamespacedName {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	return types.NamespacedName{Namespace: namespace, Name: ref.Name}
}

// Rule is the first rule of allowedNamespaces that matches a namespace, by its labels; nil when none does.
func Rule(namespace string, cluster *v1alpha1.BindCluster, namespaces map[string]map[string]string) (*v1alpha1.AllowedNamespaces, error) {
	for i := range cluster.Spec.AllowedNamespaces {
		r := &cluster.Spec.AllowedNamespaces[i]
		if r.From == "All" {
			return r, nil
		}
		s, err := metav1.LabelSelectorAsSelector(r.Selector)
		if err != nil {
			return nil, fmt.Errorf("allowedNamespaces %q of BindCluster %s/%s: %w", r.Name, cluster.Namespace, cluster.Name, err)
		}
		if s.Matches(labels.Set(namespaces[namespace])) {
			return r, nil
		}
	}
	return nil, nil //nolint:nilnil // no rule is an answer
}

// Before orders objects by age; of two of one second the smaller UID counts as older, so that everybody agrees.
func Before(a, b metav1.Object) bool {
	if a.GetUID() == b.GetUID() {
		return false
	}
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	if !x.Equal(&y) {
		return x.Before(&y)
	}
	return a.GetUID() < b.GetUID()
}

// Manager is an object's name at the primaries.
func Manager(kind string, o metav1.Object) string {
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}

// Management says how an object stands to what the primaries have under its name.
type Management int

// Kinds of Management.
const (
	// Own: it made it.
	Own Management = iota
	// Inherited: an object of its namespace made it, or it is asked to adopt it; it may take it over.
	Inherited
	// Foreign: it must leave it alone.
	Foreign
)

// Manages judges managedBy, which is the primaries' word for who manages something, for an object of a kind; why says what to do about a foreign one.
func Manages(managedBy, kind string, o metav1.Object, cluster *v1alpha1.BindCluster) (m Management, why string) {
	operators := adminapi.ManagedByOperator + " "
	switch {
	case managedBy == operators+Manager(kind, o):
		return Own, ""
	case strings.HasPrefix(managedBy, operators+kind+" "+o.GetNamespace()+"/"):
		return Inherited, ""
	case o.GetNamespace() == cluster.Namespace && o.GetAnnotations()[v1alpha1.AnnotationAdopt] == "true":
		return Inherited, ""
	}
	by := "somebody at the command line"
	if object, ok := strings.CutPrefix(managedBy, operators); ok {
		by = object
	}
	if o.GetNamespace() == cluster.Namespace {
		return Foreign, fmt.Sprintf("it exists and is managed by %s; to take it over: kubectl annotate -n %s %s %s %s=true",
			by, o.GetNamespace(), strings.ToLower(kind), o.GetName(), v1alpha1.AnnotationAdopt)
	}
	return Foreign, fmt.Sprintf("it exists and is managed by %s; ask the owner of BindCluster %s/%s, or choose another name", by, cluster.Namespace, cluster.Name)
}

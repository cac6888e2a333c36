// Package rbac says which rights the operator needs, and for what: the chart grants exactly these, and the tests of the controllers compare
// them with the requests that controllers make.
//
// Two things can't be narrower than Kubernetes allows. RBAC has no labels, so who reads one Secret by name in any namespace may read
// all of them; the operator gets them by name and never lists or watches them. And who makes a Role must have the rights that it gives.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Verbs in groups.
var (
	// apply is server-side apply (which is create as well while there is nothing), and what a cache asks for.
	apply = []string{"get", "list", "watch", "create", "patch", "delete"} //nolint:gochecknoglobals // a constant list
	// applyUncached is the same without a cache: objects of kinds that need not exist.
	applyUncached = []string{"get", "list", "create", "patch", "delete"} //nolint:gochecknoglobals // a constant list
	follow        = []string{"get", "list", "watch"}                     //nolint:gochecknoglobals // a constant list
)

// ClusterRules are for all namespaces: BindClusters may be in any.
func ClusterRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(v1alpha1.Group, []string{"bindclusters", "tsigkeys", "virtualips", "zones"}, follow...),
		rule(v1alpha1.Group, []string{"bindclusters", "tsigkeys", "virtualips", "zones"}, "patch"), // finalizers
		rule(v1alpha1.Group, []string{"bindclusters/status", "tsigkeys/status", "virtualips/status", "zones/status"}, "patch"),
		// Owner references that block the owner's deletion (OwnerReferencesPermissionEnforcement).
		rule(v1alpha1.Group, []string{"bindclusters/finalizers"}, "update"),

		rule("", []string{"configmaps"}, applyUncached...), // and zone files that Zones name
		rule("", []string{"serviceaccounts", "services"}, apply...),
		rule("apps", []string{"deployments", "statefulsets"}, apply...),
		rule("policy", []string{"poddisruptionbudgets"}, apply...),
		rule("networking.k8s.io", []string{"networkpolicies"}, apply...),
		rule("rbac.authorization.k8s.io", []string{"rolebindings", "roles"}, apply...),
		// What the fronts' Role gives.
		rule("discovery.k8s.io", []string{"endpointslices"}, "list", "watch"),
		rule("cilium.io", []string{"ciliumnetworkpolicies"}, applyUncached...),
		rule("cert-manager.io", []string{"certificates"}, applyUncached...),
		rule("monitoring.coreos.com", []string{"podmonitors"}, applyUncached...),

		// Made once, renewed when due, deleted with the cluster if its policy says so.
		rule("", []string{"secrets"}, "get", "create", "update", "delete"),
		// Of a member that has left, and of a cluster whose policy says Delete; patch lets them grow.
		rule("", []string{"persistentvolumeclaims"}, "list", "patch", "delete"),
		rule("", []string{"pods"}, "list"),
		// Their labels say which tenant they belong to.
		rule("", []string{"namespaces"}, follow...),
		// Which nodes a VirtualIP selects, and their addresses.
		rule("", []string{"nodes"}, follow...),
		rule("events.k8s.io", []string{"events"}, "create", "patch"),
	}
}

// VIPRules are for all namespaces where VIPs are allowed: the gate of a VirtualIP is a label of nodes, which are in no namespace.
func VIPRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{rule("", []string{"nodes"}, "patch")}
}

// FrontRules are for the namespace of VIPs' fronts, the only one with DaemonSets, and with Leases in which fronts tell their state.
func FrontRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("apps", []string{"daemonsets"}, apply...),
		rule("coordination.k8s.io", []string{"leases"}, apply...),
	}
}

// OwnRules are for the operator's own namespace: the lease by which one of several operators leads, and its events.
func OwnRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("coordination.k8s.io", []string{"leases"}, "get", "create", "update"),
		rule("", []string{"events"}, "create", "patch"),
	}
}

func rule(group string, resources []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}

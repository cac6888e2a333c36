package zoneobject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
)

// Verdict says whether a Zone may be in its cluster.
type Verdict struct {
	Accepted bool
	// Tenant is the rule of allowedNamespaces by which it may; "" for the cluster's own namespace.
	Tenant string
	// Reason, of the condition Accepted, and Message say why not, and what to do.
	Reason  string
	Message string
}

// Accept judges z. cluster is the one that it names, nil when there is none; zones are all that name it too, z among them or not;
// namespaces are the labels of each namespace. Of two Zones that can't both be there the older one is.
func Accept(z *v1alpha1.Zone, cluster *v1alpha1.BindCluster, zones []v1alpha1.Zone, namespaces map[string]map[string]string) Verdict {
	no := func(reason, format string, args ...any) Verdict {
		return Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	if cluster == nil {
		return no(v1alpha1.ReasonNoSuchCluster, "there is no BindCluster %s; create it, or mend clusterRef", tenancy.ClusterOf(z.Namespace, z.Spec.ClusterRef))
	}
	name := absolute(string(z.Spec.ZoneName))
	rule, refused := permitted(z, cluster, namespaces)
	if refused != nil {
		return *refused
	}
	// One look at each Zone: there are thousands, and each of them is judged like this. Who may not be there has no name and is above nobody: else a
	// stranger could keep others from theirs. That is asked last, since it costs most.
	owner := z.Namespace == cluster.Namespace
	var parent *v1alpha1.Zone
	has := 0
	for i := range zones {
		o := &zones[i]
		other := absolute(string(o.Spec.ZoneName))
		older := tenancy.Before(o, z)
		if older && other == name && mayBe(o, cluster, namespaces) {
			return no(v1alpha1.ReasonNameTaken, "zone %s belongs to Zone %s/%s, which is older; delete one of them", name, o.Namespace, o.Name)
		}
		if owner {
			continue
		}
		if other != name && below(name, other) && (parent == nil || len(other) > len(absolute(string(parent.Spec.ZoneName)))) && mayBe(o, cluster, namespaces) {
			parent = o
		}
		if older && rule.Quota != nil && rule.Quota.Zones != nil && o.Namespace != cluster.Namespace {
			if its, refused := permitted(o, cluster, namespaces); refused == nil && its.Name == rule.Name {
				has++
			}
		}
	}
	v := Verdict{Accepted: true, Reason: v1alpha1.ReasonHealthy}
	if owner {
		return v
	}
	v.Tenant = rule.Name
	if parent != nil && !consents(parent, z, rule, cluster, namespaces) {
		return no(v1alpha1.ReasonParentNotConsenting, "the zone above, %s of Zone %s/%s, is another tenant's; its owner can add %s to childZonesFrom",
			absolute(string(parent.Spec.ZoneName)), parent.Namespace, parent.Name, z.Namespace)
	}
	if rule.Quota != nil && rule.Quota.Zones != nil && has >= int(*rule.Quota.Zones) {
		return no(v1alpha1.ReasonQuotaExceeded, "tenant %s has %d zones of %d; delete one, or ask the owner of BindCluster %s/%s for more",
			rule.Name, has, *rule.Quota.Zones, cluster.Namespace, cluster.Name)
	}
	return v
}

// permitted checks what the cluster says about a Zone's namespace and name, whatever other Zones there are. The rule is nil in the cluster's own
// namespace without one.
func permitted(z *v1alpha1.Zone, cluster *v1alpha1.BindCluster, namespaces map[string]map[string]string) (*v1alpha1.AllowedNamespaces, *Verdict) {
	no := func(reason, format string, args ...any) (*v1alpha1.AllowedNamespaces, *Verdict) {
		return nil, &Verdict{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	rule, err := tenancy.Rule(z.Namespace, cluster, namespaces)
	if err != nil {
		return no(v1alpha1.ReasonInvalid, "%v", err)
	}
	if z.Namespace == cluster.Namespace {
		return rule, nil
	}
	if rule == nil {
		return no(v1alpha1.ReasonNamespaceNotAllowed, "no rule of allowedNamespaces of BindCluster %s/%s matches namespace %s; ask its owner for one",
			cluster.Namespace, cluster.Name, z.Namespace)
	}
	name := absolute(string(z.Spec.ZoneName))
	if !slices.ContainsFunc(rule.ZoneSuffixes, func(s v1alpha1.DomainName) bool { return below(name, absolute(string(s))) }) {
		return no(v1alpha1.ReasonNameNotAllowed, "%s is not at or below %s, which tenant %s may use; choose another name, or ask the owner of BindCluster %s/%s",
			name, join(rule.ZoneSuffixes), rule.Name, cluster.Namespace, cluster.Name)
	}
	return rule, nil
}

// mayBe says whether a Zone counts at all.
func mayBe(z *v1alpha1.Zone, cluster *v1alpha1.BindCluster, namespaces map[string]map[string]string) bool {
	_, refused := permitted(z, cluster, namespaces)
	return refused == nil
}

// consents: the zone above is the same tenant's, or the cluster owner's, whose rule has given the name away, or says so itself.
func consents(parent, z *v1alpha1.Zone, rule *v1alpha1.AllowedNamespaces, cluster *v1alpha1.BindCluster, namespaces map[string]map[string]string) bool {
	if parent.Namespace == z.Namespace || parent.Namespace == cluster.Namespace || slices.Contains(parent.Spec.ChildZonesFrom, z.Namespace) {
		return true
	}
	other, err := tenancy.Rule(parent.Namespace, cluster, namespaces)
	// Who matches no rule any more owns nothing here.
	return err == nil && (other == nil || other.Name == rule.Name)
}

func join(l []v1alpha1.DomainName) string {
	var out []string
	for _, n := range l {
		out = append(out, absolute(string(n)))
	}
	return strings.Join(out, ", ")
}

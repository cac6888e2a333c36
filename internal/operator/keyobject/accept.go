package keyobject

import (
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
)

// reserved is where the cluster's own keys have their names.
const reserved = "zonekeeper.invalid."

// Name is a key's name in messages, absolute: the one that spec gives, or NAME.NAMESPACE.
func Name(k *v1alpha1.TSIGKey) string {
	if n := string(k.Spec.KeyName); n != "" {
		return strings.TrimSuffix(n, ".") + "."
	}
	return k.Name + "." + k.Namespace + "."
}

// Verdict says whether a TSIGKey may be in its cluster.
type Verdict struct {
	Accepted bool
	// Reason, of the condition Accepted, and Message say why not, and what to do.
	Reason, Message string
	// Tenant is the rule of allowedNamespaces by which it is accepted, "" for the cluster's own namespace. Rate bounds the updates signed with the tenant's
	// keys; nil for no bound.
	Tenant string
	Rate   *adminapi.Rate
}

// Accept judges k. cluster is the one that it names, nil when there is none; keys are all that name it too; namespaces are the labels of each
// namespace. Of several that want one name the oldest has it.
func Accept(k *v1alpha1.TSIGKey, cluster *v1alpha1.BindCluster, keys []v1alpha1.TSIGKey, namespaces map[string]map[string]string) Verdict {
	if cluster == nil {
		return Verdict{Reason: v1alpha1.ReasonNoSuchCluster,
			Message: fmt.Sprintf("there is no BindCluster %s; create it, or mend clusterRef", tenancy.ClusterOf(k.Namespace, k.Spec.ClusterRef))}
	}
	v := permitted(k, cluster, namespaces)
	if !v.Accepted {
		return v
	}
	name := Name(k)
	for i := range keys {
		o := &keys[i]
		if Name(o) == name && tenancy.Before(o, k) && permitted(o, cluster, namespaces).Accepted {
			return Verdict{Reason: v1alpha1.ReasonNameTaken,
				Message: fmt.Sprintf("key %s belongs to TSIGKey %s/%s, which is older; choose another keyName", name, o.Namespace, o.Name)}
		}
	}
	v.Reason = v1alpha1.ReasonHealthy
	return v
}

func permitted(k *v1alpha1.TSIGKey, cluster *v1alpha1.BindCluster, namespaces map[string]map[string]string) Verdict {
	if n := Name(k); n == reserved || strings.HasSuffix(n, "."+reserved) {
		return Verdict{Reason: v1alpha1.ReasonNameNotAllowed, Message: fmt.Sprintf("key names at or below %s are the cluster's own; choose another keyName", reserved)}
	}
	if k.Namespace == cluster.Namespace {
		return Verdict{Accepted: true}
	}
	rule, err := tenancy.Rule(k.Namespace, cluster, namespaces)
	if err != nil {
		return Verdict{Reason: v1alpha1.ReasonInvalid, Message: err.Error()}
	}
	if rule == nil {
		return Verdict{Reason: v1alpha1.ReasonNamespaceNotAllowed,
			Message: fmt.Sprintf("no rule of allowedNamespaces of BindCluster %s/%s matches namespace %s; ask its owner for one", cluster.Namespace, cluster.Name, k.Namespace)}
	}
	v := Verdict{Accepted: true, Tenant: rule.Name}
	if q := rule.Quota; q != nil && q.UpdatesPerSecond != nil {
		v.Rate = &adminapi.Rate{Group: rule.Name, PerSecond: int(*q.UpdatesPerSecond)}
	}
	return v
}

package zoneobject

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// Keys are the names in messages of the TSIGKeys in the Zone's namespace that the cluster has accepted, by the names of the objects.
type Keys map[string]string

// Settings are what primaries are told about the zone. An error names every key that is missing: nothing is set then, because a policy
// without one of its rules could allow more than the whole.
func Settings(z *v1alpha1.Zone, defaults *v1alpha1.ZoneDefaults, keys Keys) (adminapi.ZoneSettings, error) {
	t := translation{keys: keys}
	s := adminapi.ZoneSettings{
		UpdatePolicy: t.policy(z.Spec.UpdatePolicy), AllowQuery: t.list("allowQuery", z.Spec.AllowQuery),
		AllowTransfer: t.list("allowTransfer", z.Spec.AllowTransfer), LocalReads: z.Spec.LocalReads,
	}
	if z.Spec.MaxTTL != nil {
		s.MaxZoneTTL = uint32(*z.Spec.MaxTTL) //nolint:gosec // the API server has refused less than 1
	}
	for i, n := range z.Spec.AlsoNotify {
		port := n.Port
		if port == 0 {
			port = 53
		}
		target := net.JoinHostPort(string(n.Address), strconv.Itoa(int(port)))
		if n.KeyRef != nil {
			target += " key " + t.key(fmt.Sprintf("alsoNotify[%d]", i), *n.KeyRef)
		}
		s.AlsoNotify = append(s.AlsoNotify, target)
	}
	p := z.Spec.Propagation
	if p == nil && defaults != nil {
		p = defaults.Propagation
	}
	if p != nil {
		s.Guarantee = &adminapi.Guarantee{Secondaries: int(p.Secondaries), LimitMS: int(p.Limit.Milliseconds())}
	}
	return s, errors.Join(t.errs...)
}

// translation gathers what can't be said.
type translation struct {
	keys Keys
	errs []error
}

// key gives a key's absolute name.
func (t *translation) key(field string, ref v1alpha1.LocalReference) string {
	name, ok := t.keys[ref.Name]
	if !ok {
		t.errs = append(t.errs, fmt.Errorf("%s names the TSIGKey %s, which does not exist or is not accepted; create it in this namespace, or see its conditions", field, ref.Name))
		return "missing."
	}
	return absolute(name)
}

// words are BIND's for how a rule matches.
func words(match string) (word string, hasName bool) {
	switch match {
	case "Name":
		return "name", true
	case "Subdomain":
		return "subdomain", true
	case "Wildcard":
		return "wildcard", true
	case "Self":
		return "self .", false
	case "SelfSubdomain":
		return "selfsub .", false
	case "SelfWildcard":
		return "selfwild .", false
	default:
		return "zonesub", false
	}
}

// policy is the inside of update-policy { … }.
func (t *translation) policy(rules []v1alpha1.UpdateRule) string {
	var lines []string
	for i, r := range rules {
		verb := "grant"
		if r.Action == "Deny" {
			verb = "deny"
		}
		word, hasName := words(r.Match)
		line := fmt.Sprintf("%s %q %s", verb, t.key(fmt.Sprintf("updatePolicy[%d]", i), r.KeyRef), word)
		if hasName {
			line += fmt.Sprintf(" %q", absolute(r.Name))
		}
		for _, typ := range r.Types {
			line += " " + string(typ)
		}
		lines = append(lines, line+";")
	}
	return strings.Join(lines, "\n")
}

// list is the inside of allow-query { … } and its like.
func (t *translation) list(field string, p *v1alpha1.Peers) string {
	if p == nil {
		return ""
	}
	var elements []string
	for i, k := range p.KeyRefs {
		elements = append(elements, fmt.Sprintf("key %q;", t.key(fmt.Sprintf("%s.keyRefs[%d]", field, i), k)))
	}
	for _, x := range p.Prefixes {
		elements = append(elements, string(x)+";")
	}
	return strings.Join(elements, " ")
}

// absolute gives the name its dot.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

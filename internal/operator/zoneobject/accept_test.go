package zoneobject

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// made is a Zone that was created at a second of the test's day.
func made(namespace, zone string, second int, uid string) v1alpha1.Zone {
	return v1alpha1.Zone{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(zone, ".", "-"), Namespace: namespace, UID: types.UID(uid),
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC))},
		Spec: v1alpha1.ZoneSpec{ZoneName: v1alpha1.DomainName(zone), ClusterRef: v1alpha1.ClusterReference{Name: "dns", Namespace: "dns"}},
	}
}

func TestAccept(t *testing.T) {
	two := int32(2)
	team := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}
	}
	cluster := &v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: "dns"}, Spec: v1alpha1.BindClusterSpec{
		AllowedNamespaces: []v1alpha1.AllowedNamespaces{
			{Name: "a", From: "Selector", Selector: team("a"), ZoneSuffixes: []v1alpha1.DomainName{"a.example.org", "shared.example.org"}, Quota: &v1alpha1.Quota{Zones: &two}},
			{Name: "b", From: "Selector", Selector: team("b"), ZoneSuffixes: []v1alpha1.DomainName{"b.example.org.", "shared.example.org"}},
		}}}
	namespaces := map[string]map[string]string{"dns": {}, "a1": {"team": "a"}, "a2": {"team": "a"}, "b1": {"team": "b"}, "c1": {"team": "c"}}
	consenting := made("a1", "shared.example.org", 1, "u1")
	consenting.Spec.ChildZonesFrom = []string{"b1"}
	for _, c := range []struct {
		name    string
		zone    v1alpha1.Zone
		others  []v1alpha1.Zone
		nobody  bool // no cluster
		tenant  string
		reason  string // "": accepted
		message string
	}{
		{name: "the owner may do anything", zone: made("dns", "example.net", 1, "u")},
		{name: "a tenant's own", zone: made("a1", "x.a.example.org", 1, "u"), tenant: "a"},
		{name: "the suffix itself", zone: made("b1", "b.example.org", 1, "u"), tenant: "b"},
		{name: "no cluster", zone: made("a1", "a.example.org", 1, "u"), nobody: true, reason: v1alpha1.ReasonNoSuchCluster, message: "there is no BindCluster dns/dns"},
		{name: "a stranger", zone: made("c1", "a.example.org", 1, "u"), reason: v1alpha1.ReasonNamespaceNotAllowed, message: "matches namespace c1"},
		{name: "another's suffix", zone: made("a1", "b.example.org", 1, "u"), reason: v1alpha1.ReasonNameNotAllowed, message: "not at or below a.example.org., shared.example.org."},
		{name: "not a suffix of labels", zone: made("a1", "xa.example.org", 1, "u"), reason: v1alpha1.ReasonNameNotAllowed},
		{name: "taken", zone: made("a2", "x.a.example.org", 2, "u"), others: []v1alpha1.Zone{made("a1", "x.a.example.org.", 1, "u1")},
			reason: v1alpha1.ReasonNameTaken, message: "belongs to Zone a1/"},
		{name: "the older one has it", zone: made("a2", "x.a.example.org", 1, "u"), others: []v1alpha1.Zone{made("a1", "x.a.example.org", 2, "u1")}, tenant: "a"},
		{name: "of one second, the smaller UID", zone: made("a2", "x.a.example.org", 1, "u2"), others: []v1alpha1.Zone{made("a1", "x.a.example.org", 1, "u1")},
			reason: v1alpha1.ReasonNameTaken},
		{name: "the owner can't take it either", zone: made("dns", "x.a.example.org", 2, "u"), others: []v1alpha1.Zone{made("a1", "x.a.example.org", 1, "u1")},
			reason: v1alpha1.ReasonNameTaken},
		{name: "a stranger's older one takes nothing", zone: made("a2", "x.a.example.org", 2, "u"),
			others: []v1alpha1.Zone{made("c1", "x.a.example.org", 1, "u1"), made("b1", "x.a.example.org", 1, "u2")}, tenant: "a"},
		{name: "nor is it above", zone: made("a2", "y.x.a.example.org", 2, "u"), others: []v1alpha1.Zone{made("b1", "x.a.example.org", 1, "u2")}, tenant: "a"},
		{name: "below another tenant's", zone: made("b1", "x.shared.example.org", 2, "u"), others: []v1alpha1.Zone{made("a1", "shared.example.org", 1, "u1")},
			reason: v1alpha1.ReasonParentNotConsenting, message: "its owner can add b1 to childZonesFrom"},
		{name: "which consents", zone: made("b1", "x.shared.example.org", 2, "u"), others: []v1alpha1.Zone{consenting}, tenant: "b"},
		{name: "below another namespace of the tenant's", zone: made("a2", "x.shared.example.org", 2, "u"), others: []v1alpha1.Zone{made("a1", "shared.example.org", 1, "u1")},
			tenant: "a"},
		{name: "below the owner's, who gave the name away", zone: made("a1", "a.example.org", 2, "u"), others: []v1alpha1.Zone{made("dns", "example.org", 1, "u1")}, tenant: "a"},
		{name: "the nearest zone above decides", zone: made("b1", "y.x.shared.example.org", 3, "u"),
			others: []v1alpha1.Zone{consenting, made("a2", "x.shared.example.org", 2, "u2")}, reason: v1alpha1.ReasonParentNotConsenting},
		{name: "quota", zone: made("a2", "z.a.example.org", 3, "u"), others: []v1alpha1.Zone{made("a1", "x.a.example.org", 1, "u1"), made("a1", "y.a.example.org", 2, "u2")},
			reason: v1alpha1.ReasonQuotaExceeded, message: "tenant a has 2 zones of 2"},
		{name: "younger ones don't count", zone: made("a2", "z.a.example.org", 2, "u"), others: []v1alpha1.Zone{made("a1", "x.a.example.org", 1, "u1"), made("a1", "y.a.example.org", 3, "u2")},
			tenant: "a"},
	} {
		in := cluster
		if c.nobody {
			in = nil
		}
		v := Accept(&c.zone, in, append(c.others, c.zone), namespaces)
		if v.Accepted != (c.reason == "") || v.Tenant != c.tenant || (c.reason != "" && v.Reason != c.reason) || !strings.Contains(v.Message, c.message) {
			t.Errorf("%s: %+v; want tenant %q, reason %q, %q", c.name, v, c.tenant, c.reason, c.message)
		}
	}
}

// BenchmarkAccept is one Zone among 10,000 of its cluster.
func BenchmarkAccept(b *testing.B) {
	zones := make([]v1alpha1.Zone, 10_000)
	for i := range zones {
		zones[i].Name, zones[i].Namespace = fmt.Sprintf("z%d", i), "dns"
		zones[i].UID, zones[i].Spec.ZoneName = types.UID(fmt.Sprint(i)), v1alpha1.DomainName(fmt.Sprintf("z%d.example.org", i))
	}
	c := &v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: "dns"}}
	for b.Loop() {
		if v := Accept(&zones[5_000], c, zones, nil); !v.Accepted {
			b.Fatal(v.Message)
		}
	}
}

package zoneobject

import (
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func ref(name string) v1alpha1.LocalReference { return v1alpha1.LocalReference{Name: name} }

func example() *v1alpha1.Zone {
	return &v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Name: "example", Namespace: "team-a"}, Spec: v1alpha1.ZoneSpec{ZoneName: "example.org"}}
}

var keys = Keys{"dhcp": "dhcp.team-a", "acme": "acme.example.org."}

// TestSettings: every way of matching becomes BIND's word, and BIND's own parser of ours takes the whole.
func TestSettings(t *testing.T) {
	z := example()
	for _, match := range []string{"Zone", "Name", "Subdomain", "Wildcard", "Self", "SelfSubdomain", "SelfWildcard"} {
		r := v1alpha1.UpdateRule{Action: "Grant", KeyRef: ref("dhcp"), Match: match}
		switch match {
		case "Name", "Subdomain":
			r.Name = "host.example.org"
		case "Wildcard":
			r.Name = "*.example.org"
		}
		z.Spec.UpdatePolicy = append(z.Spec.UpdatePolicy, r)
	}
	z.Spec.UpdatePolicy = append(z.Spec.UpdatePolicy,
		v1alpha1.UpdateRule{Action: "Deny", KeyRef: ref("acme"), Match: "Zone", Types: []v1alpha1.RecordTypeLimit{"A", "TXT(4)", "TYPE65280"}})
	z.Spec.AllowQuery = &v1alpha1.Peers{Prefixes: []v1alpha1.Prefix{"10.0.0.0/8", "2001:db8::/32"}}
	z.Spec.AllowTransfer = &v1alpha1.Peers{KeyRefs: []v1alpha1.LocalReference{ref("acme")}, Prefixes: []v1alpha1.Prefix{"192.0.2.1/32"}}
	acme := ref("acme")
	z.Spec.AlsoNotify = []v1alpha1.NotifyTarget{{Address: "2001:db8::1", KeyRef: &acme}, {Address: "192.0.2.1", Port: 5353}}
	ttl := int32(3600)
	z.Spec.MaxTTL, z.Spec.LocalReads = &ttl, true
	got, err := Settings(z, &v1alpha1.ZoneDefaults{Propagation: &v1alpha1.Propagation{Secondaries: 2, Limit: metav1.Duration{Duration: 3 * time.Second}}}, keys)
	if err != nil {
		t.Fatal(err)
	}
	want := adminapi.ZoneSettings{
		UpdatePolicy: `grant "dhcp.team-a." zonesub;
grant "dhcp.team-a." name "host.example.org.";
grant "dhcp.team-a." subdomain "host.example.org.";
grant "dhcp.team-a." wildcard "*.example.org.";
grant "dhcp.team-a." self .;
grant "dhcp.team-a." selfsub .;
grant "dhcp.team-a." selfwild .;
deny "acme.example.org." zonesub A TXT(4) TYPE65280;`,
		AllowQuery: "10.0.0.0/8; 2001:db8::/32;", AllowTransfer: `key "acme.example.org."; 192.0.2.1/32;`,
		AlsoNotify: []string{"[2001:db8::1]:53 key acme.example.org.", "192.0.2.1:5353"},
		MaxZoneTTL: 3600, LocalReads: true, Guarantee: &adminapi.Guarantee{Secondaries: 2, LimitMS: 3000},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
	if _, err := policy.ParsePolicy(got.UpdatePolicy); err != nil {
		t.Error(err)
	}
	for _, l := range []string{got.AllowQuery, got.AllowTransfer} {
		if _, err := policy.ParseACL(l); err != nil {
			t.Error(err)
		}
	}
}

// TestMissingKeys: each one is named, and there is an error, so that half a policy is never set.
func TestMissingKeys(t *testing.T) {
	z := example()
	z.Spec.UpdatePolicy = []v1alpha1.UpdateRule{{KeyRef: ref("dhcp")}, {Action: "Deny", KeyRef: ref("gone")}}
	z.Spec.AllowTransfer = &v1alpha1.Peers{KeyRefs: []v1alpha1.LocalReference{ref("away")}}
	_, err := Settings(z, nil, keys)
	for _, want := range []string{"updatePolicy[1] names the TSIGKey gone", "allowTransfer.keyRefs[0] names the TSIGKey away", "create it in this namespace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestContent(t *testing.T) {
	inside := v1alpha1.NameServer{Name: "ns1.example.org", Addresses: []v1alpha1.Address{"192.0.2.53", "2001:db8::53"}}
	outside := v1alpha1.NameServer{Name: "ns.example.net.", Addresses: []v1alpha1.Address{"198.51.100.53"}}
	for _, c := range []struct {
		name      string
		bootstrap *v1alpha1.ZoneBootstrap
		defaults  *v1alpha1.ZoneDefaults
		records   int
		want      string // in the text, or in the error
		fails     bool
	}{
		{name: "of the zone", bootstrap: &v1alpha1.ZoneBootstrap{NameServers: []v1alpha1.NameServer{inside, outside}, Mailbox: "dns.example.com"}, records: 5,
			want: "SOA ns1.example.org. dns.example.com. 1 "},
		{name: "of the cluster", defaults: &v1alpha1.ZoneDefaults{NameServers: []v1alpha1.NameServer{outside}}, records: 2,
			want: "SOA ns.example.net. hostmaster.example.org. 1 "},
		{name: "the zone's own before the cluster's", bootstrap: &v1alpha1.ZoneBootstrap{NameServers: []v1alpha1.NameServer{outside}},
			defaults: &v1alpha1.ZoneDefaults{NameServers: []v1alpha1.NameServer{inside}, Mailbox: "dns.example.com"}, records: 2, want: "dns.example.com."},
		{name: "none", fails: true, want: "zone example.org. has no name servers; list them"},
		{name: "nowhere", bootstrap: &v1alpha1.ZoneBootstrap{NameServers: []v1alpha1.NameServer{{Name: "ns.example.org"}}}, fails: true,
			want: "name server ns.example.org. lies in zone example.org. and has no addresses"},
		{name: "from a file", bootstrap: &v1alpha1.ZoneBootstrap{ZoneFile: &v1alpha1.ConfigMapKeyReference{Name: "z", Key: "z"}}},
	} {
		z := example()
		z.Spec.Bootstrap = c.bootstrap
		text, err := Content(z, c.defaults)
		if c.fails {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		if err != nil || !strings.Contains(text, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, text)
			continue
		}
		if c.records == 0 {
			if text != "" {
				t.Errorf("%s: %q", c.name, text)
			}
			continue
		}
		made, err := zone.ReadZone(strings.NewReader(text), zone.MustParseName("example.org."), zone.ReadOptions{})
		if err != nil || made.Records() != c.records {
			t.Errorf("%s: %v, want %d records\n%s", c.name, err, c.records, text)
		}
	}
}

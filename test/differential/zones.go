package differential

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ZoneSpec is a zone of a run, in named.conf's words.
type ZoneSpec struct {
	// Kind is the name of the zone that this one is like.
	Kind   string
	Origin zone.Name
	// Policy is the inside of update-policy { }, ACL that of allow-update { }; one of them is set.
	Policy, ACL string
	// MaxTTL is max-zone-ttl in seconds, 0 for none.
	MaxTTL uint32
	// Keys are the signers that some rule is about.
	Keys []string
}

// KeyMain is the key that may change nearly everything; KeyOther is known to the servers and may change little.
const (
	KeyMain  = "k."
	KeyOther = "other."
)

// Specs returns one zone of every kind, n times.
func Specs(n int) []ZoneSpec {
	var specs []ZoneSpec
	for i := range n {
		for _, s := range kinds {
			name := s.origin
			if i > 0 && !strings.HasSuffix(name, ".arpa.") {
				name = strings.Replace(name, ".", strconv.Itoa(i)+".", 1)
			} else if i > 0 {
				continue // there is one name only for these
			}
			spec := ZoneSpec{
				Kind: s.origin, Origin: zone.MustParseName(name), ACL: s.acl, MaxTTL: s.maxTTL,
				Policy: strings.ReplaceAll(s.policy, "ZONE", strings.TrimSuffix(name, ".")),
				Keys:   []string{KeyMain, KeyOther},
			}
			for _, k := range s.keys {
				spec.Keys = append(spec.Keys, k+"."+name)
			}
			specs = append(specs, spec)
		}
	}
	return specs
}

var kinds = []struct { //nolint:gochecknoglobals // a constant table
	origin, acl, policy string
	maxTTL              uint32
	keys                []string
}{
	{origin: "Allow.test.", acl: `key "k"; !127.0.0.1; any;`},
	{origin: "any.test.", policy: `grant k zonesub ANY;`},
	{origin: "plain.test.", acl: `key "k";`},
	{origin: "rules.test.", policy: `
		deny k name secret.ZONE ANY;
		deny k subdomain no.ZONE A AAAA;
		grant k name one.ZONE A TXT;
		grant k subdomain sub.ZONE ANY;
		grant k wildcard *.wild.ZONE A AAAA CNAME PTR SRV;
		grant *.hosts.ZONE self . A AAAA TXT PTR;
		grant *.hosts.ZONE selfsub . MX SRV;
		grant *.hosts.ZONE selfwild . CAA;
		grant * name open.ZONE TXT;
		grant other zonesub TXT(2) A(1);
		grant k zonesub;
	`, keys: []string{"h1.hosts", "h2.hosts"}},
	{origin: "limit.test.", policy: `grant k zonesub ANY(3) TXT(1) A; grant other zonesub ANY;`, maxTTL: 3600},
	{origin: "0.0.127.in-addr.arpa.", policy: `grant * tcp-self . PTR(1) TXT; grant k zonesub ANY;`},
	{origin: "2.0.0.2.ip6.arpa.", policy: `grant * 6to4-self . NS PTR TXT; grant k zonesub;`},
}

// Content returns a zone to begin with.
func Content(origin zone.Name, serial uint32) *zone.Zone {
	text := fmt.Sprintf(`
@ 3600 IN SOA ns1 hostmaster %d 3600 900 604800 300
@ 3600 IN NS ns1
@ 3600 IN NS Ns2
@ 3600 IN NS ns.elsewhere.example.
@ 300 IN A 192.0.2.10
@ 300 IN MX 10 mail
@ 300 IN TXT "apex"
ns1 3600 IN A 192.0.2.1
ns2 3600 IN AAAA 2001:db8::2
mail 300 IN A 192.0.2.25
mail 300 IN AAAA 2001:db8::25
www 300 IN CNAME Mail
deleg 3600 IN NS ns.deleg
deleg 3600 IN NS ns.elsewhere.example.
deleg 3600 IN DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
ns.deleg 3600 IN A 192.0.2.53
a 300 IN A 192.0.2.11
a 300 IN A 192.0.2.12
a 300 IN TXT "a"
Case 300 IN TXT "case"
secret 300 IN TXT "secret"
x.y.ent 300 IN TXT "below an empty non-terminal"
*.w 300 IN A 192.0.2.99
*.w 300 IN MX 10 mail
dn 300 IN DNAME other.example.
h1.hosts 300 IN A 192.0.2.61
_sip._tcp 300 IN SRV 0 0 5060 mail
p 300 IN PTR mail
`, serial)
	z, err := zone.ReadZone(strings.NewReader(text), origin, zone.ReadOptions{})
	if err != nil {
		panic(fmt.Sprintf("differential: built-in zone content: %v", err))
	}
	return z
}

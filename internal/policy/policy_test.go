package policy_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// policies are texts with named's verdict; accepted ones that are refused here say why.
var policies = []struct {
	text    string
	named   bool // named-checkconf accepts it
	refused bool // refused here although named accepts it
}{
	{text: ``, named: true},
	{text: `grant k name a.example.test.;`, named: true},
	{text: `grant "k" zonesub A TXT;`, named: true},
	{text: "grant k zonesub A; // why\n# and\n/* how\n */ deny k /* inside */ zonesub TXT;", named: true},
	{text: "grant k zonesub A#glued\n;", named: true},
	{text: `GRANT k ZONESUB a;`, named: true},
	{text: `grant k zonesub "A";`, named: true},
	{text: `grant k zonesub "A(1)";`, named: true},
	{text: `grant k zonesub ANY`},
	{text: `grant k self . A;`, named: true},
	{text: `grant k self k;`, named: true},
	{text: `grant k self * A;`},
	{text: `grant k self;`},
	{text: `grant *.x selfsub *.x A;`, named: true},
	{text: `grant *.x selfwild . A AAAA;`, named: true},
	{text: `grant * tcp-self . PTR(1) TXT(2);`, named: true},
	{text: `grant * 6to4-self . PTR(65535);`, named: true},
	{text: `grant * tcp-self . PTR(65536);`},
	{text: `grant k tcp-self k PTR;`},
	{text: `grant k wildcard foo A;`},
	{text: `grant k wildcard *.foo A;`, named: true},
	{text: `grant k wildcard * A;`, named: true},
	{text: `grant k zonesub A(x);`},
	{text: `grant k zonesub A( 1);`},
	{text: `grant k zonesub A(-1);`},
	{text: `grant k zonesub A(+2);`, named: true},
	{text: `grant k zonesub A();`, named: true},
	{text: `grant k zonesub A(;`},
	{text: `grant k zonesub A(1)(2);`},
	{text: `grant k zonesub A(0x10);`},
	{text: `grant k "zonesub" A;`},
	{text: `grant k subdomain A;`},
	{text: `grant k subdomain TYPE1 A;`},
	{text: `grant k subdomain;`},
	{text: `grant k subdomain example.test A, TXT;`},
	{text: `grant k subdomain example.test ANY;`, named: true},
	{text: `grant k zonesub TYPE65280(3);`, named: true},
	{text: `grant k zonesub FOO;`},
	{text: `grant k zonesub IXFR;`, named: true},
	{text: `grant k zonesub TYPE0;`, named: true},
	{text: `grant k zonesub -;`},
	{text: `grant k name a..b;`},
	{text: `grant k name "";`},
	{text: `grant "" name a;`},
	{text: `grant k name a;;`},
	{text: `grant "k" name "a b" A;`, named: true},
	{text: `grant "k\"q" name "a\\b" A;`, named: true},
	{text: `grant k name a\.b;`, named: true},
	{text: `grant k name a/b A;`},
	{text: `grant k name a!b A;`},
	{text: `grant a b c d;`},
	{text: `allow k name a;`},
	{text: `grant k zonesub A; }`},
	{text: `{ grant k zonesub A; };`},
	{text: `grant "k zonesub A;`},
	{text: `grant k zonesub A; /* `},
	{text: `local;`},
	{text: `grant k krb5-self . A;`, named: true, refused: true},
	{text: `grant k ms-subdomain-self-rhs example.test PTR;`, named: true, refused: true},
	{text: `grant "local:/run/s" external * A;`, named: true, refused: true},
}

func TestParsePolicy(t *testing.T) {
	for _, c := range policies {
		p, err := policy.ParsePolicy(c.text)
		if want := c.named && !c.refused; (err == nil) != want {
			t.Errorf("%s: error %v; accepted = %t wanted", c.text, err, want)
			continue
		}
		var syntax *policy.SyntaxError
		if err != nil {
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Remedy == "" {
				t.Errorf("%s: %v names no place or no remedy", c.text, err)
			}
			continue
		}
		again, err := policy.ParsePolicy(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%s: printed as\n%s which reads as\n%v, error %v", c.text, p, again, err)
		}
	}
}

func TestWholeStatement(t *testing.T) {
	p, err := policy.ParsePolicy("update-policy {\n grant k zonesub ANY;\n};\n")
	if err != nil || p.String() != "grant \"k.\" zonesub ANY;\n" {
		t.Errorf("got %q, error %v", p, err)
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"grant k zonesub A;\n  grant k nmae x A;": `line 2, column 11: unknown match type at "nmae"; use one of name, subdomain, zonesub, wildcard, self, selfsub, selfwild, tcp-self, 6to4-self`,
		"grant k zonesub A;\ngrant k zonesub TXT": `line 2, column 20: missing ; at end of text; end the rule with a semicolon`,
		"grant k krb5-self . A;":                  `line 1, column 9: match type is not supported at "krb5-self"; it compares Kerberos principals, which need GSS-TSIG; give the client a TSIG key and use self or name`,
	} {
		if _, err := policy.ParsePolicy(text); err == nil || err.Error() != want {
			t.Errorf("%q: got\n%v\nwant\n%s", text, err, want)
		}
	}
}

// TestNamedAgrees asks named-checkconf about every text of the tables.
func TestNamedAgrees(t *testing.T) {
	checkconf, err := exec.LookPath("named-checkconf")
	if err != nil {
		t.Fatalf("named-checkconf is needed (Debian package bind9-utils): %v", err)
	}
	accepts := func(statement, text string) bool {
		conf := filepath.Join(t.TempDir(), "named.conf")
		body := fmt.Sprintf("key k { algorithm hmac-sha256; secret \"aGVsbG8=\"; };\nzone \"example.test\" { type primary; file \"x\"; %s {\n%s\n}; };\n", statement, text)
		if err := os.WriteFile(conf, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(checkconf, conf).Run() == nil
	}
	for _, c := range policies {
		if got := accepts("update-policy", c.text); got != c.named {
			t.Errorf("named-checkconf accepts update-policy { %s }: %t; the table says %t", c.text, got, c.named)
		}
		if p, err := policy.ParsePolicy(c.text); err == nil && !accepts("update-policy", p.String()) {
			t.Errorf("named-checkconf rejects what was printed for %s:\n%s", c.text, p)
		}
	}
	for _, c := range lists {
		if got := accepts("allow-query", c.text); got != c.named {
			t.Errorf("named-checkconf accepts allow-query { %s }: %t; the table says %t", c.text, got, c.named)
		}
		if a, err := policy.ParseACL(c.text); err == nil && !accepts("allow-query", a.String()) {
			t.Errorf("named-checkconf rejects what was printed for %s:\n%s", c.text, a)
		}
	}
}

func name(s string) zone.Name { return zone.MustParseName(s) }

func TestAllow(t *testing.T) {
	type ask struct {
		signer, addr string
		tcp          bool
		owner        string
		t            zone.Type
		max          int
		ok           bool
	}
	for _, c := range []struct {
		policy string
		asks   []ask
	}{
		{"grant k name a.z; grant k subdomain s.z TXT;", []ask{
			{signer: "k", owner: "A.z", t: zone.TypeA, ok: true},
			{signer: "K", owner: "a.z", t: zone.TypeA, ok: true},
			{signer: "l", owner: "a.z", t: zone.TypeA},
			{owner: "a.z", t: zone.TypeA},
			{signer: "k", owner: "b.a.z", t: zone.TypeA},
			{signer: "k", owner: "s.z", t: zone.TypeTXT, ok: true},
			{signer: "k", owner: "x.y.s.z", t: zone.TypeTXT, ok: true},
			{signer: "k", owner: "xs.z", t: zone.TypeTXT},
			{signer: "k", owner: "s.z", t: zone.TypeA},
		}},
		{"grant k zonesub;", []ask{ // the default types
			{signer: "k", owner: "z", t: zone.TypeA, ok: true},
			{signer: "k", owner: "z", t: zone.TypeDS, ok: true},
			{signer: "k", owner: "z", t: zone.TypeNS},
			{signer: "k", owner: "z", t: zone.TypeSOA},
			{signer: "k", owner: "z", t: zone.TypeRRSIG},
		}},
		{"deny k zonesub TXT; grant k zonesub ANY(9) A(2) MX;", []ask{ // the first match wins
			{signer: "k", owner: "z", t: zone.TypeTXT},
			{signer: "k", owner: "z", t: zone.TypeNS, ok: true, max: 9},
			{signer: "k", owner: "z", t: zone.TypeA, ok: true, max: 2},
			{signer: "k", owner: "z", t: zone.TypeMX, ok: true},
		}},
		{"grant *.hosts.z self . A; grant *.up.z selfsub . A; grant *.wild.z selfwild . A;", []ask{
			{signer: "h.hosts.z", owner: "h.hosts.z", t: zone.TypeA, ok: true},
			{signer: "x.h.hosts.z", owner: "x.h.hosts.z", t: zone.TypeA, ok: true}, // any depth
			{signer: "hosts.z", owner: "hosts.z", t: zone.TypeA},
			{signer: "h.hosts.z", owner: "i.hosts.z", t: zone.TypeA},
			{signer: "h.hosts.z", owner: "x.h.hosts.z", t: zone.TypeA},
			{signer: "h.up.z", owner: "h.up.z", t: zone.TypeA, ok: true},
			{signer: "h.up.z", owner: "x.y.h.up.z", t: zone.TypeA, ok: true},
			{signer: "h.wild.z", owner: "h.wild.z", t: zone.TypeA},
			{signer: "h.wild.z", owner: "x.y.h.wild.z", t: zone.TypeA, ok: true},
		}},
		{"grant k wildcard *.w.z A; grant * name any.z A;", []ask{
			{signer: "k", owner: "a.b.w.z", t: zone.TypeA, ok: true},
			{signer: "k", owner: "*.w.z", t: zone.TypeA, ok: true},
			{signer: "k", owner: "w.z", t: zone.TypeA},
			{signer: "whoever", owner: "any.z", t: zone.TypeA, ok: true},
			{owner: "any.z", t: zone.TypeA},
		}},
		{"grant * tcp-self . PTR(1); grant *.2.0.0.2.ip6.arpa 6to4-self . NS;", []ask{
			{addr: "192.0.2.1", tcp: true, owner: "1.2.0.192.in-addr.arpa", t: zone.TypePTR, ok: true, max: 1},
			{addr: "::ffff:192.0.2.1", tcp: true, owner: "1.2.0.192.in-addr.arpa", t: zone.TypePTR, ok: true, max: 1},
			{addr: "192.0.2.1", owner: "1.2.0.192.in-addr.arpa", t: zone.TypePTR},
			{addr: "192.0.2.1", tcp: true, owner: "2.2.0.192.in-addr.arpa", t: zone.TypePTR},
			{tcp: true, owner: "1.2.0.192.in-addr.arpa", t: zone.TypePTR},
			{signer: "k", addr: "192.0.2.1", tcp: true, owner: "1.2.0.192.in-addr.arpa", t: zone.TypePTR, ok: true, max: 1},
			{addr: "2001:db8::1", tcp: true, owner: "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", t: zone.TypePTR, ok: true, max: 1},
			{addr: "192.0.2.1", tcp: true, owner: "1.0.2.0.0.0.0.c.2.0.0.2.ip6.arpa", t: zone.TypeNS, ok: true},
			{addr: "2002:c000:201::5", tcp: true, owner: "1.0.2.0.0.0.0.c.2.0.0.2.ip6.arpa", t: zone.TypeNS, ok: true},
			{addr: "2001:db8::1", tcp: true, owner: "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", t: zone.TypeNS},
		}},
	} {
		p, err := policy.ParsePolicy(c.policy)
		if err != nil {
			t.Fatalf("%s: %v", c.policy, err)
		}
		for _, a := range c.asks {
			s := policy.Subject{TCP: a.tcp}
			if a.signer != "" {
				s.Signer = name(a.signer)
			}
			if a.addr != "" {
				s.Addr = netip.MustParseAddr(a.addr)
			}
			max, ok := p.Allow(s, name("z"), name(a.owner), a.t, "")
			if max != a.max || ok != a.ok {
				t.Errorf("%s: %+v: got %d, %t", c.policy, a, max, ok)
			}
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, c := range policies {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := policy.ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := policy.ParsePolicy(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q: printed as %q, which reads as %q, error %v", text, p, again, err)
		}
	})
}

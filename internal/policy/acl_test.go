package policy_test

import (
	"net/netip"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/policy"
)

var lists = []struct {
	text           string
	named, refused bool
}{
	{text: ``, named: true},
	{text: `any;`, named: true},
	{text: `ANY; none;`, named: true},
	{text: `"any";`, named: true},
	{text: `! none;`, named: true},
	{text: `key k;`, named: true},
	{text: `key "k";`, named: true},
	{text: `!key "k"; any;`, named: true},
	{text: `key;`},
	{text: `192.0.2.1; 192.0.2/24; 10/8; 2001:db8::/32; ::1; 0/0; ::/0;`, named: true},
	{text: `192.0.2.1/24;`},
	{text: `10;`},
	{text: `10.1;`},
	{text: `10/33;`},
	{text: `10/x;`},
	{text: `256.0.0.1;`, named: true, refused: true},
	{text: `::1.2;`, named: true, refused: true},
	{text: `any`},
	{text: `any;;`},
	{text: `{ 10/8; { key k; }; !::1; }; none;`, named: true},
	{text: `{ };`, named: true},
	{text: `!{ 10/8; };`, named: true},
	{text: `{ any; `},
	{text: `any; }`},
	{text: `! ! 10/8;`, named: true, refused: true},
	{text: `unknown;`, named: true, refused: true},
	{text: `localhost; localnets;`, named: true, refused: true},
}

func TestParseACL(t *testing.T) {
	for _, c := range lists {
		a, err := policy.ParseACL(c.text)
		if want := c.named && !c.refused; (err == nil) != want {
			t.Errorf("%s: error %v; accepted = %t wanted", c.text, err, want)
			continue
		}
		if err != nil {
			continue
		}
		again, err := policy.ParseACL(a.String())
		if err != nil || again.String() != a.String() {
			t.Errorf("%s: printed as %q, which reads as %q, error %v", c.text, a, again, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		list, signer, addr string
		want               bool
	}{
		{``, "k", "192.0.2.1", false},
		{`any;`, "", "192.0.2.1", true},
		{`any;`, "", "", true},
		{`none;`, "k", "192.0.2.1", false},
		{`none; any;`, "k", "192.0.2.1", false},
		{`!none;`, "", "192.0.2.1", true},
		{`key k;`, "K", "192.0.2.1", true},
		{`key k;`, "l", "192.0.2.1", false},
		{`key k;`, "", "192.0.2.1", false},
		{`192.0.2/24;`, "", "192.0.2.9", true},
		{`192.0.2/24;`, "", "::ffff:192.0.2.9", true},
		{`192.0.2/24;`, "", "192.0.3.9", false},
		{`192.0.2/24;`, "", "", false},
		{`::/0;`, "", "192.0.2.9", false},
		{`fe80::/10;`, "", "fe80::1%eth0", true},
		{`!192.0.2.1; 192.0.2/24;`, "", "192.0.2.1", false},
		{`!192.0.2.1; 192.0.2/24;`, "", "192.0.2.2", true},
		{`192.0.2/24; !192.0.2.1;`, "", "192.0.2.1", true},
		{`!key k; any;`, "k", "192.0.2.1", false},
		{`!key k; any;`, "l", "192.0.2.1", true},
		// A refusal inside a nested list is no match outside.
		{`{ !192.0.2.1; any; }; key k;`, "k", "192.0.2.1", true},
		{`{ !192.0.2.1; any; }; key k;`, "", "192.0.2.1", false},
		{`!{ !192.0.2.1; any; }; any;`, "", "192.0.2.1", true},
		{`!{ !192.0.2.1; any; }; any;`, "", "192.0.2.2", false},
		{`!{ 192.0.2/24; key l; }; any;`, "", "192.0.2.1", false},
		{`!{ 192.0.2/24; key l; }; any;`, "l", "192.0.3.1", false},
		{`!{ 192.0.2/24; key l; }; any;`, "k", "192.0.3.1", true},
		// An unproven address never helps.
		{`!192.0.2.1; any;`, "", "", false},
		{`!{ 192.0.2.1; }; any;`, "", "", false},
		{`!{ !192.0.2.1; any; }; any;`, "", "", false},
		{`{ !192.0.2.1; any; };`, "", "", false},
		{`key k; !192.0.2.1; any;`, "k", "", true},
	} {
		a, err := policy.ParseACL(c.list)
		if err != nil {
			t.Fatalf("%s: %v", c.list, err)
		}
		var s policy.Subject
		if c.signer != "" {
			s.Signer = name(c.signer)
		}
		if c.addr != "" {
			s.Addr = netip.MustParseAddr(c.addr)
		}
		if got := a.Match(s); got != c.want {
			t.Errorf("{ %s } matches signer %q, address %q: %t", c.list, c.signer, c.addr, got)
		}
	}
}

func FuzzParseACL(f *testing.F) {
	for _, c := range lists {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := policy.ParseACL(text)
		if err != nil {
			return
		}
		again, err := policy.ParseACL(a.String())
		if err != nil || again.String() != a.String() {
			t.Fatalf("%q: printed as %q, which reads as %q, error %v", text, a, again, err)
		}
	})
}

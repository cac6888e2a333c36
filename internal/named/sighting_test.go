package named

import (
	"net/netip"
	"testing"
)

// The lines are those of BIND 9.18 and 9.20.
func TestSighted(t *testing.T) {
	proxy := netip.MustParseAddr("127.0.0.54")
	for _, tc := range []struct {
		category, msg string
		want          Sighting
		seen          bool
	}{
		{"notify", "client @0x7f02d8002a68 127.0.0.54#44053: received notify for zone 'a.test'", Sighting{}, false},
		{"notify", "client @0x7f02d8002a68 192.0.2.1#44053: received notify for zone 'a.test'",
			Sighting{Kind: ForeignNotify, Zone: "a.test", Text: "from 192.0.2.1#44053 for zone a.test"}, true},
		{"notify", "client @0x7f02d8002a68 2001:db8::1#53/key secondary-0: received notify for zone 'a.test': TSIG 'secondary-0'",
			Sighting{Kind: ForeignNotify, Zone: "a.test", Text: "from 2001:db8::1#53 for zone a.test: TSIG 'secondary-0'"}, true},
		{"notify", "client @0x7f02d8002a68 192.0.2.1#44053: received notify for zone 'b.test': not authoritative",
			Sighting{Kind: ForeignNotify, Zone: "b.test", Text: "from 192.0.2.1#44053 for zone b.test: not authoritative"}, true},
		{"notify", "client @0x7f02d8002a68 192.0.2.1#44053: notify question section contains no SOA", Sighting{}, false},
		{"security", "client @0x7f02d8002a68 192.0.2.1#53: request has invalid signature: TSIG k: tsig verify failure (BADSIG)",
			Sighting{Kind: BadSignature, Text: "from 192.0.2.1#53: TSIG k: tsig verify failure (BADSIG)"}, true},
		{"security", "client @0x7f02d8002a68 127.0.0.1#53: request has invalid signature: TSIG publish.zonekeeper.invalid: tsig verify failure (BADTIME)",
			Sighting{}, false},
		{"security", "client @0x7f02d8002a68 192.0.2.1#53 (a.test): zone transfer 'a.test/AXFR/IN' denied", Sighting{}, false},
		{"general", "zone a.test/IN: unable to load from 'members/a.test.db.jnl'; renaming file to 'members/jn-x' for failure analysis and retransferring.", Sighting{}, false},
		{"general", "zone a.test/IN: unable to load from 'members/a.test.db'; renaming file to 'members/db-x' for failure analysis and retransferring.",
			Sighting{Kind: UnreadableFile, Zone: "a.test", Text: "members/a.test.db, kept as members/db-x"}, true},
		{"general", "zone a.test/IN: loaded serial 1", Sighting{}, false},
		{"notify", "", Sighting{}, false},
		{"notify", ": received notify for zone '", Sighting{Kind: ForeignNotify, Text: "from  for zone "}, true},
	} {
		if got, seen := sighted(tc.category, tc.msg, proxy); got != tc.want || seen != tc.seen {
			t.Errorf("%s: %q:\n%+v, %v; want\n%+v, %v", tc.category, tc.msg, got, seen, tc.want, tc.seen)
		}
	}
}

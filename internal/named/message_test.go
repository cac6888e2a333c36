package named

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func TestAppendUpdate(t *testing.T) {
	name := zone.MustParseName
	rr := func(owner string, class zone.Class, ttl uint32) zone.RR {
		return zone.RR{Name: name(owner), Type: zone.TypeA, Class: class, TTL: ttl, Data: "\x01\x02\x03\x04"}
	}
	for _, tc := range []struct {
		origin  string
		updates []zone.RR
		want    []string
	}{
		{"example.test", []zone.RR{rr("a.example.test", zone.ClassIN, 60), rr("example.test", zone.ClassNONE, 60), rr("b.EXAMPLE.test", zone.ClassIN, 0)},
			[]string{"a.example.test.\t60\tIN\tA\t1.2.3.4", "example.test.\t0\tNONE\tA\t1.2.3.4", "b.EXAMPLE.test.\t0\tIN\tA\t1.2.3.4"}},
		{".", []zone.RR{rr("a.test", zone.ClassIN, 60), rr(".", zone.ClassIN, 60)}, []string{"a.test.\t60\tIN\tA\t1.2.3.4", ".\t60\tIN\tA\t1.2.3.4"}},
	} {
		origin := name(tc.origin)
		wire := AppendUpdate(nil, 7, origin, []zone.RR{rr(tc.origin, zone.ClassIN, 99)}, tc.updates)
		size := headerSize + len(origin) + 4 + UpdateSize(origin, rr(tc.origin, zone.ClassIN, 99))
		for _, u := range tc.updates {
			size += UpdateSize(origin, u)
		}
		if len(wire) != size {
			t.Errorf("%s: %d octets, UpdateSize says %d", tc.origin, len(wire), size)
		}
		var m dns.Msg
		if err := m.Unpack(wire); err != nil {
			t.Fatal(err)
		}
		if m.Id != 7 || m.Opcode != dns.OpcodeUpdate || len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 0 || m.Question[0].Name != origin.String() {
			t.Errorf("%s: %v", tc.origin, &m)
		}
		for i, want := range tc.want {
			if got := m.Ns[i].String(); got != want {
				t.Errorf("%s: update %d is %q, want %q", tc.origin, i, got, want)
			}
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	o := zone.MustParseName("example.test")
	f.Add(AppendUpdate(nil, 1, o, nil, []zone.RR{{Name: o, Type: zone.TypeA, Class: zone.ClassIN, Data: "\x01\x02\x03\x04"}}))
	f.Add([]byte("\x00\x01\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00\x01x\x00\x00\x06\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if a, err := parseAnswer(b, 1); err == nil {
			_ = a.rrs(b, func(zone.RR) error { return nil }) // must not panic
		}
	})
}

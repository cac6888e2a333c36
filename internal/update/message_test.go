package update_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// The parts of messages below: header fields without the counts, and RRs for the zone z.
const (
	head    = "1234 2800 "
	soa     = "017a00 0006 0001 "
	addA    = "0161c00c 0001 0001 0000003c 0004 c0000201 "
	tsig    = "016b00 00fa 00ff 00000000 0011 00 000000000001 012c 0000 1234 0000 0000 "
	opt     = "00 0029 04d0 00000000 0000 "
	sigZero = "00 0018 00ff 00000000 0014 0000 08 00 00000000 00000000 00000000 1234 00 aa "
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		what, msg string
		rcode     uint16
		late      bool // after TSIG
		prereqs   int
		updates   int
	}{
		{what: "one addition", msg: head + "0001 0000 0001 0000" + soa + addA, updates: 1},
		{what: "nothing", msg: head + "0001 0000 0000 0000" + soa},
		{what: "additional RRs are dropped", msg: head + "0001 0000 0001 0003" + soa + addA + opt + addA + tsig, updates: 1},
		{what: "octets after the last RR", msg: head + "0001 0000 0001 0000" + soa + addA + "ffffff", updates: 1},
		{what: "type 0 without RDATA", msg: head + "0001 0001 0001 0000" + soa + "0161c00c 0000 00fe 00000000 0000" + "0161c00c 0000 00ff 00000000 0000", prereqs: 1, updates: 1},
		{what: "a TTL is not checked here", msg: head + "0001 0001 0000 0000" + soa + "0161c00c 0001 00ff 00000001 0000", prereqs: 1},
		{what: "a bad class is not checked here", msg: head + "0001 0001 0001 0000" + soa + "0161c00c 0010 0003 00000000 0002 0161" + "0161c00c 0010 0009 00000000 0002 0161", prereqs: 1, updates: 1},
		{what: "class NONE has the layout of class IN", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0001 00fe 00000000 0004 c0000201", updates: 1},
		{what: "NULL needs no RDATA", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 000a 00fe 00000000 0000", updates: 1},

		{what: "no header", msg: "1234 2800 0001", rcode: update.FormErr},
		{what: "a query", msg: "1234 0000 0001 0000 0000 0000" + soa, rcode: update.FormErr},
		{what: "a response", msg: "1234 a800 0001 0000 0000 0000" + soa, rcode: update.FormErr},
		{what: "an RR is missing", msg: head + "0001 0000 0002 0000" + soa + addA, rcode: update.FormErr},
		{what: "an additional RR is missing", msg: head + "0001 0000 0001 0001" + soa + addA, rcode: update.FormErr},
		{what: "zone section cut off", msg: head + "0001 0000 0000 0000" + "017a00 0006", rcode: update.FormErr},
		{what: "a pointer forwards", msg: head + "0001 0000 0000 0000" + "c00e 0006 0001", rcode: update.FormErr},
		{what: "no RDATA in class IN", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0001 0001 00000000 0000", rcode: update.FormErr},
		{what: "no RDATA in class NONE", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0001 00fe 00000000 0000", rcode: update.FormErr},
		{what: "RDATA in class ANY", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0001 00ff 00000000 0004 c0000201", rcode: update.FormErr},
		{what: "RDATA in a prerequisite of class NONE", msg: head + "0001 0001 0000 0000" + soa + "0161c00c 0001 00fe 00000000 0004 c0000201", rcode: update.FormErr},
		{what: "RDATA in class ANY that would be another error", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 002d 00ff 00000000 0004 0a040200", rcode: update.FormErr},
		{what: "A with five octets", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0001 0001 00000000 0005 c000020100", rcode: update.FormErr},
		{what: "IPSECKEY with an unknown gateway", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 002d 0001 00000000 0004 0a040200", rcode: update.ServFail},
		{what: "NSEC3 whose owner is no hash", msg: head + "0001 0000 0001 0000" + soa + "0177c00c 0032 00ff 00000000 0000", rcode: update.ServFail},
		{what: "the same without the RDATA it needs", msg: head + "0001 0000 0001 0000" + soa + "0177c00c 0032 00fe 00000000 0000", rcode: update.FormErr},
		{what: "DNSKEY with a pointer in a private name", msg: head + "0001 0000 0001 0000" + soa + "0161c00c 0030 0001 00000000 0006 0100 03 fd c00c", rcode: update.Refused},
		{what: "TSIG in the update section", msg: head + "0001 0000 0001 0000" + soa + tsig, rcode: update.FormErr},
		{what: "TSIG before another RR", msg: head + "0001 0000 0000 0002" + soa + tsig + opt, rcode: update.FormErr},
		{what: "OPT in the update section", msg: head + "0001 0000 0001 0000" + soa + opt, rcode: update.FormErr},
		{what: "OPT twice", msg: head + "0001 0000 0000 0002" + soa + opt + opt, rcode: update.FormErr},
		{what: "OPT below the root", msg: head + "0001 0000 0000 0001" + soa + "0161" + opt, rcode: update.FormErr},
		{what: "TKEY in the update section", msg: head + "0001 0000 0001 0000" + soa + "016b00 00f9 00ff 00000000 0000", rcode: update.FormErr},
		{what: "SIG(0) before another RR", msg: head + "0001 0000 0000 0002" + soa + sigZero + opt, rcode: update.ServFail},
		{what: "SIG(0) at the end", msg: head + "0001 0000 0000 0001" + soa + sigZero},

		{what: "zone section empty", msg: head + "0000 0000 0001 0000" + "0161 00 0001 0001 0000003c 0004 c0000201", rcode: update.FormErr, late: true},
		{what: "zone section empty, first RR of class NONE", msg: head + "0000 0000 0001 0000" + "0161 00 0001 00fe 00000000 0004 c0000201", rcode: update.Refused},
		{what: "nothing at all", msg: head + "0000 0000 0000 0000", rcode: update.FormErr},
		{what: "zone section of type A", msg: head + "0001 0000 0000 0000" + "017a00 0001 0001", rcode: update.FormErr, late: true},
		{what: "zone section of two types", msg: head + "0002 0000 0000 0000" + soa + "c00c 0001 0001", rcode: update.FormErr, late: true},
		{what: "zone section twice", msg: head + "0002 0000 0000 0000" + soa + soa, rcode: update.FormErr},
		{what: "zone section of two names", msg: head + "0002 0000 0000 0000" + soa + "017900 0006 0001", rcode: update.FormErr},
		{what: "zone section of two classes", msg: head + "0002 0000 0000 0000" + soa + "017a00 0001 0003", rcode: update.FormErr},
		{what: "zone of class ANY", msg: head + "0001 0000 0000 0000" + "017a00 0006 00ff", rcode: update.FormErr},
		{what: "zone of class NONE", msg: head + "0001 0000 0000 0000" + "017a00 0006 00fe", rcode: update.FormErr},
		{what: "zone of class 0", msg: head + "0001 0000 0000 0000" + "017a00 0006 0000", rcode: update.FormErr},
		{what: "zone of class CH", msg: head + "0001 0000 0000 0000" + "017a00 0006 0003", rcode: update.NotImp, late: true},
		{what: "zone of class HS", msg: head + "0001 0000 0000 0000" + "017a00 0006 0004", rcode: update.Refused},
		{what: "zone of class 7", msg: head + "0001 0000 0000 0000" + "017a00 0006 0007", rcode: update.NotImp},
	} {
		m, err := update.Parse(unhex(t, c.msg))
		if c.rcode == 0 {
			if err != nil || m.ID != 0x1234 || m.Zone != "\x01z\x00" || m.Class != zone.ClassIN || len(m.Prereqs) != c.prereqs || len(m.Updates) != c.updates {
				t.Errorf("%s: %+v, %v", c.what, m, err)
			}
			continue
		}
		var bad *update.Error
		if !errors.As(err, &bad) || bad.RCode != c.rcode || bad.AfterTSIG != c.late {
			t.Errorf("%s: %v, want response code %d, after TSIG %t", c.what, err, c.rcode, c.late)
		}
	}
}

// TestHugeTTL is a test of its own because zone-file text can't say it.
func TestHugeTTL(t *testing.T) {
	for _, c := range []struct {
		ttl, max uint32
		rcode    uint16
	}{
		{1<<31 - 1, 0, update.NoError},
		{1 << 31, 0, update.Refused},
		{1<<32 - 1, 600, update.NoError}, // max-zone-ttl cuts it
	} {
		z := small(t, zone.MustParseName("z."))
		m := &update.Message{Zone: z.Origin(), Class: zone.ClassIN, Updates: []zone.RR{
			{Name: zone.MustParseName("b.z."), Type: zone.TypeA, Class: zone.ClassIN, TTL: c.ttl, Data: "\xc0\x00\x02\x01"},
		}}
		if out := update.Apply(z, m, everything{}, update.Options{MaxTTL: c.max}); out.RCode != c.rcode {
			t.Errorf("TTL %d, max-zone-ttl %d: %+v", c.ttl, c.max, out)
		}
	}
}

// FuzzUpdate parses and applies anything: nothing may panic, a refusal leaves the zone alone, and the zone stays one that
// can be loaded.
func FuzzUpdate(f *testing.F) {
	for _, msg := range []string{
		head + "0001 0001 0002 0001" + soa + "0161c00c 0001 00ff 00000000 0000" + addA + "c00c 00ff 00ff 00000000 0000" + tsig,
		head + "0001 0000 0002 0000" + soa + "0161c00c 0001 00fe 00000000 0004 c000020b" + "c00c 0002 0001 0000003c 0005 026e73c00c",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(msg, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, err := update.Parse(msg)
		if err != nil {
			var bad *update.Error
			if !errors.As(err, &bad) || bad.RCode == 0 {
				t.Fatalf("%v is not an *update.Error with a response code", err)
			}
			return
		}
		z := small(t, m.Zone)
		if z == nil {
			return
		}
		before := z.Snapshot()
		out := update.Apply(z, m, everything{}, update.DefaultOptions())
		changed := before.Digest() != z.Digest()
		if changed && (out.RCode != update.NoError || out.Diff.Empty() || before.Serial() == z.Serial()) {
			t.Fatalf("%+v: the zone changed from serial %d to %d", out, before.Serial(), z.Serial())
		}
		again := before.Snapshot()
		again.Apply(out.Diff)
		if again.Digest() != z.Digest() {
			t.Fatalf("the diff leads elsewhere: %+v", out.Diff)
		}
		if _, err := zone.FromRRs(z.Origin(), z.RRs()); err != nil {
			t.Fatalf("the zone could not be loaded: %v", err)
		}
	})
}

// small returns a zone named origin, nil when there can't be one.
func small(t *testing.T, origin zone.Name) *zone.Zone {
	t.Helper()
	if len(origin) > 200 {
		return nil
	}
	z, err := zone.ReadZone(strings.NewReader(`
@ 300 SOA ns.example. h.example. 1 2 3 4 5
@ 300 NS ns.example.
@ 300 NS ns
ns 300 A 192.0.2.1
a 300 A 192.0.2.10
a 300 A 192.0.2.11
c 300 CNAME a
d 300 NS ns.d
d 300 DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
`), origin, zone.ReadOptions{})
	if err != nil {
		return nil // ns.example. is in the zone, and has no address
	}
	return z
}

// BenchmarkApply is what one update of one RR costs a replica, parsing included.
func BenchmarkApply(b *testing.B) {
	origin := zone.MustParseName("z.")
	z, err := zone.ReadZone(strings.NewReader("@ 300 SOA ns.example. h.example. 1 2 3 4 5\n@ 300 NS ns.example.\n"), origin, zone.ReadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	msgs := make([][]byte, 10000)
	for i := range msgs {
		msg, err := hex.DecodeString(strings.ReplaceAll(head+"0001 0000 0001 0000"+soa+"05"+hex.EncodeToString([]byte{'h', byte('0' + i/1000), byte('0' + i/100%10), byte('0' + i/10%10), byte('0' + i%10)})+"c00c 0001 0001 0000003c 0004 c0000201", " ", ""))
		if err != nil {
			b.Fatal(err)
		}
		msgs[i] = msg
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		msg := msgs[i%len(msgs)]
		msg[len(msg)-1] = byte(i / len(msgs)) // another address in each round
		m, err := update.Parse(msg)
		if err != nil {
			b.Fatal(err)
		}
		if out := update.Apply(z, m, everything{}, update.Options{}); out.RCode != update.NoError || out.Diff.Empty() {
			b.Fatal(out)
		}
	}
}

// panics is an authorizer that fails in the middle of a request.
type panics struct{ everything }

func (panics) Allow(zone.Name, zone.Type, zone.Name) (max int, ok bool) { panic("no rule") }

// TestPanicLeavesZone: whoever recovers goes on with the zone as it was.
func TestPanicLeavesZone(t *testing.T) {
	z := small(t, zone.MustParseName("z."))
	digest := z.Digest()
	add := zone.RR{Name: zone.MustParseName("b.z."), Type: zone.TypeA, Class: zone.ClassIN, Data: "\xc0\x00\x02\x01"}
	for auth, m := range map[update.Authorizer]*update.Message{
		panics{}: {Zone: z.Origin(), Class: zone.ClassIN, Updates: []zone.RR{add}},
		// An MX RR without RDATA, which Parse never lets pass.
		everything{}: {Zone: z.Origin(), Class: zone.ClassIN, Updates: []zone.RR{add, {Name: z.Origin(), Type: zone.TypeMX, Class: zone.ClassIN}}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic: this tests nothing")
				}
			}()
			update.Apply(z, m, auth, update.Options{CheckIntegrity: true})
		}()
		if z.Digest() != digest {
			t.Error("the zone changed")
		}
	}
	m := &update.Message{Zone: z.Origin(), Class: zone.ClassIN, Updates: []zone.RR{add}}
	if out := update.Apply(z, m, everything{}, update.DefaultOptions()); out.RCode != update.NoError {
		t.Errorf("%+v", out)
	}
}

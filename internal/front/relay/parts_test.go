package relay

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

func TestRepeatable(t *testing.T) {
	pack := func(m *dns.Msg) []byte {
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	with := func(extra ...dns.RR) []byte {
		m := new(dns.Msg)
		if err := m.Unpack(updateMsg(t, "h")); err != nil {
			t.Fatal(err)
		}
		m.Extra = append(m.Extra, extra...)
		return pack(m)
	}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 1232}}
	sig0 := &dns.SIG{RRSIG: dns.RRSIG{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSIG, Class: dns.ClassANY}, SignerName: "k.example.test.", Signature: "AAAA"}}
	tsigRR := &dns.TSIG{Hdr: dns.RR_Header{Name: "k.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256, MACSize: 32, MAC: strings.Repeat("00", 32)}
	signed := signedUpdate(t, "h")
	header := func(opcode byte) []byte { return []byte{0, 1, opcode << 3, 0, 0, 0, 0, 0, 0, 0, 0, 0} }
	for _, c := range []struct {
		name string
		msg  []byte
		want bool
	}{
		{"a query", queryMsg(t, "h.example.test."), true},
		{"NOTIFY", header(4), true},
		{"an opcode that nobody knows", header(15), true},
		{"an UPDATE", updateMsg(t, "h"), false},
		{"an UPDATE with EDNS", with(opt), false},
		{"an UPDATE of a header alone", header(5), false},
		{"a signed UPDATE", signed, true},
		{"whether the signature is right is seen elsewhere", with(tsigRR), true},
		{"EDNS before the signature", with(opt, tsigRR), true},
		{"SIG(0) is no identity", with(sig0), false},
		{"the signature must come last", with(tsigRR, opt), false},
		{"a signed UPDATE that is cut off", signed[:len(signed)-1], false},
		{"octets behind it are the primaries' to judge, who find the same signature", append(signed[:len(signed):len(signed)], 0), true},
	} {
		if got := repeatable(c.msg); got != c.want {
			t.Errorf("%s: repeatable is %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBudget(t *testing.T) {
	b := newBudget(Retry{Budget: 0.1, PerSecond: 2}, epoch)
	spent := func(now time.Time) (n int) {
		for b.spend(now) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		earn  int
		want  int
	}{
		{"savings at the start", 0, 0, savings * 2},
		{"nothing is left", 0, 0, 0},
		{"a share of the requests", 0, 100, 10},
		{"a second", time.Second, 0, 2},
		{"a clock that goes back", 0, 0, 0},
		{"half a token", 250 * time.Millisecond, 0, 0},
		{"and the other half", 250 * time.Millisecond, 0, 1},
		{"what is saved is bounded", time.Hour, 1e9, savings*2 + savedRequests/10},
	} {
		epoch := b.last
		if step.earn > 0 {
			b.earn(step.earn)
		}
		if got := spent(epoch.Add(step.after)); got != step.want {
			t.Errorf("%s: %d, want %d", step.name, got, step.want)
		}
	}
	if none := newBudget(Retry{}, epoch); none.spend(epoch.Add(time.Hour)) {
		t.Error("a budget of nothing is spent")
	}
}

func TestBuckets(t *testing.T) {
	limits := Limits{PerSecond: 10, Burst: 3, Addresses: 4, PendingPerAddress: 2, Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	b := newBuckets(limits, epoch)
	addr := netip.MustParseAddr
	take := func(a string, after time.Duration, want verdict) *bucket {
		t.Helper()
		k, got := b.take(addr(a), epoch.Add(after))
		if got != want {
			t.Fatalf("%s after %v: verdict %d, want %d", a, after, got, want)
		}
		return k
	}
	first := take("192.0.2.1", 0, admitted)
	second := take("192.0.2.1", 0, admitted)
	take("192.0.2.1", 0, tooManyPending)
	b.done(first)
	take("192.0.2.1", 0, tooMany) // the one that was refused has cost a token
	take("192.0.2.2", 0, admitted)
	take("192.0.2.1", 99*time.Millisecond, tooMany)
	first = take("192.0.2.1", 101*time.Millisecond, admitted)
	b.done(first)
	b.done(second)

	if k := take("198.51.100.9", 0, admitted); k != nil {
		t.Error("an exempt address has a bucket")
	}
	b.done(nil)

	// An IPv6 host has its /64.
	one := take("2001:db8::1", 0, admitted)
	if other := take("2001:db8::ffff:1", 0, admitted); other != one {
		t.Error("two addresses of one /64 have two buckets")
	}
	if other := take("2001:db8:0:1::1", 0, admitted); other == one {
		t.Error("two networks have one bucket")
	}

	// The table is full: who is new shares, until somebody is forgotten whose allowance is whole again.
	if k := take("203.0.113.1", 0, admitted); k != &b.shared {
		t.Error("the fifth address has a place of its own")
	}
	if k := take("203.0.113.2", 0, admitted); k != &b.shared {
		t.Error("the sixth address has a place of its own")
	}
	take("203.0.113.3", 0, tooManyPending)
	late := 10 * time.Second
	if k := take("203.0.113.1", late, admitted); k == &b.shared || k.addr != addr("203.0.113.1") {
		t.Error("an idle address keeps its place for ever")
	}
	if k, ok := b.byAddr[addr("192.0.2.1")]; ok {
		t.Errorf("%v was idle and stays", k.addr)
	}
	if _, ok := b.byAddr[addr("192.0.2.2")]; !ok {
		t.Error("an address that waits for an answer was forgotten")
	}
	if len(b.ring) != 4 || len(b.byAddr) != 4 {
		t.Errorf("%d places, %d addresses, want 4", len(b.ring), len(b.byAddr))
	}
}

// One address far beyond its limit does not slow down another, whether it has a place of its own or shares one.
func TestBucketsUnharmed(t *testing.T) {
	c := DefaultConfig().Limits
	c.Addresses = 64
	b := newBuckets(c, epoch)
	calm, _ := b.take(netip.MustParseAddr("192.0.2.1"), epoch)
	b.done(calm)
	refused, passed := 0, 0
	for ms := range 10_000 {
		now := epoch.Add(time.Duration(ms) * time.Millisecond)
		for i := range 20 { // ten times the limit
			from := netip.AddrFrom4([4]byte{198, 51, 100, 1})
			if ms >= 5000 { // forged addresses
				from = netip.AddrFrom4([4]byte{203, 0, byte(ms), byte(i)})
			}
			if k, v := b.take(from, now); v == admitted {
				if ms < 5000 {
					passed++
				}
				b.done(k)
			}
		}
		k, v := b.take(netip.MustParseAddr("192.0.2.1"), now) // half its limit
		if v != admitted {
			refused++
			continue
		}
		b.done(k)
	}
	if refused > 0 {
		t.Errorf("%d datagrams of an address within its limit were refused", refused)
	}
	if want := 5*int(c.PerSecond) + c.Burst; passed > want || passed < want-int(c.PerSecond)/100 {
		t.Errorf("%d datagrams of an address beyond its limit pass, want %d", passed, want)
	}
}

func TestDoubts(t *testing.T) {
	const room = 1 << 10
	d := newDoubts(room)
	client := netip.MustParseAddr("192.0.2.1")
	has := func(identity uint64, after time.Duration, want bool) {
		t.Helper()
		if got := d.has(epoch.Add(after), identity); got != want {
			t.Errorf("update %d after %v: in doubt is %v, want %v", identity, after, got, want)
		}
	}
	has(1, 0, false)
	d.asked(1)
	d.asked(1)
	has(1, 0, true)
	d.refused(1)
	has(1, 0, true)
	d.refused(1)
	has(1, 0, false)
	d.ended(epoch, 1, client, 0, endUnanswered)
	has(1, 0, false)

	d.asked(2) // silent
	d.ended(epoch, 2, client, 1, endUnanswered)
	has(2, doubtTime-1, true)
	has(2, doubtTime, false)
	d.asked(2)
	d.ended(epoch, 2, client, 1, endDecided)
	has(2, 0, false)

	d.asked(3) // one copy is turned away while another waits
	d.asked(3)
	d.ended(epoch, 3, client, 1, endDecided)
	has(3, 0, true)
	d.refused(3)
	has(3, 0, false)

	d.asked(4)
	d.ended(epoch, 4, client, 1, endApplied)
	d.asked(4) // the answer was lost, and the copy finds nobody
	d.refused(4)
	has(4, doubtTime-1, true)
	has(4, doubtTime, false)

	for i := range uint64(2 * room) {
		d.asked(100 + i)
		d.ended(epoch.Add(time.Duration(i+1)), 100+i, client, 1, endApplied)
	}
	has(4, 0, false) // the oldest are forgotten
	has(100+room-1, 0, false)
	has(100+room, 0, true)
	has(100+2*room-1, 0, true)
	if len(d.open) > 0 {
		t.Errorf("%d are open", len(d.open))
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		edit func(*Config)
		want string // "" for none
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Listen = nil }, "set Listen"},
		{func(c *Config) { c.Listen = append(c.Listen, netip.AddrPort{}) }, "is not an address and port"},
		{func(c *Config) { c.Listen = []netip.AddrPort{addrPort("[::]:53")} }, "or set PacketInfo"},
		{func(c *Config) { c.Listen, c.PacketInfo = []netip.AddrPort{addrPort("[::]:53")}, true }, ""},
		{func(c *Config) { c.Keys = proxyproto.Fixed([]byte("short")) }, "Keys has 5 octets"},
		{func(c *Config) { c.Sockets = 65 }, "Sockets is 65"},
		{func(c *Config) { c.Batch = 0 }, "Batch is 0"},
		{func(c *Config) { c.BufferSize = 0 }, "BufferSize is 0"},
		{func(c *Config) { c.Limits.Pending = 0 }, "Limits.Pending is 0"},
		{func(c *Config) { c.Retry.Max = 5 }, "Retry.Max is 5"},
		{func(c *Config) { c.Retry.Budget = -1 }, "none negative"},
		{func(c *Config) { c.Retry.Forget = c.Retry.After }, "the second longer"},
		{func(c *Config) { c.Answer = nil }, "start from DefaultConfig"},
	} {
		cfg := DefaultConfig()
		cfg.Listen = []netip.AddrPort{addrPort("192.0.2.1:53")}
		c.edit(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestDoubtsAreFair: who floods the memory pushes out what it has put there itself. Clients that have no more in a set than
// their share of it keep theirs.
func TestDoubtsAreFair(t *testing.T) {
	const room, updates = 1 << 12, 1 << 6
	for name, how := range map[string]ending{"unanswered": endUnanswered, "applied": endApplied} {
		d := newDoubts(room)
		identity := rand.New(rand.NewPCG(1, 2)) // of updates: they are hashes
		now := epoch
		add := func(client string) uint64 {
			id := identity.Uint64()
			now = now.Add(time.Microsecond)
			d.asked(id)
			d.ended(now, id, netip.MustParseAddr(client), 1, how)
			return id
		}
		var mine []uint64
		for i := range updates {
			mine = append(mine, add([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}[i%3]))
		}
		var last uint64
		for i := range 20 * room {
			// Two addresses of one /64 are one client.
			last = add([]string{"198.51.100.66", "2001:db8:6::1", "2001:db8:6::2"}[i%3])
		}
		lost := 0
		for _, id := range mine {
			if !d.has(now, id) {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s: %d of %d updates are forgotten because others have sent many", name, lost, updates)
		}
		if !d.has(now, last) {
			t.Errorf("%s: there is no room for the newest", name)
		}
		// What has run out makes room first.
		now = now.Add(doubtTime)
		if id := add("192.0.2.1"); !d.has(now, id) || d.has(now, mine[0]) {
			t.Errorf("%s: after %v", name, doubtTime)
		}
	}
}

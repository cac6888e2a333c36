package endpoint

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

// manyRecords are enough for a zone transfer of several messages.
func manyRecords() []string {
	out := make([]string, 0, 4000)
	for i := range 4000 {
		out = append(out, fmt.Sprintf("host-%d A 192.0.2.%d", i, i%250))
	}
	return out
}

// hidden is a named that admits the forwarder only, and an endpoint before it.
func hidden(t *testing.T, rel namedtest.Release, w *world, records ...string) *Server {
	t.Helper()
	// The tests' own address is 127.0.0.1: what is answered came through the endpoint.
	named := startNamed(t, rel, spec{query: "127.0.0.53;", transfer: "127.0.0.53;", update: "none;", records: records})
	return w.start(func(c *Config) { c.Named = named })
}

// transferAll asks for a zone transfer as our own clients do and returns its messages.
func transferAll(t testing.TB, to netip.AddrPort, query []byte, k *tsig.Key) ([]*dns.Msg, error) {
	t.Helper()
	c := tcpDial(t, to)
	defer c.Close()
	var verify *tsig.Transfer
	if k != nil {
		query = tsig.SignRequest(query, *k, time.Now())
		var err error
		if verify, err = tsig.NewTransfer(query, *k); err != nil {
			return nil, err
		}
	}
	tcpSend(t, c, query)
	var out []*dns.Msg
	end, err := xfr.NewEnd(query)
	if err != nil {
		return nil, err
	}
	for {
		msg, err := xfr.ReadFrame(c, nil)
		if err != nil {
			return out, err
		}
		if verify != nil {
			if err = verify.Verify(msg, time.Now()); err != nil {
				return out, fmt.Errorf("message %d: %w", len(out), err)
			}
		}
		out = append(out, unpack(t, msg))
		last, err := end.Next(msg)
		if err != nil {
			return out, err
		}
		if last {
			break
		}
	}
	if verify != nil {
		return out, verify.Finish()
	}
	return out, nil
}

func countRRs(msgs []*dns.Msg) int {
	n := 0
	for _, m := range msgs {
		n += len(m.Answer)
	}
	return n
}

func TestForward(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		w := newWorld(t)
		w.set(func(s *testSettings) {
			z := testZone(t, "example.test.", "key")
			z.AllowTransfer = acl(t, `key "key"; key "short"; key "sha1"; key "sha512"; key "md5";`)
			s.zones[z.ID.Name] = z
			s.Ring[truncatingKey(t).Name] = []tsig.Key{truncatingKey(t)}
		})
		s := hidden(t, rel, w, manyRecords()...)
		addr := s.Addrs()[0]
		k := testKey(t, "key.", tsig.HMACSHA256)

		t.Run("query", func(t *testing.T) {
			for _, ask := range []func(testing.TB, netip.AddrPort, []byte) []byte{udpAsk, tcpAsk} {
				m := unpack(t, ask(t, addr, queryMsg(t, "host-17.example.test.", dns.TypeA, withEDNS)))
				if !m.Authoritative || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.17" {
					t.Errorf("answer %v", m)
				}
				signed := tsig.SignRequest(queryMsg(t, "host-17.example.test.", dns.TypeA, withEDNS), k, time.Now())
				reply := ask(t, addr, signed)
				if err := tsig.VerifyResponse(reply, signed, k, time.Now()); err != nil {
					t.Error(err)
				}
				if m := unpack(t, reply); len(m.Answer) != 1 {
					t.Errorf("signed: answer %v", m)
				}
			}
			if w.barriers.Load() == 0 {
				t.Error("no barrier")
			}
		})
		t.Run("names that do not exist", func(t *testing.T) {
			if m := unpack(t, udpAsk(t, addr, queryMsg(t, "no.example.test.", dns.TypeA))); m.Rcode != dns.RcodeNameError || !m.Authoritative {
				t.Errorf("answer %v", m)
			}
		})
		t.Run("NOTIFY", func(t *testing.T) {
			m := unpack(t, udpAsk(t, addr, queryMsg(t, "example.test.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })))
			if m.Rcode != 0 || m.Opcode != dns.OpcodeNotify || !m.Authoritative {
				t.Errorf("answer %v", m)
			}
		})
		t.Run("AXFR", func(t *testing.T) {
			for _, key := range []tsig.Key{k, truncatingKey(t), testKey(t, "md5.", tsig.HMACMD5), testKey(t, "sha512.", tsig.HMACSHA512)} {
				msgs, err := transferAll(t, addr, queryMsg(t, "example.test.", dns.TypeAXFR), &key)
				if err != nil {
					t.Fatal(err)
				}
				if n := countRRs(msgs); n != 4004 || len(msgs) < 2 {
					t.Errorf("%d RRs in %d messages", n, len(msgs))
				}
			}
		})
		t.Run("AXFR by miekg", func(t *testing.T) {
			tr := &dns.Transfer{TsigSecret: map[string]string{"key.": base64.StdEncoding.EncodeToString(testSecret)}}
			m := new(dns.Msg)
			m.SetAxfr("example.test.")
			m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
			ch, err := tr.In(m, addr.String())
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for e := range ch {
				if e.Error != nil {
					t.Fatal(e.Error)
				}
				n += len(e.RR)
			}
			if n != 4004 {
				t.Errorf("%d RRs", n)
			}
		})
		t.Run("AXFR by dig", func(t *testing.T) {
			for _, alg := range []string{"hmac-sha256:key", "hmac-sha1:sha1", "hmac-sha512:sha512"} {
				out := dig(t, addr, "-y", alg+":"+base64.StdEncoding.EncodeToString(testSecret), "+noall", "+answer", "+stats", "example.test", "AXFR")
				if !strings.Contains(out, "4004 records") {
					t.Errorf("%s: dig says %.2000s", alg, out[max(0, len(out)-500):])
				}
			}
		})
		t.Run("IXFR that is current", func(t *testing.T) {
			msgs, err := transferAll(t, addr, queryMsg(t, "example.test.", dns.TypeIXFR, func(m *dns.Msg) { m.Ns = []dns.RR{soa(t, "example.test.", 7)} }), &k)
			if err != nil || countRRs(msgs) != 1 {
				t.Errorf("%d RRs, %v", countRRs(msgs), err)
			}
		})
		t.Run("IXFR as a full transfer", func(t *testing.T) {
			msgs, err := transferAll(t, addr, queryMsg(t, "example.test.", dns.TypeIXFR, func(m *dns.Msg) { m.Ns = []dns.RR{soa(t, "example.test.", 3)} }), &k)
			if err != nil || countRRs(msgs) != 4004 {
				t.Errorf("%d RRs, %v", countRRs(msgs), err)
			}
		})
		t.Run("several on one connection", func(t *testing.T) {
			c := tcpDial(t, addr)
			for i := range 50 {
				tcpSend(t, c, withID(queryMsg(t, fmt.Sprintf("host-%d.example.test.", i), dns.TypeA), uint16(i)))
			}
			seen := map[uint16]bool{}
			for range 50 {
				m := unpack(t, tcpRead(t, c))
				if want := fmt.Sprintf("192.0.2.%d", m.Id); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
					t.Errorf("answer to %d: %v", m.Id, m)
				}
				seen[m.Id] = true
			}
			if len(seen) != 50 {
				t.Errorf("%d different answers", len(seen))
			}
		})
		t.Run("a signed answer too large for UDP is truncated", func(t *testing.T) {
			// 512 octets hold named's answer but not our TSIG RR behind it.
			s2 := hidden(t, rel, newWorld(t), rrTXT("txt", 430))
			q := queryMsg(t, "txt.example.test.", dns.TypeTXT)
			if m := unpack(t, udpAsk(t, s2.Addrs()[0], q)); m.Truncated {
				t.Fatalf("unsigned: truncated at %d octets", m.Len())
			}
			signed := tsig.SignRequest(q, k, time.Now())
			reply := udpAsk(t, s2.Addrs()[0], signed)
			if err := tsig.VerifyResponse(reply, signed, k, time.Now()); err != nil {
				t.Error(err)
			}
			if m := unpack(t, reply); !m.Truncated || len(reply) > 512 {
				t.Errorf("%d octets, TC %v", len(reply), m.Truncated)
			}
		})
	})
}

func rrTXT(owner string, size int) string {
	var b strings.Builder
	b.WriteString(owner + " TXT")
	for size > 0 {
		n := min(size, 200)
		fmt.Fprintf(&b, " %q", strings.Repeat("x", n))
		size -= n
	}
	return b.String()
}

func dig(t testing.TB, to netip.AddrPort, args ...string) string {
	t.Helper()
	out, err := exec.Command("dig", append([]string{"@" + to.Addr().String(), "-p", fmt.Sprint(to.Port()), "+tries=1", "+time=5"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("dig: %v\n%s", err, out)
	}
	return string(out)
}

// TestNoBarrier defends I3 and I7: without certainty there is no answer.
func TestNoBarrier(t *testing.T) {
	rel := namedtest.Get(t, "9.18")
	w := newWorld(t)
	s := hidden(t, rel, w)
	w.mu.Lock()
	w.barrier = func(context.Context, fsm.ZoneID) error { return errors.New("no quorum") }
	w.mu.Unlock()
	k := testKey(t, "key.", tsig.HMACSHA256)
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeAXFR} {
		signed := tsig.SignRequest(queryMsg(t, "example.test.", qtype, withEDNS), k, time.Now())
		reply := tcpAsk(t, s.Addrs()[0], signed)
		if ede, _ := edeOf(t, reply); rcodeOf(reply) != 2 || ede != 14 || len(unpack(t, reply).Answer) != 0 {
			t.Errorf("%s: RCODE %d, EDE %d", dns.Type(qtype), rcodeOf(reply), ede)
		}
		if err := tsig.VerifyResponse(reply, signed, k, time.Now()); err != nil {
			t.Error(err)
		}
	}
	// A zone that chose local reads is answered without a barrier, if named has it.
	w.set(func(s *testSettings) {
		z := s.zones[testName(t, "example.test.")]
		z.LocalReads = true
		s.zones[z.ID.Name] = z
	})
	if m := unpack(t, udpAsk(t, s.Addrs()[0], queryMsg(t, "example.test.", dns.TypeSOA))); len(m.Answer) != 1 {
		t.Errorf("local read: %v", m)
	}
}

// TestReplacedWhileAnswering defends C5: what named said after it was restarted, behind the barrier's back, is withheld.
func TestReplacedWhileAnswering(t *testing.T) {
	w := newWorld(t)
	s := hidden(t, namedtest.Get(t, "9.18"), w, manyRecords()...)
	w.replaced.Store(true)
	k := testKey(t, "key.", tsig.HMACSHA256)
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeAXFR} {
		reply := tcpAsk(t, s.Addrs()[0], tsig.SignRequest(queryMsg(t, "example.test.", qtype, withEDNS), k, time.Now()))
		if rcodeOf(reply) != 2 || len(unpack(t, reply).Answer) != 0 {
			t.Errorf("%s: RCODE %d with %d RRs", dns.Type(qtype), rcodeOf(reply), len(unpack(t, reply).Answer))
		}
	}
}

// TestRevokedDuringBarrier defends C6 for reads: what the barrier brings counts.
func TestRevokedDuringBarrier(t *testing.T) {
	w := newWorld(t)
	s := hidden(t, namedtest.Get(t, "9.18"), w, manyRecords()...)
	w.mu.Lock()
	w.barrier = func(context.Context, fsm.ZoneID) error {
		w.set(func(s *testSettings) { delete(s.Ring, testName(t, "key.")) })
		return nil
	}
	w.mu.Unlock()
	k := testKey(t, "key.", tsig.HMACSHA256)
	reply := tcpAsk(t, s.Addrs()[0], tsig.SignRequest(queryMsg(t, "example.test.", dns.TypeAXFR), k, time.Now()))
	if rcodeOf(reply) != 9 || len(unpack(t, reply).Answer) != 0 {
		t.Errorf("RCODE %d for a key that was revoked before the barrier passed", rcodeOf(reply))
	}
}

// TestNamedSilent: named down or hanging is SERVFAIL with a reason, in bounded time.
func TestNamedSilent(t *testing.T) {
	blackhole, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer blackhole.Close()
	for name, at := range map[string]netip.AddrPort{
		"down":  netip.MustParseAddrPort("127.0.0.1:1"),
		"hangs": blackhole.LocalAddr().(*net.UDPAddr).AddrPort(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start(func(c *Config) { c.Named, c.ReadTimeout = at, 300*time.Millisecond })
			reply := udpAsk(t, s.Addrs()[0], queryMsg(t, "example.test.", dns.TypeSOA, withEDNS))
			if ede, _ := edeOf(t, reply); rcodeOf(reply) != 2 || ede != 23 {
				t.Errorf("RCODE %d, EDE %d", rcodeOf(reply), ede)
			}
		})
	}
}

// TestCrossing asks for every zone with every key: what is granted works, and
// nothing else does.
func TestCrossing(t *testing.T) {
	const n = 4
	w := newWorld(t)
	var keys []tsig.Key
	var zones []string
	for i := range n {
		zones = append(zones, fmt.Sprintf("zone%d.test", i))
	}
	named := startNamed(t, namedtest.Get(t, "9.20"), spec{query: "127.0.0.53;", transfer: "127.0.0.53;", update: "none;", zones: zones})
	w.set(func(s *testSettings) {
		clear(s.zones)
		for i := range n {
			k := testKey(t, fmt.Sprintf("tenant%d.", i), tsig.HMACSHA256)
			keys = append(keys, k)
			s.Ring[k.Name] = []tsig.Key{k}
			z := testZone(t, zones[i]+".", k.Name.String())
			z.AllowQuery = acl(t, `key "`+k.Name.String()+`";`)
			s.zones[z.ID.Name] = z
		}
	})
	s := w.start(func(c *Config) { c.Named = named })
	addr := s.Addrs()[0]
	for i := range n {
		zoneName := zones[i] + "."
		for j, k := range append(keys, tsig.Key{}) {
			granted := i == j
			sign := func(msg []byte) []byte {
				if k.Name == "" {
					return msg
				}
				return tsig.SignRequest(msg, k, time.Now())
			}
			for what, msg := range map[string][]byte{
				"UPDATE": updateMsg(t, zoneName, "h."+zoneName),
				"query":  queryMsg(t, zoneName, dns.TypeSOA),
				"AXFR":   queryMsg(t, zoneName, dns.TypeAXFR),
				"IXFR":   queryMsg(t, zoneName, dns.TypeIXFR, func(m *dns.Msg) { m.Ns = []dns.RR{soa(t, zoneName, 7)} }),
			} {
				before := len(w.updates())
				reply := tcpAsk(t, addr, sign(msg))
				got := rcodeOf(reply)
				if answered := len(unpack(t, reply).Answer) > 0; answered != (granted && what != "UPDATE") {
					t.Errorf("%s of %s with key %d: answered %v", what, zoneName, j, answered)
				}
				want := 5
				if granted {
					want = 0
				}
				if got != want {
					t.Errorf("%s of %s with key %d: RCODE %d, want %d", what, zoneName, j, got, want)
				}
				if proposed := len(w.updates()) > before; proposed != (granted && what == "UPDATE") {
					t.Errorf("%s of %s with key %d: proposed %v", what, zoneName, j, proposed)
				}
			}
		}
	}
}

// TestSecondary: the key of a registered secondary transfers every zone and asks
// for its SOA, whatever the zones' lists say; it reads and changes nothing else,
// and nothing at all when it is registered no more. Nobody gains by it.
func TestSecondary(t *testing.T) {
	w := newWorld(t)
	zones := []string{"zone0.test", "zone1.test", "catalog.test"}
	named := startNamed(t, namedtest.Get(t, "9.20"), spec{query: "127.0.0.53;", transfer: "127.0.0.53;", update: "none;", zones: zones})
	own, other := testKey(t, "Secondary.", tsig.HMACSHA256), testKey(t, "other.", tsig.HMACSHA256)
	w.set(func(s *testSettings) {
		clear(s.zones)
		s.Ring[own.Name.Canonical()] = []tsig.Key{own}
		s.secondary = own.Name.Canonical()
		for _, name := range zones {
			z := testZone(t, name+".", "tenant")
			z.AllowQuery, z.AllowTransfer = acl(t, "none;"), acl(t, "none;")
			s.zones[z.ID.Name] = z
		}
	})
	addr := w.start(func(c *Config) { c.Named = named }).Addrs()[0]
	ask := func(k *tsig.Key, registered bool) {
		t.Helper()
		for _, name := range zones {
			name += "."
			ixfr := func(m *dns.Msg) { m.Ns = []dns.RR{soa(t, name, 7)} }
			for what, c := range map[string]struct {
				msg  []byte
				read bool
			}{
				"SOA":            {queryMsg(t, name, dns.TypeSOA), true},
				"AXFR":           {queryMsg(t, name, dns.TypeAXFR), true},
				"IXFR":           {queryMsg(t, name, dns.TypeIXFR, ixfr), true},
				"NS":             {queryMsg(t, name, dns.TypeNS), false},
				"ANY":            {queryMsg(t, name, dns.TypeANY), false},
				"SOA of a child": {queryMsg(t, "x."+name, dns.TypeSOA), false},
				"UPDATE":         {updateMsg(t, name, "h."+name), false},
			} {
				msg, want := c.msg, 5
				if k != nil {
					msg = tsig.SignRequest(msg, *k, time.Now())
				}
				if registered && c.read {
					want = 0
				}
				reply := tcpAsk(t, addr, msg)
				if got := rcodeOf(reply); got != want || (len(unpack(t, reply).Answer) > 0) != (want == 0) {
					t.Errorf("%s of %s: RCODE %d with %d answers, want RCODE %d", what, name, got, len(unpack(t, reply).Answer), want)
				}
			}
		}
	}
	ask(&own, true)
	ask(&other, false)
	ask(nil, false)
	w.set(func(s *testSettings) { s.secondary = "" })
	ask(&own, false)
	if n := len(w.updates()); n != 0 {
		t.Errorf("%d updates were proposed", n)
	}
}

// TestRotation: during a rotation both secrets of a name update, query and
// transfer, and each gets its answer signed with itself. named knows neither.
func TestRotation(t *testing.T) {
	older, newer := testKey(t, "key.", tsig.HMACSHA256), testKey(t, "key.", tsig.HMACSHA512)
	newer.Secret, newer.Version = []byte("the new secret"), 2
	newer, err := tsig.NewKey(newer)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.set(func(s *testSettings) { s.Ring[older.Name] = []tsig.Key{newer, older} })
	s := hidden(t, namedtest.Get(t, "9.20"), w, manyRecords()...)
	try := func(k tsig.Key, want int) {
		t.Helper()
		for _, msg := range [][]byte{updateMsg(t, "example.test.", "h.example.test."), queryMsg(t, "example.test.", dns.TypeSOA)} {
			signed := tsig.SignRequest(msg, k, time.Now())
			reply := tcpAsk(t, s.Addrs()[0], signed)
			if err := tsig.VerifyResponse(reply, signed, k, time.Now()); (err == nil) != (want == 0) || rcodeOf(reply) != want {
				t.Errorf("version %d: RCODE %d, %v", k.Version, rcodeOf(reply), err)
			}
		}
		msgs, err := transferAll(t, s.Addrs()[0], queryMsg(t, "example.test.", dns.TypeAXFR), &k)
		if (err == nil) != (want == 0) || (want == 0) != (countRRs(msgs) == 4004) {
			t.Errorf("version %d: %d RRs, %v", k.Version, countRRs(msgs), err)
		}
	}
	try(older, 0)
	try(newer, 0)
	w.set(func(s *testSettings) { s.Ring[older.Name] = []tsig.Key{newer} })
	try(older, 9)
	try(newer, 0)
	for i, u := range w.updates() {
		if want := []uint64{1, 2, 2}[i]; u.KeyVersion != want {
			t.Errorf("update %d: key version %d", i, u.KeyVersion)
		}
	}
}

// TestNsupdate lets the real program check our signatures, with every algorithm.
func TestNsupdate(t *testing.T) {
	w := newWorld(t)
	w.set(func(s *testSettings) {
		z := testZone(t, "example.test.", "key")
		z.AllowUpdate = acl(t, `key "key"; key "md5"; key "sha1"; key "sha224"; key "sha384"; key "sha512"; key "short";`)
		s.zones[z.ID.Name] = z
		s.Ring[truncatingKey(t).Name] = []tsig.Key{truncatingKey(t)}
	})
	s := w.start(nil)
	for _, tc := range []struct{ alg, key string }{
		{"hmac-sha256", "key"}, {"hmac-md5", "md5"}, {"hmac-sha1", "sha1"}, {"hmac-sha224", "sha224"},
		{"hmac-sha384", "sha384"}, {"hmac-sha512", "sha512"}, {"hmac-sha256-128", "short"},
	} {
		for _, flags := range [][]string{nil, {"-v"}} {
			args := append(flags, "-t", "5", "-y", tc.alg+":"+tc.key+":"+base64.StdEncoding.EncodeToString(testSecret))
			if out, err := nsupdate(s.Addrs()[0], args, "update add h.example.test 60 A 192.0.2.1\nsend\n"); err != nil {
				t.Errorf("nsupdate %v: %v\n%s", args, err, out)
			}
		}
	}
	if got := len(w.updates()); got != 14 {
		t.Errorf("%d updates proposed", got)
	}
	out, err := nsupdate(s.Addrs()[0], []string{"-t", "5", "-y", "hmac-sha256:nobody:" + base64.StdEncoding.EncodeToString(testSecret)}, "update add h.example.test 60 A 192.0.2.1\nsend\n")
	if err == nil || !strings.Contains(out, "BADKEY") {
		t.Errorf("unknown key: %v, %s", err, out)
	}
	out, err = nsupdate(s.Addrs()[0], []string{"-t", "5"}, "update add h.example.test 60 A 192.0.2.1\nsend\n")
	if err == nil || !strings.Contains(out, "REFUSED") {
		t.Errorf("unsigned: %v, %s", err, out)
	}
}

func nsupdate(to netip.AddrPort, args []string, script string) (string, error) {
	cmd := exec.Command("nsupdate", args...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("server %s %d\nzone example.test\n%s", to.Addr(), to.Port(), script))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestRevokedBeforeBarrier defends C6: a key that is revoked after it was verified and before the barrier begins.
func TestRevokedBeforeBarrier(t *testing.T) {
	w := newWorld(t)
	var looks atomic.Int64
	named := startNamed(t, namedtest.Get(t, "9.18"), spec{query: "127.0.0.53;", transfer: "127.0.0.53;", update: "none;", records: manyRecords()})
	s := w.start(func(c *Config) {
		c.Named = named
		settings := c.Settings
		c.Settings = func() Settings {
			if looks.Add(1) == 2 { // the first one verifies the signature, the second one authorises
				w.set(func(s *testSettings) { delete(s.Ring, testName(t, "key.")) })
			}
			return settings()
		}
	})
	k := testKey(t, "key.", tsig.HMACSHA256)
	reply := tcpAsk(t, s.Addrs()[0], tsig.SignRequest(queryMsg(t, "example.test.", dns.TypeAXFR), k, time.Now()))
	if rcodeOf(reply) != 9 || len(unpack(t, reply).Answer) != 0 {
		t.Errorf("RCODE %d for a key that was revoked before the barrier began", rcodeOf(reply))
	}
}

// TestZoneCutDuringBarrier defends I3: when the barrier brings a zone that the name belongs to now, that zone counts.
func TestZoneCutDuringBarrier(t *testing.T) {
	w := newWorld(t)
	s := hidden(t, namedtest.Get(t, "9.18"), w)
	below := fsm.ZoneOf(testName(t, "sub.example.test."))
	var asked []fsm.ZoneID
	w.mu.Lock()
	w.barrier = func(_ context.Context, id fsm.ZoneID) error {
		if asked = append(asked, id); len(asked) == 1 {
			w.set(func(s *testSettings) { s.zones[below.Name] = Zone{ID: below, AllowQuery: acl(t, "any;")} })
		}
		return nil
	}
	w.mu.Unlock()
	udpAsk(t, s.Addrs()[0], queryMsg(t, "www.sub.example.test.", dns.TypeA))
	want := []fsm.ZoneID{fsm.ZoneOf(testName(t, "example.test.")), below}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(asked, want) {
		t.Errorf("barriers for %v, want %v", asked, want)
	}
}

// TestZoneGoneDuringBarrier defends I7: a replica that learns at the barrier that the zone was deleted says what every other
// one says, and not that it can't tell.
func TestZoneGoneDuringBarrier(t *testing.T) {
	for _, tt := range []struct {
		name  string
		msg   []byte
		rcode int
	}{
		{"query", queryMsg(t, "www.example.test.", dns.TypeA), rcodeRefused},
		{"transfer", queryMsg(t, "example.test.", dns.TypeAXFR), rcodeNotAuth},
		{"notify", packed(t, new(dns.Msg).SetNotify("example.test."), nil), rcodeNotAuth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.barrier = func(_ context.Context, id fsm.ZoneID) error {
				w.set(func(s *testSettings) { delete(s.zones, id.Name) })
				return fmt.Errorf("%w: %s", ErrZoneGone, id)
			}
			s := w.start(nil)
			reply := tcpAsk(t, s.Addrs()[0], tsig.SignRequest(tt.msg, testKey(t, "key.", tsig.HMACSHA256), time.Now()))
			if got := rcodeOf(reply); got != tt.rcode {
				t.Errorf("RCODE %d, want %d", got, tt.rcode)
			}
		})
	}
}

package endpoint

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

// spec is a named for tests. query, transfer and update are the insides of
// allow-query and so on; every zone has the same records.
type spec struct {
	keys                    []tsig.Key
	query, transfer, update string
	zones                   []string // default: example.test
	records                 []string
}

// startNamed runs a named until the test ends. Another process may take the port
// that was free a moment ago; then another one is tried.
func startNamed(t testing.TB, rel namedtest.Release, sp spec) netip.AddrPort {
	t.Helper()
	for range 5 {
		if addr, ok := tryNamed(t, rel, sp); ok {
			return addr
		}
	}
	t.Fatal("no port stays free for named")
	return netip.AddrPort{}
}

func tryNamed(t testing.TB, rel namedtest.Release, sp spec) (netip.AddrPort, bool) {
	t.Helper()
	if sp.zones == nil {
		sp.zones = []string{"example.test"}
	}
	dir := namedtest.Dir(t)
	addr := namedtest.FreePort(t)
	var conf strings.Builder
	for _, k := range sp.keys {
		bits := ""
		if k.MACSize != 0 {
			bits = fmt.Sprintf("-%d", 8*k.MACSize)
		}
		fmt.Fprintf(&conf, "key %q { algorithm %s%s; secret %q; };\n", k.Name.String(), k.Algorithm, bits, base64.StdEncoding.EncodeToString(k.Secret))
	}
	fmt.Fprintf(&conf, `controls { };
options {
	directory %q; pid-file none; session-keyfile none; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; notify no; empty-zones-enable no; dnssec-validation no; tcp-clients 1000;
};
`, dir, addr.Port())
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, z := range sp.zones {
		fmt.Fprintf(&conf, "zone %q { type primary; file \"%s.db\"; allow-query { %s }; allow-transfer { %s }; allow-update { %s }; };\n", z, z, sp.query, sp.transfer, sp.update)
		write(z+".db", "$ORIGIN "+z+".\n$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"+strings.Join(sp.records, "\n")+"\n")
	}
	write("named.conf", conf.String())

	cmd := exec.Command(rel.Named, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	var log logged
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: the error is expected
		if t.Failed() {
			t.Logf("named: %s", log.String())
		}
	})
	ready := queryMsg(t, "ready.invalid.", dns.TypeSOA)
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := udpTry(addr, ready, 200*time.Millisecond)
		if strings.Contains(log.String(), "address in use") {
			return addr, false
		}
		if err == nil && strings.Contains(log.String(), " running\n") {
			return addr, true
		}
		if time.Now().After(deadline) {
			t.Fatalf("named %s does not answer: %s", rel.Version, log.String())
		}
	}
}

// shape is what two servers' replies must have in common: everything but
// signatures, times and options.
func shape(t testing.TB, msg []byte) string {
	t.Helper()
	if msg == nil {
		return "silence"
	}
	m := unpack(t, msg)
	ext := m.Rcode
	s := fmt.Sprintf("%s id %d %s qr %v aa %v tc %v rd %v ra %v ad %v cd %v", dns.OpcodeToString[m.Opcode], m.Id, dns.RcodeToString[ext],
		m.Response, m.Authoritative, m.Truncated, m.RecursionDesired, m.RecursionAvailable, m.AuthenticatedData, m.CheckingDisabled)
	for _, q := range m.Question {
		s += fmt.Sprintf("; question %s %s %d", q.Name, dns.Type(q.Qtype), q.Qclass)
	}
	for _, rr := range m.Answer {
		s += "; " + rr.String()
	}
	if o := m.IsEdns0(); o != nil {
		s += fmt.Sprintf("; EDNS %d do %v", o.Version(), o.Do())
	}
	r, err := tsig.Find(msg)
	if err != nil {
		t.Fatal(err)
	}
	if r != nil {
		s += fmt.Sprintf("; TSIG %s %s error %d MAC %d other %d origid %d", r.KeyName(), r.AlgorithmName(), r.PeerError, len(r.MAC), len(r.Other), r.OrigID)
	}
	return s
}

// testKeys are the keys of newWorld and one that truncates.
func testKeys(t testing.TB) []tsig.Key {
	keys := []tsig.Key{testKey(t, "key.", tsig.HMACSHA256)}
	for name, alg := range map[string]tsig.Algorithm{
		"md5.": tsig.HMACMD5, "sha1.": tsig.HMACSHA1, "sha224.": tsig.HMACSHA224, "sha384.": tsig.HMACSHA384, "sha512.": tsig.HMACSHA512,
	} {
		keys = append(keys, testKey(t, name, alg))
	}
	return append(keys, truncatingKey(t))
}

func truncatingKey(t testing.TB) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: testName(t, "short."), Algorithm: tsig.HMACSHA256, Secret: testSecret, Version: 1, MACSize: 16})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSameAnswersAsNamed sends the same bytes to a plain named and to the
// endpoint, and compares everything but the MACs' octets (I5).
func TestSameAnswersAsNamed(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		keys := testKeys(t)
		const all = `key "key"; key "md5"; key "sha1"; key "sha224"; key "sha384"; key "sha512"; key "short";`
		plain := startNamed(t, rel, spec{keys: keys, query: all, transfer: all, update: all})
		w := newWorld(t)
		w.set(func(s *testSettings) {
			ring, err := tsig.NewRing(keys...)
			if err != nil {
				t.Fatal(err)
			}
			s.Ring = ring
			z := testZone(t, "example.test.", "key")
			z.AllowUpdate, z.AllowQuery, z.AllowTransfer = acl(t, all), acl(t, all), acl(t, all)
			s.zones[z.ID.Name] = z
		})
		s := w.start(nil)
		for _, c := range sameAnswerCases(t, keys) {
			t.Run(c.name, func(t *testing.T) {
				for _, via := range []string{"udp", "tcp"} {
					var want, got string
					if via == "udp" {
						want, got = shape(t, udpMaybe(plain, c)), shape(t, udpMaybe(s.Addrs()[0], c))
					} else {
						want, got = shape(t, tcpMaybe(t, plain, c)), shape(t, tcpMaybe(t, s.Addrs()[0], c))
					}
					if (want == "silence") != c.silent {
						t.Errorf("%s: named: %s", via, want)
					}
					if got != want {
						t.Errorf("%s:\n  named    %s\n  endpoint %s", via, want, got)
					}
				}
			})
		}
	})
}

// TestIntendedDifferences shows what docs/differences.md says of signatures: that
// named does otherwise, and what we do.
func TestIntendedDifferences(t *testing.T) {
	k := testKey(t, "key.", tsig.HMACSHA256)
	sign := func(fudge uint16, at time.Time, tsigError uint16) []byte {
		m := new(dns.Msg)
		if err := m.Unpack(updateMsg(t, "example.test.", "h.example.test.")); err != nil {
			t.Fatal(err)
		}
		m.SetTsig("key.", dns.HmacSHA256, fudge, at.Unix())
		m.IsTsig().Error = tsigError
		wire, _, err := dns.TsigGenerate(m, base64.StdEncoding.EncodeToString(testSecret), "", false)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	w := newWorld(t)
	s := w.start(nil)
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		named := startNamed(t, rel, spec{keys: []tsig.Key{k}, query: "any;", transfer: "any;", update: `key "key";`})
		for _, tc := range []struct {
			name  string
			msg   []byte
			rcode int
			tsig  uint16
		}{
			{"a fudge above 300 s", sign(65535, time.Now().Add(-400*time.Second), 0), dns.RcodeNotAuth, tsig.BadTime},
			{"a TSIG RR that reports an error", sign(300, time.Now(), tsig.BadTime), dns.RcodeFormatError, 0},
		} {
			if theirs := udpAsk(t, named, tc.msg); rcodeOf(theirs) != 0 {
				t.Errorf("%s: named answers RCODE %d: no difference", tc.name, rcodeOf(theirs))
			}
			ours := udpAsk(t, s.Addrs()[0], tc.msg)
			r, err := tsig.Find(ours)
			if err != nil || r == nil || rcodeOf(ours) != tc.rcode || r.PeerError != tc.tsig || len(r.MAC) != 32 {
				t.Errorf("%s: %s", tc.name, shape(t, ours))
			}
		}
	})
	if n := len(w.updates()); n != 0 {
		t.Errorf("%d of them proposed", n)
	}
}

// patience is how long a reply may take: long on a busy machine, unless none is
// expected.
func (c answerCase) patience() time.Duration {
	if c.silent {
		return 300 * time.Millisecond
	}
	return testTimeout
}

// udpMaybe returns the reply, or nil for silence.
func udpMaybe(to netip.AddrPort, c answerCase) []byte {
	b, err := udpTry(to, c.msg, c.patience())
	if err != nil {
		return nil
	}
	return b
}

func tcpMaybe(t testing.TB, to netip.AddrPort, c answerCase) []byte {
	t.Helper()
	conn := tcpDial(t, to)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(c.patience())); err != nil {
		t.Fatal(err)
	}
	tcpSend(t, conn, c.msg)
	b, err := xfr.ReadFrame(conn, nil)
	if err != nil {
		return nil
	}
	return b
}

type answerCase struct {
	name   string
	msg    []byte
	silent bool // named gives no answer
}

func sameAnswerCases(t testing.TB, keys []tsig.Key) []answerCase {
	byName := map[string]tsig.Key{}
	for _, k := range keys {
		byName[k.Name.String()] = k
	}
	k := byName["key."]
	now := time.Now()
	up := func(edit ...func(*dns.Msg)) []byte { return updateMsg(t, "example.test.", "h.example.test.", edit...) }
	sign := func(msg []byte, k tsig.Key) []byte { return tsig.SignRequest(msg, k, now) }
	wrong := k
	wrong.Secret = []byte("wrong")
	wrong, err := tsig.NewKey(wrong)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(msg []byte, f func([]byte) []byte) []byte { return f(append([]byte(nil), msg...)) }
	header := func(msg []byte, at int, v byte) []byte {
		return edit(msg, func(b []byte) []byte { b[at] = v; return b })
	}
	cases := []answerCase{
		{name: "unsigned", msg: up()},
		{name: "unsigned with EDNS", msg: up(withEDNS)},
		{name: "unknown key", msg: sign(up(), testKey(t, "nobody.", tsig.HMACSHA256))},
		{name: "unknown key, unknown zone", msg: sign(updateMsg(t, "elsewhere.test.", "h.elsewhere.test."), testKey(t, "nobody.", tsig.HMACSHA256))},
		{name: "known key, other algorithm", msg: sign(up(), testKey(t, "key.", tsig.HMACSHA1))},
		{name: "wrong secret", msg: sign(up(withEDNS), wrong)},
		{name: "empty MAC", msg: cutMAC(t, sign(up(), k), 0)},
		{name: "MAC too long", msg: cutMAC(t, sign(up(), k), 33)},
		{name: "MAC too short", msg: cutMAC(t, sign(up(), k), 15)},
		{name: "MAC truncated", msg: cutMAC(t, sign(up(), k), 16)},
		{name: "MAC truncated to 31", msg: cutMAC(t, sign(up(), k), 31)},
		{name: "truncating key, full MAC", msg: sign(up(), func() tsig.Key { f := byName["short."]; f.MACSize = 0; return f }())},
		{name: "truncating key, 20 octets", msg: cutMAC(t, sign(up(), func() tsig.Key { f := byName["short."]; f.MACSize = 0; return f }()), 20)},
		{name: "an hour late", msg: tsig.SignRequest(up(), k, now.Add(-time.Hour))},
		{name: "an hour early", msg: tsig.SignRequest(up(withEDNS), k, now.Add(time.Hour))},
		{name: "other message ID than signed", msg: header(sign(up(), k), 0, 0x55)},
		{name: "unknown zone", msg: sign(updateMsg(t, "elsewhere.test.", "h.elsewhere.test."), k)},
		{name: "subdomain as the zone", msg: sign(updateMsg(t, "sub.example.test.", "h.sub.example.test."), k)},
		{name: "parent as the zone", msg: sign(updateMsg(t, "test.", "h.example.test."), k)},
		{name: "no zone section", msg: sign([]byte{0, 9, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}, k)},
		{name: "no zone section, unsigned", msg: []byte{0, 9, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{name: "zone section not SOA", msg: sign(edit(up(), func(b []byte) []byte { b[12+14+1] = 1; return b }), k)},
		{name: "zone section not SOA, unknown key", msg: sign(edit(up(), func(b []byte) []byte { b[12+14+1] = 1; return b }), testKey(t, "nobody.", tsig.HMACSHA256))},
		{name: "zone of class CH", msg: sign(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), k)},
		{name: "zone of class HS", msg: sign(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassHESIOD }), k)},
		{name: "zone of class NONE", msg: sign(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE }), k)},
		{name: "zone of class ANY", msg: sign(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), k)},
		{name: "zone of class 7", msg: sign(updateMsg(t, "example.test.", "h.example.test.", func(m *dns.Msg) { m.Question[0].Qclass = 7 }), k)},
		{name: "cut off", msg: up()[:40]},
		{name: "cut off in the header", msg: up()[:11], silent: true},
		{name: "trailing octets", msg: append(sign(up(), k), 1, 2, 3)},
		{name: "a response", msg: header(sign(up(), k), 2, 0xa8), silent: true},
		{name: "IQUERY", msg: sign(header(queryMsg(t, "example.test.", dns.TypeA), 2, 0x08), k)},
		{name: "STATUS", msg: header(queryMsg(t, "example.test.", dns.TypeA), 2, 0x10)},
		{name: "STATUS without question", msg: []byte{0, 9, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{name: "opcode 15, EDNS, signed", msg: sign(header(queryMsg(t, "example.test.", dns.TypeA, withEDNS), 2, 0x78), k)},
		{name: "EDNS version 1", msg: sign(up(withEDNS, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), k)},
		{name: "EDNS version 1 in a query", msg: queryMsg(t, "example.test.", dns.TypeA, withEDNS, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) })},
		{name: "two OPT RRs", msg: up(withEDNS, withEDNS)},
		{name: "query without question", msg: []byte{0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{name: "query of class NONE", msg: queryMsg(t, "example.test.", dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE })},
		{name: "query of class 7", msg: queryMsg(t, "example.test.", dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = 7 })},
		{name: "query unsigned", msg: queryMsg(t, "example.test.", dns.TypeSOA)},
		{name: "query elsewhere", msg: queryMsg(t, "elsewhere.test.", dns.TypeSOA)},
		{name: "query elsewhere, RD and CD", msg: sign(queryMsg(t, "elsewhere.test.", dns.TypeSOA, withEDNS, func(m *dns.Msg) { m.RecursionDesired, m.CheckingDisabled = true, true }), k)},
		{name: "query with unknown key", msg: sign(queryMsg(t, "example.test.", dns.TypeSOA), testKey(t, "nobody.", tsig.HMACSHA256))},
		{name: "query with wrong secret", msg: sign(queryMsg(t, "example.test.", dns.TypeSOA), wrong)},
		{name: "query an hour late", msg: tsig.SignRequest(queryMsg(t, "example.test.", dns.TypeSOA), k, now.Add(-time.Hour))},
		{name: "IXFR unsigned", msg: queryMsg(t, "example.test.", dns.TypeIXFR, func(m *dns.Msg) { m.Ns = []dns.RR{soa(t, "example.test.", 7)} })},
		{name: "NOTIFY for an unknown zone", msg: queryMsg(t, "elsewhere.test.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })},
		{name: "NOTIFY not SOA", msg: queryMsg(t, "example.test.", dns.TypeA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })},
		{name: "NOTIFY without question", msg: []byte{0, 9, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{name: "prerequisite section cut off", msg: edit(up(), func(b []byte) []byte { b[7] = 9; return b })},
		{name: "bad label type", msg: edit(up(), func(b []byte) []byte { b[12] = 0x80; return b })},
		{name: "compression loop in the zone section", msg: edit(up(), func(b []byte) []byte { b[12], b[13] = 0xc0, 12; return b })},
		{name: "forward pointer in the zone section, its last octet 0", msg: edit(up(), func(b []byte) []byte { copy(b[20:], "\x03tes\xe4\x00"); return b })},
		{name: "RR that does not parse: SERVFAIL", msg: sign(up(nsec3), k)},
		{name: "RR that does not parse: SERVFAIL, EDNS, wrong secret", msg: sign(up(nsec3, withEDNS), wrong)},
		{name: "compression loop in an owner", msg: edit(up(), func(b []byte) []byte {
			return append(b[:12+14+4:12+14+4], 0xc0, 12+14+4, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		})},
	}
	for name, key := range byName {
		cases = append(cases, answerCase{name: "good, key " + name, msg: sign(updateMsg(t, "example.test.", "good.example.test."), key)})
		cases = append(cases, answerCase{name: "good with EDNS, key " + name, msg: sign(updateMsg(t, "example.test.", "good.example.test.", withEDNS), key)})
	}
	return cases
}

// nsec3 deletes an RRset of NSEC3 at a name that is no hash, which BIND answers with SERVFAIL as it parses it.
func nsec3(m *dns.Msg) {
	m.Ns = append(m.Ns, &dns.ANY{Hdr: dns.RR_Header{Name: "a.example.test.", Rrtype: dns.TypeNSEC3, Class: dns.ClassANY}})
}

func soa(t testing.TB, name string, serial int) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN SOA ns.%s hostmaster.%s %d 3600 600 86400 60", name, name, name, serial))
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// cutMAC shortens or lengthens the MAC of a signed message to n octets.
func cutMAC(t testing.TB, msg []byte, n int) []byte {
	t.Helper()
	r, err := tsig.Find(msg)
	if err != nil || r == nil {
		t.Fatal(err)
	}
	size := len(r.MAC)
	at := r.End - 6 - len(r.Other) - size
	out := append([]byte(nil), msg[:at+min(n, size)]...)
	out = append(out, make([]byte, max(0, n-size))...)
	out = append(out, msg[at+size:]...)
	out[at-2], out[at-1] = byte(n>>8), byte(n)
	rdlen := r.Offset + len(r.KeyName()) + 8
	v := int(out[rdlen])<<8 | int(out[rdlen+1]) + n - size
	out[rdlen], out[rdlen+1] = byte(v>>8), byte(v)
	return out
}

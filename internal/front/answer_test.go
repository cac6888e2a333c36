package front

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnreachable(t *testing.T) {
	query := func(edit func(*dns.Msg)) []byte {
		m := new(dns.Msg)
		m.SetQuestion("www.example.test.", dns.TypeA)
		edit(m)
		return pack(t, m)
	}
	update := func(edit func(*dns.Msg)) []byte {
		m := new(dns.Msg)
		m.SetUpdate("example.test.")
		a, err := dns.NewRR("www.example.test. 60 A 192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		m.Insert([]dns.RR{a})
		edit(m)
		return pack(t, m)
	}
	nothing := func(*dns.Msg) {}
	long := query(func(m *dns.Msg) {
		for range 20 {
			m.Question = append(m.Question, dns.Question{Name: strings.Repeat("a.", 60), Qtype: dns.TypeA, Qclass: dns.ClassINET})
		}
	})
	for name, tc := range map[string]struct {
		query     []byte
		none      bool
		rd, ede   bool
		questions int
	}{
		"query":              {query: query(nothing), rd: true, questions: 1},
		"query with EDNS":    {query: query(func(m *dns.Msg) { m.SetEdns0(4096, true) }), rd: true, ede: true, questions: 1},
		"update":             {query: update(nothing), questions: 1},
		"update with EDNS":   {query: update(func(m *dns.Msg) { m.SetEdns0(1232, false) }), ede: true, questions: 1},
		"signed":             {query: update(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetTsig("key.", dns.HmacSHA256, 300, 1700000000) }), ede: true, questions: 1},
		"no question":        {query: query(func(m *dns.Msg) { m.Question = nil }), rd: true},
		"too many questions": {query: long, rd: true},
		"cut":                {query: query(nothing)[:15], rd: true},
		"cut after it":       {query: update(nothing)[:40], questions: 1},
		"header only":        {query: query(nothing)[:12], rd: true},
		"a response":         {query: query(func(m *dns.Msg) { m.Response = true }), none: true},
		"no header":          {query: query(nothing)[:11], none: true},
		"nothing":            {none: true},
	} {
		reply := Unreachable(tc.query)
		if (reply == nil) != tc.none {
			t.Errorf("%s: %x", name, reply)
		}
		if tc.none {
			continue
		}
		var m dns.Msg
		if err := m.Unpack(reply); err != nil {
			t.Errorf("%s: %v in %x", name, err, reply)
			continue
		}
		opcode := int(tc.query[2]) >> 3 & 15
		if m.Id != binary.BigEndian.Uint16(tc.query) || !m.Response || m.Opcode != opcode || m.Rcode != dns.RcodeServerFailure || m.Authoritative || m.RecursionDesired != tc.rd {
			t.Errorf("%s: header %+v", name, m.MsgHdr)
		}
		if len(m.Question) != tc.questions || len(m.Answer)+len(m.Ns) != 0 {
			t.Errorf("%s: %v", name, &m)
		}
		opt := m.IsEdns0()
		if (opt != nil) != tc.ede {
			t.Errorf("%s: OPT %v", name, opt)
		}
		if opt == nil {
			continue
		}
		if e, ok := opt.Option[0].(*dns.EDNS0_EDE); !ok || e.InfoCode != dns.ExtendedErrorCodeNoReachableAuthority || e.ExtraText != noPrimary || opt.UDPSize() != udpSize {
			t.Errorf("%s: %v", name, opt)
		}
	}
}

// FuzzUnreachable: whatever clients send, the answer is short, a well-formed SERVFAIL with the request's ID, or there is none.
func FuzzUnreachable(f *testing.F) {
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	m.SetEdns0(1232, false)
	f.Add(pack(f, m))
	m.SetTsig("key.", dns.HmacSHA256, 300, 1700000000)
	f.Add(pack(f, m))
	m.SetQuestion("www.example.test.", dns.TypeA)
	f.Add(pack(f, m))
	f.Fuzz(func(t *testing.T, query []byte) {
		reply := Unreachable(query)
		if len(query) < 12 || query[2]&0x80 != 0 {
			if reply != nil {
				t.Fatalf("%x to what is no request", reply)
			}
			return
		}
		if len(reply) < 12 || len(reply) > 512 || reply[0] != query[0] || reply[1] != query[1] || reply[2]&0x80 == 0 || reply[3]&15 != 2 {
			t.Fatalf("%x", reply)
		}
		// Names with pointers into what is not repeated are the client's affair; all else has to be readable.
		if binary.BigEndian.Uint16(reply[4:]) == 0 {
			if err := new(dns.Msg).Unpack(reply); err != nil {
				t.Fatalf("%v: %x", err, reply)
			}
		}
	})
}

package front

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// spareName is a front node that does not share the address of the three: faults of its own configuration disturb nobody.
const spareName = "spare"

// own4 and own6 are the spare's addresses for clients when it has some of its own to move.
const own4, own6 = "192.0.2.101", "2001:db8::101"

// spare makes the spare node, with mode service at its own address; it lives until the running part of the test ends.
func (s *site) spare(change func(c object)) *node {
	s.t.Helper()
	return s.newNode(s.t, spareName, func(_ string, c object) {
		h := s.Host(spareName)
		c["mode"] = "service"
		c["listen"] = object{"addresses": []any{h.V4.String(), h.V6.String()}}
		delete(c, "vip")
		if change != nil {
			change(c)
		}
	})
}

// moving makes the spare's own addresses some that keepalived moves.
func moving(s *site) func(c object) {
	return func(c object) {
		c["mode"] = "vip"
		delete(c, "listen")
		c["vip"] = object{
			"addresses": []any{own4 + "/32", own6 + "/128"}, "interface": harness.Device, "router_id": 54,
			"node_address": s.Host(spareName).V4.String(), "peers": []any{s.Host("front-a").V4.String()},
		}
	}
}

// spareAddr is where clients reach the spare in the modes without an address that moves.
func (s *site) spareAddr() string { return addrPort(s.Host(spareName).V4, portDNS) }

// resolver is a DNS server at a node, which knows one name. Its addresses are the primaries of that node's front.
type resolver struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

const resolverName = "primaries.test."

// newResolver starts one on a node's loopback, and lets the node's front use it: the file that names it is bound over the usual one.
func newResolver(n *node, addrs ...netip.Addr) *resolver {
	n.s.t.Helper()
	r := &resolver{addrs: addrs}
	var conn net.PacketConn
	err := n.Inside(func() (err error) {
		conn, err = net.ListenPacket("udp4", "127.0.0.1:53") //nolint:noctx // at once
		return err
	})
	if err != nil {
		n.s.t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: conn, Handler: r}
	go func() { _ = srv.ActivateAndServe() }() // until the socket is closed
	n.s.t.Cleanup(func() { _ = conn.Close() })
	file := filepath.Join(n.dir, "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o600); err != nil {
		n.s.t.Fatal(err)
	}
	n.enter = []string{"unshare", "--mount", "--propagation", "private", "sh", "-ec",
		fmt.Sprintf(`mount --bind %s "$(readlink -f /etc/resolv.conf)"; exec "$@"`, file), "sh"}
	return r
}

// set changes the answer.
func (r *resolver) set(addrs ...netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs = addrs
}

// ServeDNS implements dns.Handler.
func (r *resolver) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := new(dns.Msg)
	answer.SetReply(m)
	q := m.Question[0]
	for _, a := range r.addrs {
		h := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
		switch {
		case q.Name != resolverName:
			answer.Rcode = dns.RcodeNameError
		case a.Is4() && q.Qtype == dns.TypeA:
			answer.Answer = append(answer.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
		case a.Is6() && q.Qtype == dns.TypeAAAA:
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	_ = w.WriteMsg(answer) // a question without an answer is asked again
}

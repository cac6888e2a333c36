package front

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// forgery is a PROXY header that claims to speak for the client, whose address may change the zone byAddress.
type forgery struct {
	name   string
	header func(src, dst netip.AddrPort, udp bool, msg []byte) []byte
}

func forgeries(s *site) []forgery {
	keys, err := proxyproto.ReadKeys(s.proxyKeyFile)
	if err != nil {
		s.t.Fatal(err)
	}
	key := keys[0]
	v2 := func(key []byte, age time.Duration) func(src, dst netip.AddrPort, udp bool, msg []byte) []byte {
		return func(src, dst netip.AddrPort, udp bool, msg []byte) []byte {
			return proxyproto.Append(nil, src, dst, udp, key, time.Now().Add(-age), msg)
		}
	}
	return []forgery{
		{"version 1", func(src, dst netip.AddrPort, _ bool, _ []byte) []byte {
			return fmt.Appendf(nil, "PROXY TCP4 %s %s %d %d\r\n", src.Addr(), dst.Addr(), src.Port(), dst.Port())
		}},
		{"version 2", v2(nil, 0)},
		{"version 2, another key", v2([]byte("not what fronts and primaries have"), 0)},
		{"version 2, the right key, recorded an hour ago", v2(key, time.Hour)},
	}
}

// forgedHeaders: whoever is no front can't borrow an address, neither from a primary nor through a front; and a front's address
// alone, without the key, is not enough.
func forgedHeaders(t *testing.T, s *site) {
	client := netip.AddrPortFrom(s.Host("client").V4, 4711)
	targets := []struct{ from, what, addr string }{
		{"stranger", "the front", vip4 + ":53"},
		{"stranger", "a primary", addrPort(s.Host("primary-0").V4, portDNS)},
		{spareName, "a primary, from a front's address", addrPort(s.Host("primary-0").V4, portDNS)},
	}
	n := 0
	for _, to := range targets {
		for _, f := range forgeries(s) {
			for _, network := range []string{"udp", "tcp"} {
				m := unsigned(fmt.Sprintf("forged-%d", n))
				n++
				msg, err := m.Pack()
				if err != nil {
					t.Fatal(err)
				}
				if network == "tcp" {
					msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
				}
				header := f.header(client, netip.MustParseAddrPort(to.addr), network == "udp", msg)
				rcode, err := s.sendRaw(to.from, network, to.addr, append(header, msg...), silence)
				switch {
				case err != nil: // silence, or the connection was closed
				case rcode == dns.RcodeSuccess:
					t.Errorf("an update over %s to %s with a forged header, %s, was answered NOERROR", network, to.what, f.name)
				}
			}
		}
	}
	// The listener of fronts wants a certificate before it hears anything.
	if _, err := s.sendRaw("stranger", "tcp", addrPort(s.Host("primary-0").V4, portFront),
		append(proxyproto.Append(nil, client, netip.MustParseAddrPort("192.0.2.20:854"), false, nil, time.Now(), nil), 0, 12), silence); err == nil {
		t.Error("the fronts' listener answers without a certificate")
	}
	// What was sent before has been handled when these are answered: the reader of a socket takes one after the other.
	for i := range writers * 4 {
		if err := s.client("udp", targets[i%2].addr).nothing(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		m := new(dns.Msg)
		m.SetQuestion(fmt.Sprintf("forged-%d.%s", i, byAddress), dns.TypeA)
		answer, err := s.ask("client", "tcp", targets[1].addr, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Rcode != dns.RcodeNameError {
			t.Errorf("%s is there: %s", m.Question[0].Name, dns.RcodeToString[answer.Rcode])
		}
	}
	// Who sends them is in the logs of those that they came to.
	stranger := s.Host("stranger").V4.String()
	for from, why := range map[string]string{stranger: "outside ProxyFrom", s.Host(spareName).V4.String(): "the same key"} {
		for _, network := range []string{"udp", "tcp"} {
			s.logged("primary-0", "WARN", "PROXY header refused", "client="+from+":", "transport="+network, why)
		}
	}
	for _, name := range nodeNames() {
		if dropped := s.nodes[name].metrics()[`zonekeeper_relay_dropped_total{reason="proxy"}`]; dropped > 0 {
			t.Logf("%d forged headers were sent; the relay of %s dropped %v", n, name, dropped)
			s.nodes[name].said("WARN", "PROXY header refused", "client="+stranger+":", "transport=udp", "listen.proxy_from")
			return
		}
	}
	t.Error("no relay has counted a forged header")
}

// logged waits until a primary has logged a line with all of some words.
func (s *site) logged(primary string, words ...string) {
	s.t.Helper()
	s.until(patient, fmt.Sprintf("%s logs %q", primary, words), func(context.Context) error {
		b, err := os.ReadFile(filepath.Join(s.c.Dir(), primary, "log"))
		if err == nil && !hasLine(string(b), words) {
			err = errors.New("it did not")
		}
		return err
	})
}

// silence is how long no answer is waited for; a late one would be seen by the question for what was changed.
const silence = 200 * time.Millisecond

// sendRaw sends octets from a host and gives the response code of what comes back in time.
func (s *site) sendRaw(from, network, addr string, octets []byte, wait time.Duration) (rcode int, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	conn, err := s.DialContext(from)(ctx, network, addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(octets); err != nil {
		return 0, err
	}
	answer, err := (&dns.Conn{Conn: conn}).ReadMsg()
	if err != nil {
		return 0, err
	}
	return answer.Rcode, nil
}

// foreignVRRP: a stranger that says it has the highest priority takes the address from nobody, whether it says so to the group or to
// each node.
func foreignVRRP(t *testing.T, s *site, length time.Duration) {
	stranger := s.Host("stranger")
	var conn *net.IPConn
	err := stranger.Inside(func() (err error) {
		conn, err = net.ListenIP("ip4:112", &net.IPAddr{IP: stranger.V4.AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	if err := raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255) }); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	s.still("a stranger's VRRP", func() error {
		holder := s.holder()
		sent := 0
		for end := time.Now().Add(length); time.Now().Before(end); s.c.Pause(50 * time.Millisecond) {
			for _, name := range nodeNames() {
				to := s.Host(name).V4
				for _, priority := range []byte{250, 255} {
					if _, err := conn.WriteTo(advertisement(stranger.V4, to, priority), &net.IPAddr{IP: to.AsSlice()}); err != nil {
						return err
					}
					sent++
				}
			}
			if l := s.holders(); len(l) != 1 || l[0] != holder {
				return fmt.Errorf("the address is at %v, was at %s", l, holder)
			}
		}
		t.Logf("%s kept the address through %d advertisements of a stranger", holder, sent)
		return nil
	})
	if err := s.client("udp", endpoints()[0]).nothing(); err != nil {
		t.Fatal(err)
	}
	// Every node says who it was, and what to do.
	for _, name := range nodeNames() {
		n := s.nodes[name]
		n.said("WARN", "VRRP of strangers was dropped", "vip.peers", "["+stranger.V4.String()+"]")
		s.until(patient, name+" counts a stranger's VRRP", func(ctx context.Context) error {
			m, err := n.series(ctx)
			if err == nil && m[`zonekeeper_front_vrrp_strangers_total{by="filter"}`] == 0 {
				err = fmt.Errorf("it has counted none; by keepalived: %v", m[`zonekeeper_front_vrrp_strangers_total{by="keepalived"}`])
			}
			return err
		})
		status, err := n.run("status", "--config", n.config)
		if err != nil || !strings.Contains(status, "(from "+stranger.V4.String()+")") {
			t.Errorf("%s: the status (%v) does not say who sends VRRP:\n%s", name, err, status)
		}
	}
}

// advertisement is VRRP version 3 (RFC 9568, section 5.2) for the fronts' address: router 53, one address, every 200 ms.
func advertisement(src, dst netip.Addr, priority byte) []byte {
	b := []byte{0x31, 53, priority, 1, 0, 20, 0, 0}
	b = append(b, netip.MustParseAddr(vip4).AsSlice()...)
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, 112, 0, byte(len(b)))
	var total uint32
	for data := append(pseudo, b...); len(data) > 0; data = data[2:] {
		total += uint32(binary.BigEndian.Uint16(data))
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	binary.BigEndian.PutUint16(b[6:], ^uint16(total))
	return b
}

// foreignOwner: an address that somebody else has is not taken, neither at the start nor while this node holds it; the other one, which
// moves with it, leaves as well. The message says which address it is, and who has it.
func foreignOwner(t *testing.T, s *site) {
	mac := s.mac("stranger")
	for _, owned := range []string{own6 + "/64", own4 + "/24"} {
		addr, _, _ := strings.Cut(owned, "/")
		// A stranger that looks for duplicates itself would not use it; this one does not.
		take := func() {
			s.Shell("stranger", "ip addr add "+owned+" dev "+harness.Device+" $(case "+owned+" in *:*) echo nodad;; esac)")
		}
		leave := func() { s.Shell("stranger", "ip addr del "+owned+" dev "+harness.Device) }
		take()
		n := s.spare(moving(s))
		n.start()
		fault := func(what string) {
			t.Helper()
			n.shows("zonekeeper_front_vip_conflict", 1)
			s.until(patient, what, func(context.Context) error {
				for _, a := range []string{own4, own6} {
					if s.heldOf(spareName, a) {
						return fmt.Errorf("it holds %s", a)
					}
				}
				return nil
			})
			n.shows(`zonekeeper_front_vip_state{state="fault"}`, 1)
			status, err := n.run("status", "--config", n.config)
			if err == nil || !strings.Contains(status, addr+" is used by "+mac) || !strings.Contains(status, "vip.addresses") {
				t.Errorf("the status (exit %v) does not say who has the address, and what to do:\n%s", err, status)
			}
		}
		n.said("ERROR", addr, mac, "vip.addresses")
		fault("the node holds nothing while " + addr + " is somebody's")

		leave()
		s.until(patient, "the node takes the addresses when they are free", func(context.Context) error {
			for _, a := range []string{own4, own6} {
				if !s.heldOf(spareName, a) {
					return fmt.Errorf("it does not hold %s", a)
				}
			}
			return nil
		})
		n.shows("zonekeeper_front_vip_conflict", 0)

		take()
		fault("the node gives up the addresses when somebody else took " + addr)
		leave()
		n.proc.Stop()
	}
}

// heldOf reports whether a host has an address on its device.
func (s *site) heldOf(host, addr string) bool {
	s.t.Helper()
	return strings.Contains(s.Shell(host, "ip -o addr show dev "+harness.Device), " "+addr+"/")
}

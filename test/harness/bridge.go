package harness

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Bridge is a network of hosts on one link: each lives in a namespace of its own, with the device eth0, IPv4 and IPv6, plugged into
// one bridge. The kernel carries the packets, so ARP, VRRP and addresses that move work as they do between machines; Network,
// which only knows IPv4 packets, can delay them instead.
//
// It needs root. Nothing has a name outside: the namespaces go with this process and with those that run inside.
type Bridge struct {
	t     testing.TB
	sw    *Namespace // of the bridge: its ports have the names of the hosts
	hosts map[string]*Host
}

// Host is one of the bridge's.
type Host struct {
	*Namespace
	Name   string
	V4, V6 netip.Addr
}

// Device is the network device of every host.
const Device = "eth0"

// NewBridge makes one. hosts gives the last octet of each host's addresses, 192.0.2.N/24 and 2001:db8::N/64 (N in decimal).
func NewBridge(t testing.TB, hosts map[string]byte) *Bridge {
	t.Helper()
	sw, err := NewNamespace("ip link set lo up; ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0; ip link set br0 up")
	if err != nil {
		t.Fatal(err)
	}
	b := &Bridge{t: t, sw: sw, hosts: map[string]*Host{}}
	t.Cleanup(func() { _ = sw.Close() })
	for name, n := range hosts {
		h := &Host{Name: name, V4: netip.AddrFrom4([4]byte{192, 0, 2, n}), V6: netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", n))}
		if h.Namespace, err = NewNamespace("ip link set lo up"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		b.hosts[name] = h
		b.shell(fmt.Sprintf("ip link add %s type veth peer name %s netns %s; ip link set %[1]s master br0 up", name, Device, h.Path()))
		// Addresses are used at once and stay while the link is down, as those of a server that are set by hand.
		b.Shell(name, fmt.Sprintf(`echo 1 >/proc/sys/net/ipv6/conf/%[1]s/keep_addr_on_down
echo 0 >/proc/sys/net/ipv6/conf/%[1]s/accept_ra
ip addr add %[2]s/24 dev %[1]s
ip addr add %[3]s/64 dev %[1]s nodad
ip link set %[1]s up`, Device, h.V4, h.V6))
	}
	return b
}

// For is the bridge as a part of the test that made it sees it: what fails there fails that part.
func (b *Bridge) For(t testing.TB) *Bridge {
	part := *b
	part.t = t
	return &part
}

// Host gives a host by its name.
func (b *Bridge) Host(name string) *Host {
	b.t.Helper()
	h := b.hosts[name]
	if h == nil {
		b.t.Fatalf("no host is called %q", name)
	}
	return h
}

// Shell runs a script at a host and returns what it wrote.
func (b *Bridge) Shell(host, script string) string {
	b.t.Helper()
	out, err := b.Host(host).Shell(script)
	if err != nil {
		b.t.Fatalf("%s: %v", host, err)
	}
	return out
}

// shell runs a script beside the bridge.
func (b *Bridge) shell(script string) {
	b.t.Helper()
	if out, err := b.sw.Shell(script); err != nil {
		b.t.Fatalf("the bridge: %v: %s", err, out)
	}
}

// Cut loses every packet to and from a host until Join. Its own link stays up: nothing tells it.
func (b *Bridge) Cut(host string) { b.t.Helper(); b.shell("ip link set " + host + " nomaster") }

// Join ends Cut.
func (b *Bridge) Join(host string) { b.t.Helper(); b.shell("ip link set " + host + " master br0") }

// LinkDown takes a host's carrier away, as a pulled plug does.
func (b *Bridge) LinkDown(host string) { b.t.Helper(); b.shell("ip link set " + host + " down") }

// LinkUp ends LinkDown.
func (b *Bridge) LinkUp(host string) { b.t.Helper(); b.shell("ip link set " + host + " up") }

// Isolate parts some hosts from one another, not from the rest. Packets that are under way are not lost.
func (b *Bridge) Isolate(on bool, hosts ...string) {
	b.t.Helper()
	word := "off"
	if on {
		word = "on"
	}
	var script strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&script, "ip link set %s type bridge_slave isolated %s;", h, word)
	}
	b.shell(script.String())
}

// Blackhole loses what a host sends to others, and tells neither it nor them: their addresses lead to nobody's device.
func (b *Bridge) Blackhole(host string, to ...string) {
	b.t.Helper()
	b.neighbours(host, "replace %s lladdr 02:00:00:00:00:ff dev "+Device+" nud permanent", to)
}

// Unblackhole ends Blackhole.
func (b *Bridge) Unblackhole(host string, to ...string) {
	b.t.Helper()
	b.neighbours(host, "del %s dev "+Device, to)
}

func (b *Bridge) neighbours(host, words string, to []string) {
	b.t.Helper()
	var script strings.Builder
	for _, name := range to {
		for _, a := range []netip.Addr{b.Host(name).V4, b.Host(name).V6} {
			fmt.Fprintf(&script, "ip neigh "+words+"\n", a)
		}
	}
	b.Shell(host, script.String())
}

// DialContext connects from a host.
func (b *Bridge) DialContext(host string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	h := b.Host(host)
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = h.Inside(func() (err error) {
			d := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// HTTPClient asks from a host, with a certificate of an authority.
func (b *Bridge) HTTPClient(host string, a *Authority) *http.Client {
	_, _, cert := a.IssueFor("test", "", b.Host(host).V4.String())
	return &http.Client{Transport: &http.Transport{DialContext: b.DialContext(host), TLSClientConfig: a.Client(cert), MaxIdleConnsPerHost: 4}}
}

// Command prepares a command that runs at a host.
func (b *Bridge) Command(host string, words ...string) *exec.Cmd {
	words = append(b.Host(host).Enter(), words...)
	return exec.Command(words[0], words[1:]...)
}

// Adjust gives a primary, and those it knows, their addresses on the bridge. It is meant for devcluster.Config.Adjust.
func (b *Bridge) Adjust(c *primary.Config) {
	readdress(c, func(name string) string {
		if h := b.hosts[name]; h != nil {
			return h.V4.String()
		}
		return ""
	})
}

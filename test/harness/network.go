package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

const (
	networkMTU   = 65000 // the packets pass through this process: few large ones are cheaper
	networkQueue = 4096  // packets on their way to one port; more are dropped, as a switch does
)

// Network is a network of a test's own: each primary lives in a network namespace with one TUN device, and this process
// carries the packets between them, late or not at all. Links take TCP connections apart; here whole packets are lost,
// of UDP as well, and nobody on either side learns of it.
//
// It needs root and no module of the kernel but tun (no netem, no nftables). Namespaces and devices are held by file
// descriptors alone: they go with this process however it ends.
//
// The addresses are in 127.0.0.0/8, because a primary without certificates listens on loopback only; route_localnet
// lets the kernel pass them through a device.
type Network struct {
	delay time.Duration // one way
	block [3]byte       // of all addresses
	ports []*port

	receivers, deliverers sync.WaitGroup
}

// port is a host on the network: a primary's namespace, or (the last) the one that the test runs in.
type port struct {
	name  string
	addr  string
	ns    *Namespace // nil: the test's own
	tun   *os.File
	queue chan packet
	cut   atomic.Bool
}

type packet struct {
	due  time.Time
	from *port
	data []byte
}

// NewNetwork makes a network for the primaries of a cluster. Every packet takes delay; a round trip twice that.
func NewNetwork(t testing.TB, primaries []string, delay time.Duration) *Network {
	t.Helper()
	// A block at random: tests of other processes have networks too.
	n := &Network{delay: delay, block: [3]byte{127, byte(64 + rand.IntN(128)), byte(rand.IntN(256))}}
	t.Cleanup(n.close)
	for i, name := range append(primaries[:len(primaries):len(primaries)], "") {
		p := &port{name: name, addr: net.IPv4(n.block[0], n.block[1], n.block[2], byte(i+1)).String(), queue: make(chan packet, networkQueue)}
		n.ports = append(n.ports, p)
		if err := n.plug(p); err != nil {
			t.Fatalf("the network, %q: %v", name, err)
		}
		n.receivers.Go(func() { n.receive(p) })
		n.deliverers.Go(func() { n.deliver(p) })
	}
	return n
}

// plug makes the device of a port, in a new namespace unless it is the test's own.
func (n *Network) plug(p *port) error {
	if p.name == "" {
		return n.device(p)
	}
	var err error
	p.ns, err = newNamespace(func() error { return n.device(p) })
	return err
}

func (n *Network) device(p *port) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq("zk%d") // the kernel counts
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(ifr))); errno != 0 {
		return errors.Join(fmt.Errorf("TUNSETIFF: %w", errno), unix.Close(fd))
	}
	p.tun = os.NewFile(uintptr(fd), ifr.Name())
	// The route stands in the table of local addresses, ahead of 127.0.0.0/8, which is there.
	_, err = shell(fmt.Sprintf(`ip link set lo up
ip link set %[1]s mtu %[2]d up
echo 1 >/proc/sys/net/ipv4/conf/%[1]s/route_localnet
ip addr add %[3]s/32 dev %[1]s
ip route add %[4]d.%[5]d.%[6]d.0/24 dev %[1]s src %[3]s table local
`, ifr.Name(), networkMTU, p.addr, n.block[0], n.block[1], n.block[2]))
	return err
}

// receive takes what a host sends.
func (n *Network) receive(p *port) {
	buf := make([]byte, networkMTU)
	for {
		k, err := p.tun.Read(buf)
		if err != nil {
			return // closed at the end of the test
		}
		if to := n.target(buf[:k]); to != nil && to != p {
			select {
			case to.queue <- packet{time.Now().Add(n.delay), p, append([]byte(nil), buf[:k]...)}:
			default:
			}
		}
	}
}

// target finds the port of an IPv4 packet's destination.
func (n *Network) target(pkt []byte) *port {
	if len(pkt) < 20 || pkt[0]>>4 != 4 || [3]byte(pkt[16:19]) != n.block {
		return nil
	}
	if i := int(pkt[19]) - 1; i >= 0 && i < len(n.ports) {
		return n.ports[i]
	}
	return nil
}

// deliver hands a host its packets, each when it is due: in order, because all take equally long.
func (n *Network) deliver(p *port) {
	for pkt := range p.queue {
		if wait := time.Until(pkt.due); wait > 0 {
			<-time.After(wait)
		}
		if p.cut.Load() || pkt.from.cut.Load() {
			continue
		}
		_, _ = p.tun.Write(pkt.data) // what a host can't take is lost
	}
}

// Cut loses every packet to and from a primary until Join.
func (n *Network) Cut(primary string) { n.set(primary, true) }

// Join ends Cut.
func (n *Network) Join(primary string) { n.set(primary, false) }

func (n *Network) set(primary string, cut bool) {
	for _, p := range n.ports {
		if p.name == primary {
			p.cut.Store(cut)
		}
	}
}

// Enter is what to put before a command to run it in a primary's namespace, as the same process.
func (n *Network) Enter(primary string) []string {
	for _, p := range n.ports {
		if p.name == primary && p.ns != nil {
			return p.ns.Enter()
		}
	}
	return nil
}

// Adjust gives a primary, and those it knows, their addresses on the network. It is meant for devcluster.Config.Adjust.
func (n *Network) Adjust(c *primary.Config) { readdress(c, n.Addr) }

// Addr is the address of a host of the network.
func (n *Network) Addr(name string) string {
	for _, p := range n.ports {
		if p.name == name {
			return p.addr
		}
	}
	return ""
}

// readdress gives a primary, and those it knows, the addresses that addr tells for their names, "" for those without one.
// Ports stay.
func readdress(c *primary.Config, addr func(name string) string) {
	address := func(name, hostport string) string {
		_, number, err := net.SplitHostPort(hostport)
		if host := addr(name); err == nil && host != "" {
			return net.JoinHostPort(host, number)
		}
		return hostport // Validate will say what is wrong with it
	}
	one := func(name, s string) string {
		u, err := url.Parse(s)
		if err != nil {
			return s
		}
		u.Host = address(name, u.Host)
		return u.String()
	}
	all := func(m map[string]string) map[string]string {
		out := map[string]string{}
		for name, u := range m {
			out[name] = one(name, u)
		}
		return out
	}
	c.DNS.Listen = []string{address(c.Name, c.DNS.Listen[0])}
	c.Admin.Listen = address(c.Name, c.Admin.Listen)
	c.Admin.Peers = all(c.Admin.Peers)
	c.Etcd.PeerURL = one(c.Name, c.Etcd.PeerURL)
	c.Etcd.ClientURL = one(c.Name, c.Etcd.ClientURL)
	c.Etcd.InitialCluster = all(c.Etcd.InitialCluster)
	c.Etcd.PeerClientURLs = all(c.Etcd.PeerClientURLs)
}

func (n *Network) close() {
	for _, p := range n.ports {
		if p.tun != nil {
			_ = p.tun.Close()
		}
	}
	n.receivers.Wait() // nothing is sent to a queue any more
	for _, p := range n.ports {
		close(p.queue)
		if p.ns != nil {
			_ = p.ns.Close()
		}
	}
	n.deliverers.Wait()
}

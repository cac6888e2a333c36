package foreign

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	primaries = "192.0.2.1"  // the cluster, as the examples know it
	own       = "192.0.2.53" // the secondary
	patience  = 5 * time.Second
)

// sources are addresses that NOTIFY comes from, a different one each time: none of them is the primaries'.
func sources() []string { return []string{"198.51.100.1", "198.51.100.2", "203.0.113.7"} }

// site is where one foreign server lives: a network namespace of its own, in which it has the addresses and the ports of its
// example, the cluster answers at the primaries' address, and nobody else is. Messages between it and the cluster pass through
// sockets of the test, unchanged. Needs root; the namespace goes with the process.
type site struct {
	t  *testing.T
	ns *harness.Namespace
}

func newSite(t *testing.T, c *harness.Cluster) *site {
	t.Helper()
	s := &site{t: t, ns: harness.Place(t, append(sources(), primaries, own)...)}
	s.ns.Door(t, primaries, c.Backends())
	return s
}

// door is an address outside at which the foreign server is reached over UDP.
type door struct {
	s    *site
	conn *net.UDPConn

	mu   sync.Mutex
	turn map[string]int // how often a zone was told of
	told []*told
}

// told is a NOTIFY that came to a door.
type told struct {
	zone     string
	serial   uint32         // in its answer section
	by       netip.AddrPort // the primary that sent it: each has one socket for all
	source   string         // where the server saw it come from
	at       time.Time
	accepted bool
}

// newDoor opens one. Each NOTIFY of a zone goes to the server from the next of the addresses of sources.
func (s *site) newDoor() *door {
	s.t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		s.t.Fatal(err)
	}
	d := &door{s: s, conn: conn, turn: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			buf := make([]byte, dns.MaxMsgSize)
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed at the end of the test
			}
			wg.Go(func() { d.pass(buf[:n], from) })
		}
	})
	s.t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	return d
}

func (d *door) addr() string { return d.conn.LocalAddr().String() }

// pass carries a message in and its answer out.
func (d *door) pass(msg []byte, from netip.AddrPort) {
	d.mu.Lock()
	source := sources()[0]
	var n *told
	if q := new(dns.Msg); q.Unpack(msg) == nil && q.Opcode == dns.OpcodeNotify {
		name := q.Question[0].Name
		source = sources()[d.turn[name]%len(sources())]
		d.turn[name]++
		n = &told{zone: name, serial: soaSerial(q), by: from, source: source, at: time.Now()}
		d.told = append(d.told, n)
	}
	d.mu.Unlock()
	answer, err := d.s.exchange(msg, source)
	if err != nil {
		return // lost, as datagrams are
	}
	if n != nil && binary.BigEndian.Uint16(answer[2:])&0xf == dns.RcodeSuccess {
		d.mu.Lock()
		n.accepted = true
		d.mu.Unlock()
	}
	_, _ = d.conn.WriteToUDPAddrPort(answer, from)
}

// heard gives what came of a zone with a serial or one after it, in the order in which it came.
func (d *door) heard(zone string, serial uint32) []told {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []told
	for _, n := range d.told {
		if n.zone == zone && n.serial >= serial {
			out = append(out, *n)
		}
	}
	return out
}

// accepted counts the addresses that an accepted NOTIFY of a zone came from.
func (d *door) accepted(zone string) int {
	from := map[string]bool{}
	for _, n := range d.heard(zone, 0) {
		if n.accepted {
			from[n.source] = true
		}
	}
	return len(from)
}

// senders counts the primaries that have told of a zone with a serial or one after it.
func (d *door) senders(zone string, serial uint32) int {
	by := map[netip.AddrPort]bool{}
	for _, n := range d.heard(zone, serial) {
		by[n.by] = true
	}
	return len(by)
}

// exchange sends one datagram to the server from an address of the site, and waits for the answer.
func (s *site) exchange(msg []byte, source string) ([]byte, error) {
	var conn net.Conn
	err := s.ns.Inside(func() (err error) {
		dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
		conn, err = dialer.Dial("udp", own+":53")
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(buf)
	if err == nil && n < 12 {
		err = fmt.Errorf("an answer of %d octets", n)
	}
	return buf[:n], err
}

// run starts a shell script in the site, which ends in exec of the server. Each of dirs is a file system of its own, which
// belongs to user and is kept from one run to the next; /run is empty and has a folder for each server.
func (s *site) run(state string, dirs []string, user, script string) *harness.Process {
	s.t.Helper()
	var setup strings.Builder
	setup.WriteString("set -e\nmount -t tmpfs none /run\n")
	for _, d := range []string{"named", "knot", "nsd", "pdns"} {
		fmt.Fprintf(&setup, "mkdir /run/%s\nchown %s /run/%s\n", d, user, d)
	}
	for _, d := range dirs {
		kept := filepath.Join(state, strings.ReplaceAll(d, "/", "-"))
		if err := os.MkdirAll(kept, 0o755); err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprintf(&setup, "chown %s '%s'\nmount --bind '%s' %s\n", user, kept, kept, d)
	}
	logFile, err := os.CreateTemp(state, "log-")
	if err != nil {
		s.t.Fatal(err)
	}
	defer logFile.Close()
	cmd := exec.Command("nsenter", append(s.ns.Enter()[1:], "unshare", "--mount", "sh", "-c", setup.String()+script)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return harness.StartProcess(s.t, cmd, logFile.Name())
}

// soaSerial is the serial of an answer or a NOTIFY; 0 without a SOA.
func soaSerial(m *dns.Msg) uint32 {
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}

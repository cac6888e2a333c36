package propagation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/devcluster/relay"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	floodLength = 600 // questions; a burst that the limit of 50 a second does not cover
	floodChunk  = 20  // of them at once: far less than a socket's buffer holds
	// limited is how many full answers a client gets at most: a second's worth at once, and those of the seconds that a flood
	// may take on a loaded machine. Without a limit it would be all.
	limited = floodLength / 2

	flooder   = "127.0.0.1"
	bystander = "127.0.2.1" // of another /24, which is what BIND counts by
)

// TestRateLimit floods secondaries with one question. Where they see who asks, that client alone is held back, and is told to come
// over TCP; where an address translation hides it, nobody is.
func TestRateLimit(t *testing.T) {
	const whole = "127.0.0.0/8"
	proxyListen := namedtest.FreePort(t).String()
	c := harness.Start(t, func(cfg *devcluster.Config) {
		cfg.Primaries, cfg.Secondaries = 1, 3
		cfg.AdjustSecondary = func(s *secondary.Config) {
			switch s.Name {
			case "secondary-0": // as it is installed behind a load balancer or an address translation
				s.Named.Path = namedtest.Get(t, "9.20").Named
			case "secondary-1":
				s.DNS.ClientAddresses = "preserved"
				s.Named.Path = namedtest.Get(t, "9.18").Named
			case "secondary-2": // behind a front that tells the clients' addresses
				s.DNS.ClientAddresses = "preserved"
				s.Named.Path = namedtest.Get(t, "9.20").Named
				s.DNS.ListenProxy, s.DNS.ProxyFrom = []string{proxyListen}, []netip.Prefix{netip.MustParsePrefix(whole)}
			}
		}
	})
	t.Run("hidden", func(t *testing.T) {
		c := c.For(t)
		hidden := clients{t: t, to: translated(t, c, "secondary-0"), plain: c.Secondary("secondary-0").DNS}
		// Four clients at once: to the secondary they are one.
		for i := range 4 {
			got := hidden.flood(fmt.Sprintf("127.0.%d.1", i+1), floodLength/4, true)
			if got.full != floodLength/4 {
				t.Errorf("client %d: %v", i, got)
			}
		}
		c.Ready("secondary-0")
	})
	t.Run("preserved", func(t *testing.T) {
		at := c.Secondary("secondary-1").DNS
		heldBack(c.For(t), clients{t: t, to: at, plain: at}, "secondary-1")
	})
	t.Run("preserved by PROXY", func(t *testing.T) {
		heldBack(c.For(t), clients{t: t, to: proxyListen, plain: c.Secondary("secondary-2").DNS, proxied: true}, "secondary-2")
	})
	c.CheckLogs()
}

// heldBack: the one that floods gets part of its answers, the others all of theirs.
func heldBack(c *harness.Cluster, from clients, server string) {
	t := from.t
	t.Helper()
	got := from.flood(flooder, floodLength, false)
	t.Logf("%s: %v", server, got)
	if got.full == 0 || got.full > limited {
		t.Errorf("%d of %d questions got a full answer, wanted some, at most %d", got.full, floodLength, limited)
	}
	// slip 2: of what is over the limit every other answer is a truncated one, the rest are none.
	over := floodLength - got.full
	if got.truncated < over/3 || got.silent < over/3 {
		t.Errorf("of %d questions over the limit %d got a truncated answer and %d none", over, got.truncated, got.silent)
	}
	if other := from.flood(bystander, floodChunk, true); other.full != floodChunk {
		t.Errorf("another client: %v", other)
	}
	resp, err := harness.Asker{Timeout: 5 * time.Second}.Ask(t.Context(), "tcp", from.plain, floodName, dns.TypeSOA)
	if err != nil || len(resp.Answer) != 1 {
		t.Errorf("over TCP: %v, %v", resp, err)
	}
	c.Ready(server)
}

// translated gives an address in front of a secondary from which nobody's own address gets through.
func translated(t *testing.T, c *harness.Cluster, server string) string {
	t.Helper()
	cfg := relay.DefaultConfig()
	cfg.Listen = namedtest.FreePort(t)
	cfg.Backends = []relay.Backend{{Name: server, DNS: netip.MustParseAddrPort(c.Secondary(server).DNS), Check: c.Admin[server].Ready}}
	r, err := relay.Start(cfg)
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	c.Until(10*time.Second, "the way through the translation", func(ctx context.Context) error {
		_, err := harness.Serial(ctx, cfg.Listen.String(), floodName)
		return err
	})
	return cfg.Listen.String()
}

const floodName = "example.test."

// clients ask one secondary.
type clients struct {
	t       *testing.T
	to      string // where UDP goes
	plain   string // where TCP goes
	proxied bool   // each question comes with a PROXY header that has the client's address
}

// tally is what a client got for its questions.
type tally struct{ full, truncated, silent int }

func (a tally) String() string {
	return fmt.Sprintf("%d full answers, %d truncated, %d none", a.full, a.truncated, a.silent)
}

// flood asks the same question n times from one address. patient: each is waited for, so that a loaded machine loses none.
func (cl clients) flood(from string, n int, patient bool) tally {
	cl.t.Helper()
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	if cl.proxied { // by the front
		local = nil
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(cl.to)))
	must(cl.t, err)
	defer conn.Close()
	pause := 20 * time.Millisecond
	if patient {
		pause = 2 * time.Second
	}
	got := tally{silent: n}
	answered := make([]bool, n)
	for i := range n {
		_, err := conn.Write(cl.question(from, uint16(i)))
		must(cl.t, err)
		if i%floodChunk == floodChunk-1 || i == n-1 {
			got.read(cl.t, conn, answered, n-1-i, pause)
			if patient && got.silent > n-1-i {
				return got
			}
		}
	}
	got.read(cl.t, conn, answered, 0, time.Second) // what is late
	return got
}

// question is one, which its ID tells from the others.
func (cl clients) question(from string, id uint16) []byte {
	m := new(dns.Msg)
	m.SetQuestion(floodName, dns.TypeSOA)
	m.Id, m.RecursionDesired = id, false
	wire, err := m.Pack()
	must(cl.t, err)
	if !cl.proxied {
		return wire
	}
	client := netip.AddrPortFrom(netip.MustParseAddr(from), 4000)
	return append(proxyproto.Append(nil, client, netip.MustParseAddrPort(cl.to), true, nil, time.Now(), wire), wire...)
}

// read takes answers until no more than left questions have none, or none has come for the time of quiet.
func (a *tally) read(t *testing.T, conn *net.UDPConn, answered []bool, left int, quiet time.Duration) {
	t.Helper()
	buf := make([]byte, 4096)
	for a.silent > left {
		must(t, conn.SetReadDeadline(time.Now().Add(quiet)))
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		must(t, err)
		id := int(binary.BigEndian.Uint16(buf))
		if n < 12 || id >= len(answered) || answered[id] {
			t.Fatalf("an answer that was not asked for: %x", buf[:n])
		}
		answered[id] = true
		a.silent--
		if binary.BigEndian.Uint16(buf[2:])&(1<<9) != 0 { // TC
			a.truncated++
		} else if binary.BigEndian.Uint16(buf[6:]) == 1 {
			a.full++
		}
	}
}

package notify

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// source is a primary that hands out a zone with the serial of the moment, and counts who asks.
type source struct {
	addr   netip.AddrPort
	serial atomic.Uint32
	asked  atomic.Int32 // SOA questions
	handed chan uint32  // serials of transfers
}

func newSource(t *testing.T) *source {
	s := &source{handed: make(chan uint32, 100)}
	s.serial.Store(1)
	// Not the address that NOTIFY comes from: named would take that one without a key.
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenPacket("udp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, srv := range []*dns.Server{{Listener: l, Handler: s}, {PacketConn: pc, Handler: s}} {
		go func() { _ = srv.ActivateAndServe() }()
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return s
}

// ServeDNS implements dns.Handler.
func (s *source) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	serial := s.serial.Load()
	soa, err := dns.NewRR(fmt.Sprintf("example.test. 60 IN SOA ns.test. hostmaster.test. %d 3600 3600 36000 60", serial))
	if err != nil {
		return
	}
	ns, _ := dns.NewRR("example.test. 60 IN NS ns.test.")
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	m.Answer = []dns.RR{soa}
	if t := q.Question[0].Qtype; t == dns.TypeAXFR || t == dns.TypeIXFR {
		m.Answer = append(m.Answer, ns, soa)
		s.handed <- serial
	} else {
		s.asked.Add(1)
	}
	_ = w.WriteMsg(m)
}

// startSecondary runs a named that transfers example.test from src and takes NOTIFY with the key, from anywhere.
func startSecondary(t *testing.T, rel namedtest.Release, src netip.AddrPort, k tsig.Key) netip.AddrPort {
	t.Helper()
	dir, addr := namedtest.Dir(t), namedtest.FreePort(t)
	conf := fmt.Sprintf(`key "k.test" { algorithm hmac-sha256; secret %q; };
options {
	directory %q; pid-file none; session-keyfile none;
	listen-on port %d { %s; }; listen-on-v6 { none; };
	recursion no; notify no; dnssec-validation no; empty-zones-enable no;
};
controls { };
zone "example.test" { type secondary; file "example.db"; primaries { %s port %d; }; allow-notify { key "k.test"; }; };
`, base64.StdEncoding.EncodeToString(k.Secret), dir, addr.Port(), addr.Addr(), src.Addr(), src.Port())
	path := filepath.Join(dir, "named.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), rel.Named, "-f", "-c", path) //nolint:gosec // the path is the test's own
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // t.Context has ended: it is dead already
		_ = cmd.Wait()
	})
	return addr
}

// A BIND that knows this sender by its key alone, whatever its address, refreshes at once when the serial is new, asks nothing
// when it has it, and says so when the key is wrong.
func TestNamedTakesNotify(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		k := key(t, "k.test.", "0123456789abcdef")
		src := newSource(t)
		addr := startSecondary(t, rel, src.addr, k)
		x := Target{Addr: addr, Key: k.Name}
		r := newRig(t, func(c *Config) {
			c.Keys, c.Retries = tsig.Ring{k.Name: {k}}, DefaultConfig().Retries
		})
		r.Lead(true)
		select {
		case <-src.handed:
		case <-time.After(30 * time.Second):
			t.Fatal("named does not transfer the zone")
		}
		for serial := uint32(2); serial < 20; serial++ {
			src.serial.Store(serial)
			began := time.Now()
			r.Announce(example, soaOf(example, serial), []Target{x})
			for got := uint32(0); got != serial; {
				select {
				case got = <-src.handed:
				case <-time.After(patience):
					t.Fatalf("serial %d is not transferred", serial)
				}
			}
			t.Logf("serial %d is transferred %s after the change", serial, time.Since(began).Round(10*time.Microsecond))
		}
		eventually(t, func() error { // what comes while it transfers makes it ask once more
			q := new(dns.Msg)
			q.SetQuestion("example.test.", dns.TypeSOA)
			a, err := dns.Exchange(q, addr.String())
			if err != nil || len(a.Answer) != 1 || a.Answer[0].(*dns.SOA).Serial != src.serial.Load() {
				return fmt.Errorf("named serves %v, %w", a, err)
			}
			return nil
		})
		// Another primary, which does not know what this one has said.
		asked := src.asked.Load()
		other := newRig(t, func(c *Config) { c.Keys = tsig.Ring{k.Name: {k}} })
		other.Lead(true)
		other.Announce(example, soaOf(example, src.serial.Load()), []Target{x})
		eventually(t, func() error {
			if got, _ := other.Acknowledged(example, x); got != src.serial.Load() {
				return fmt.Errorf("serial %d is acknowledged", got)
			}
			return nil
		})
		for _, stranger := range []struct {
			key  tsig.Key
			says string
		}{{key(t, "k.test.", "another secret"), "BADSIG"}, {key(t, "j.test.", "0123456789abcdef"), "BADKEY"}, {tsig.Key{}, "REFUSED"}} {
			r := newRig(t, func(c *Config) { c.Keys = tsig.Ring{stranger.key.Name: {stranger.key}} })
			r.Lead(true)
			r.Announce(example, soaOf(example, src.serial.Load()+1), []Target{{Addr: addr, Key: stranger.key.Name}})
			r.logged(stranger.says)
		}
		if n := src.asked.Load() - asked; n != 0 {
			t.Errorf("named asked for the serial %d times although no NOTIFY gave it a reason", n)
		}
	})
}

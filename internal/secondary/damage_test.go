package secondary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestDamagedFile: a bit that is flipped in a zone's file, which BIND loads, reaches no client, whether the secondary had ended in
// order or not. It is told, and the zone is transferred anew.
func TestDamagedFile(t *testing.T) {
	c := harness.Start(t, func(cfg *devcluster.Config) { cfg.Primaries, cfg.Secondaries = 1, 0 })
	p := register(t, c, "secondary-0", namedtest.Get(t, "9.20"))
	w := newWriter(t, c)
	name, addr := w.write("example.test")
	p.start()
	p.ready()
	p.answers(name, addr)
	soa := p.soa("example.test.")
	timers := binary.BigEndian.AppendUint32(nil, soa.Serial)
	timers = binary.BigEndian.AppendUint32(timers, soa.Refresh)

	for _, d := range []struct {
		what   string
		crash  bool
		told   string
		octets []byte
		at     int
		bit    byte
	}{
		{"address", false, "were damaged on disk", []byte{192, 0, 2, 1}, 3, 2},
		{"serial", false, "were damaged on disk", timers, 0, 0x40},
		{"address after a crash", true, "differed from the primaries'", []byte{192, 0, 2, 1}, 3, 2},
		{"serial after a crash", true, "which the primaries never had", timers, 0, 0x40},
	} {
		t.Run(d.what, func(t *testing.T) {
			p.signal(syscall.SIGTERM)
			<-p.ended
			if d.crash { // after named has written the file, and before anybody has looked at it
				if err := os.Remove(filepath.Join(p.cfg.Dir, "named", ".zonekeeper-files")); err != nil {
					t.Fatal(err)
				}
			}
			p.damage("example.test", d.octets, d.at, d.bit)
			stopped := p.neverWrong(t, name, addr, soa.Serial)
			p.start()
			p.reports("the damage is told", func(st *adminapi.SecondaryStatus) error {
				if !strings.Contains(strings.Join(st.Problems, "\n"), d.told) {
					return fmt.Errorf("problems %q", st.Problems)
				}
				return nil
			})
			t.Logf("served again after %s", p.answers(name, addr).Round(time.Millisecond))
			p.until(patience, "the serial is right", func(context.Context) error {
				if got := p.soa("example.test."); got.Serial != soa.Serial {
					return fmt.Errorf("serial %d, want %d", got.Serial, soa.Serial)
				}
				return nil
			})
			p.ready()
			if n := stopped(); n == 0 {
				t.Error("no answer was looked at")
			}
		})
	}
	p.answers(w.write("example.test")) // it follows
}

// neverWrong asks for a name and the zone's serial, until the returned function is called, which counts the answers. An answer with another
// content fails the test; none at all, or one that says that the zone is not served, does not.
func (p *process) neverWrong(t *testing.T, name, addr string, serial uint32) (stop func() (answers int)) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var count atomic.Int64
	go func() {
		defer close(ended)
		asker := harness.Asker{Timeout: 200 * time.Millisecond}
		for ctx.Err() == nil {
			for _, q := range []struct {
				name  string
				qtype uint16
			}{{name, dns.TypeA}, {"example.test.", dns.TypeSOA}} {
				m, err := asker.Ask(ctx, "udp", p.cfg.DNS.Listen[0], q.name, q.qtype)
				if err != nil || m.Rcode == dns.RcodeRefused || m.Rcode == dns.RcodeServerFailure {
					continue
				}
				count.Add(1)
				right := false
				if len(m.Answer) == 1 {
					switch rr := m.Answer[0].(type) {
					case *dns.A:
						right = rr.A.String() == addr
					case *dns.SOA:
						right = rr.Serial == serial
					}
				}
				if !right {
					t.Errorf("a client was answered at %s:\n%v", time.Now().Format(time.StampMilli), m)
					cancel() // one is enough
				}
			}
		}
	}()
	return func() int {
		// A question that was asked before somebody answered waits for its time limit: the next one sees what is served now.
		p.until(patience, "an answer is looked at", func(context.Context) error {
			if count.Load() == 0 {
				return errors.New("none yet")
			}
			return nil
		})
		cancel()
		<-ended
		return int(count.Load())
	}
}

func (p *process) soa(origin string) *dns.SOA {
	p.t.Helper()
	m, err := harness.Asker{Timeout: time.Second}.Ask(p.t.Context(), "udp", p.cfg.DNS.Listen[0], origin, dns.TypeSOA)
	if err != nil || len(m.Answer) != 1 {
		p.t.Fatalf("SOA of %s: %v, %v", origin, m, err)
	}
	return m.Answer[0].(*dns.SOA)
}

// damage turns over a bit of the octet that is so far behind the beginning of those in the file of a zone.
func (p *process) damage(member string, octets []byte, at int, bit byte) {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.cfg.Dir, "named", "members", "*"+member+".db"))
	if err != nil || len(files) != 1 {
		p.t.Fatalf("files of %s: %v, %v", member, files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		p.t.Fatal(err)
	}
	i := bytes.Index(b, octets)
	if i < 0 {
		p.t.Fatalf("%x is not in the file", octets)
	}
	b[i+at] ^= bit
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

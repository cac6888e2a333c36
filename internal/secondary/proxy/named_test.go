package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/secondary/guard"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// TestNamed: a real secondary follows real primaries through the proxy, with TSIG,
// while they fail.
func TestNamed(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		g := newRig(t, rel, 3, map[string]string{"example.test": withHosts(100)}, nil)
		g.run(rel, g.k, secondaryZone, func() {
			serial := uint32(7)
			served := func() bool { s, ok := g.secondary.serial("example.test."); return ok && s == serial }
			until(t, "the first transfer", served)
			until(t, "its end", func() bool { return slices.Equal(g.takeDone(), []Kind{Full}) })
			// change updates some of the primaries and tells the secondary until it has the change.
			change := func(what string, at ...int) time.Duration {
				t.Helper()
				serial++
				for _, i := range at {
					g.primaries[i].update(g.k, "example.test.", fmt.Sprintf("h%d.example.test. 60 A 192.0.2.1", serial))
				}
				start := time.Now()
				var told time.Time
				for !served() {
					if time.Since(told) > 200*time.Millisecond {
						g.secondary.notify("example.test.")
						told = time.Now()
					}
					if time.Since(start) > patience {
						t.Fatalf("%s: serial %d not served within %v; %v", what, serial, patience, g.failed)
					}
					time.Sleep(2 * time.Millisecond) // between two looks
				}
				took := time.Since(start)
				t.Logf("%s: %v", what, took.Round(time.Millisecond))
				return took
			}
			fast := func(what string, limit time.Duration, at ...int) {
				t.Helper()
				if took := change(what, at...); took > limit {
					t.Errorf("%s: %v", what, took)
				}
			}
			const limit = 3 * time.Second // 0.3 s a question when nothing else runs here; BIND alone needs 30 s

			fast("all are well", limit, 0, 1, 2)
			if d := g.takeDone(); !slices.Contains(d, Incremental) || slices.Contains(d, Full) {
				t.Errorf("transfers %v, want differences", d)
			}

			g.primaries[0].signal(syscall.SIGSTOP)
			fast("the best one hangs", limit, 1, 2)
			g.primaries[0].signal(syscall.SIGCONT)
			until(t, "the stopped one is back", func() bool { _, ok := g.primaries[0].serial("example.test."); return ok })
			if !g.hasFailed(ErrSlow) {
				t.Errorf("failures %v", g.failed)
			}

			g.first(0)
			fast("the best one is behind", limit, 1, 2)
			if !g.hasFailed(ErrBehind) {
				t.Errorf("failures %v", g.failed)
			}

			hole := blackHoleAddr(t)
			g.mu.Lock()
			right := g.addrs[0]
			g.addrs[0] = hole
			g.mu.Unlock()
			g.first(0)
			fast("the best one is a black hole", limit, 1, 2)
			if !g.hasFailed(ErrSlow) {
				t.Errorf("failures %v", g.failed)
			}
			g.mu.Lock()
			g.addrs[0] = right
			g.mu.Unlock()

			g.first(1)
			g.primaries[1].kill()
			fast("the best one is killed", limit, 2)
			if !g.hasFailed(ErrUnreachable) {
				t.Errorf("failures %v", g.failed)
			}
			if d := g.takeDone(); slices.Contains(d, Full) {
				t.Errorf("transfers %v, want differences", d)
			}

			g.first(0) // it lacks three changes: with the last good one gone nothing may go back
			g.primaries[2].kill()
			g.secondary.notify("example.test.")
			until(t, "the old one is found out", func() bool { return g.hasFailed(ErrBehind) })
			if !served() {
				t.Error("the secondary went back")
			}
		})
		if strings.Contains(g.secondary.log.String(), "BADSIG") || strings.Contains(g.secondary.log.String(), "tsig verify failure") {
			t.Error("a signature did not survive")
		}
	})
}

// blackHoleAddr is an address that drops every SYN: a socket whose queue of
// connections is full.
func blackHoleAddr(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 10 {
		d := net.Dialer{Timeout: 200 * time.Millisecond}
		c, err := d.DialContext(t.Context(), "tcp", addr.String())
		if err != nil {
			return addr // full
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill up")
	return addr
}

// TestNamedLarge: the primary of a transfer that is longer than what is kept back
// hangs in the middle and stops being live; the secondary gets the zone from another.
func TestNamedLarge(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		g := newRig(t, rel, 2, map[string]string{"example.test": withHosts(60_000)}, nil) // 1.6 MB
		stuck := make(chan struct{})
		g.addrs[0] = stalling(t, g.addrs[0], 1_300_000, stuck)
		g.run(rel, g.k, secondaryZone, func() {
			select {
			case <-stuck:
			case <-time.After(patience):
				t.Fatal("the transfer does not come so far")
			}
			g.mu.Lock()
			gone := g.gone[0]
			g.gone[0] = nil
			g.mu.Unlock()
			close(gone)
			until(t, "the failure is told", func() bool { return g.hasFailed(ErrGone) })
			told := time.Now()
			until(t, "the zone from the other primary", func() bool {
				if time.Since(told) > 500*time.Millisecond {
					g.secondary.notify("example.test.")
					told = time.Now()
				}
				_, ok := g.secondary.serial("example.test.")
				return ok
			})
			r, err := g.secondary.exchange(new(dns.Msg).SetQuestion("host-59999.example.test.", dns.TypeA), patience)
			if err != nil || len(r.Answer) != 1 {
				t.Errorf("the last record: %v, %v", r, err)
			}
		})
	})
}

// stalling is a relay that passes so many octets of each connection's answers on and
// then nothing more. stuck is closed when that happens first.
func stalling(t *testing.T, to netip.AddrPort, limit int64, stuck chan struct{}) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var once sync.Once
	serve := func(c net.Conn) {
		defer c.Close()
		up, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			if n, _ := io.CopyN(c, up, limit); n == limit {
				once.Do(func() { close(stuck) })
			}
		}()
		_, _ = io.Copy(up, c) // until the proxy closes the connection
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TestNamedWrongSecret: the failure says what is wrong, and the primary's own words
// reach the secondary.
func TestNamedWrongSecret(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		g := newRig(t, rel, 2, map[string]string{"example.test": smallZone}, nil)
		g.run(rel, testKey(t, "another secret of the same length"), secondaryZone, func() {
			until(t, "the failure is told", func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return slices.ContainsFunc(g.failed, func(err error) bool {
					var answer *AnswerError
					return errors.As(err, &answer) && answer.TSIG == tsig.BadSig && answer.RCode == rcodeNotAuth
				})
			})
			until(t, "the secondary says so", func() bool {
				log := g.secondary.log.String()
				return strings.Contains(log, "BADSIG") || strings.Contains(log, "tsig indicates error")
			})
			if _, ok := g.secondary.serial("example.test."); ok {
				t.Error("the zone is served")
			}
		})
	})
}

// TestNamedCatalog: the members of a catalog appear through the proxy, and a mass
// removal waits for a confirmation while the members are served.
func TestNamedCatalog(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		const members = 8
		zones := map[string]string{}
		text := "$TTL 60\n@ SOA invalid. invalid. 7 3600 600 86400 0\n@ NS invalid.\nversion TXT \"2\"\n"
		for i := range members {
			zones[fmt.Sprintf("m%d.test", i)] = smallZone
			text += fmt.Sprintf("u%d.zones PTR m%d.test.\n", i, i)
		}
		zones["catalog.invalid"] = text
		name := zone.MustParseName("catalog.invalid.")
		var mu sync.Mutex
		var confirmed uint32
		var held []guard.Verdict
		watch := guard.New(guard.DefaultConfig(), 0, nil, nil)
		g := newRig(t, rel, 2, zones, func(_ *rig, c *Config) {
			c.Catalog = name
			c.Screen = func(q []byte, msgs [][]byte) error {
				mu.Lock()
				defer mu.Unlock()
				changes, err := xfr.Decode(q, msgs)
				if err != nil {
					return err
				}
				v, err := watch.Judge(name, changes, confirmed, time.Now())
				if err != nil {
					return err
				}
				if !v.Pass {
					held = append(held, v)
					return errors.New(v.Reason)
				}
				return nil
			}
		})
		conf := `zone "catalog.invalid" { type secondary; primaries { PROXY; }; file "catalog.db"; };`
		opts := `catalog-zones { zone "catalog.invalid" default-primaries { PROXY; } min-update-interval 0s; };`
		g.runWith(rel, g.k, opts, conf, func() {
			all := func(n int) func() bool {
				return func() bool {
					for i := range members {
						if _, ok := g.secondary.serial(fmt.Sprintf("m%d.test.", i)); ok != (i < n) {
							return false
						}
					}
					return true
				}
			}
			until(t, "all members are served", all(members))
			var gone []string
			for i := 2; i < members; i++ {
				gone = append(gone, fmt.Sprintf("-u%d.zones.catalog.invalid. 60 PTR m%d.test.", i, i))
			}
			for _, s := range g.primaries {
				s.update(g.k, "catalog.invalid.", gone...)
			}
			heldNow := func() int { mu.Lock(); defer mu.Unlock(); return len(held) }
			g.secondary.notify("catalog.invalid.")
			until(t, "the removal is held", func() bool { return heldNow() > 0 })
			mu.Lock()
			if v := held[0]; v.Serial != 8 || v.Removed != 6 || v.Members != members {
				t.Errorf("%+v", v)
			}
			mu.Unlock()
			if !all(members)() {
				t.Error("members are gone although the catalog is held")
			}
			// Members are updated meanwhile.
			for _, s := range g.primaries {
				s.update(g.k, "m7.test.", "new.m7.test. 60 A 192.0.2.7")
			}
			g.secondary.notify("m7.test.")
			until(t, "a member is updated", func() bool { s, _ := g.secondary.serial("m7.test."); return s == 8 })
			mu.Lock()
			confirmed = 8
			mu.Unlock()
			g.secondary.notify("catalog.invalid.")
			until(t, "the confirmed removal is obeyed", all(2))
		})
	})
}

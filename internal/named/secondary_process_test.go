package named_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// secondaryOf is a secondary without any primary, and its keys.
func secondaryOf(t *testing.T, r namedtest.Release) (named.Config, named.Content) {
	cfg := config(t, r)
	cfg.Dir = filepath.Join(cfg.Dir, "named")
	proxy := namedtest.FreePort(t)
	cfg.Secondary = &named.SecondaryConf{
		Proxy: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.54"), proxy.Port()), Key: name("secondary-0."), Catalog: name("catalog.invalid."),
	}
	key, err := tsig.NewKey(tsig.Key{Name: name("secondary-0."), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, func(context.Context, uint64) (named.Initial, error) {
		return named.Initial{Keys: []tsig.Key{key}}, nil
	}
}

// TestNotifyOfASecondary: only its proxy's address is believed.
func TestNotifyOfASecondary(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		cfg, content := secondaryOf(t, r)
		sights := make(chan named.Sighting, 16)
		cfg.Secondary.Saw = func(x named.Sighting) { sights <- x }
		s := startWith(t, cfg, content).session(t, 0)
		for _, tc := range []struct {
			from, zone string
			rcode      uint16
		}{
			{"127.0.0.54", "catalog.invalid.", 0},
			{"127.0.0.77", "catalog.invalid.", named.RCodeRefused},
			{"127.0.0.54", "unknown.test.", named.RCodeNotAuth},
		} {
			err := s.Notify(t.Context(), netip.MustParseAddr(tc.from), name(tc.zone), 7)
			var refused *named.RCodeError
			if errors.As(err, &refused); (err == nil) != (tc.rcode == 0) || err != nil && (refused == nil || refused.RCode != tc.rcode) {
				t.Errorf("NOTIFY of %s from %s: %v, want RCODE %d", tc.zone, tc.from, err, tc.rcode)
			}
		}
		stranger, err := tsig.NewKey(tsig.Key{Name: name("secondary-0."), Algorithm: tsig.HMACSHA256, Secret: []byte("fedcba9876543210")})
		if err != nil {
			t.Fatal(err)
		}
		wire := tsig.SignRequest(notify(t, "catalog.invalid."), stranger, time.Now())
		if rcode := rcodeOf(t, cfg.Listen[0], wire); rcode != named.RCodeNotAuth {
			t.Errorf("a NOTIFY with a wrong secret: RCODE %d, want %d", rcode, named.RCodeNotAuth)
		}
		// What concerns nobody comes before the last of these, and is not among them.
		for _, want := range []named.Sighting{
			{Kind: named.ForeignNotify, Zone: "catalog.invalid", Shown: true},
			{Kind: named.BadSignature, Shown: true},
		} {
			select {
			case x := <-sights:
				t.Log(x.Text)
				if x.Text = ""; x != want {
					t.Errorf("named saw %+v, want %+v", x, want)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("named saw nothing, want %+v", want)
			}
		}
		if err := s.Retransfer(t.Context(), name("catalog.invalid.")); err != nil {
			t.Error(err)
		}
		if err := s.Retransfer(t.Context(), name("unknown.test.")); err == nil {
			t.Error("an unknown zone is transferred anew")
		}
	})
}

// notify is a NOTIFY of a zone.
func notify(t *testing.T, zone string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetNotify(zone)
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// rcodeOf sends a message to a server over TCP and gives the RCODE of its answer.
func rcodeOf(t *testing.T, server netip.AddrPort, wire []byte) uint16 {
	t.Helper()
	conn, err := dns.DialTimeout("tcp", server.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(wire); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, dns.MaxMsgSize)
	if n, err := conn.Read(answer); err != nil || n < 12 {
		t.Fatalf("%d octets, %v", n, err)
	}
	return binary.BigEndian.Uint16(answer[2:]) & 0xf
}

// TestASecondaryKeepsItsDirectory: over a restart, unless named does not come up with it.
func TestASecondaryKeepsItsDirectory(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		cfg, content := secondaryOf(t, r)
		// It ends at once as long as there is poison, as a named does that trips over a file.
		poison := filepath.Join(cfg.Dir, "members", "poison")
		wrapper := filepath.Join(t.TempDir(), "named")
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != -V ] && [ -e '%s' ] && { echo 'general: critical: poisoned' >&2; exit 1; }\nexec '%s' \"$@\"\n", poison, cfg.Path)
		if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		cfg.Path = wrapper
		run := startWith(t, cfg, content)
		first := run.session(t, 0)
		kept := filepath.Join(cfg.Dir, "members", "kept")
		if err := os.WriteFile(kept, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		run.Restart(first.Incarnation(), "test")
		second := run.session(t, first.Incarnation())
		if _, err := os.Stat(kept); err != nil {
			t.Errorf("after a restart: %v", err)
		}

		if err := os.WriteFile(poison, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		run.Restart(second.Incarnation(), "test")
		third := run.session(t, second.Incarnation())
		if n := third.Incarnation() - second.Incarnation(); n != 4 {
			t.Errorf("it came up at start %d after the poison, want 4", n)
		}
		if _, err := os.Stat(kept); err == nil {
			t.Error("the directory is not new")
		}
		if _, err := os.Stat(filepath.Join(cfg.Dir+".damaged", "members", "poison")); err != nil {
			t.Errorf("the evidence: %v", err)
		}
	})
}

// privileged is a free address on loopback whose port is for root, or for who has been given the right.
func privileged(t *testing.T) netip.AddrPort {
	t.Helper()
	for port := uint16(1023); port > 600; port-- {
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		l, err := net.Listen("tcp", addr.String())
		if err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return addr
		}
	}
	t.Fatal("no port below 1024 can be had on 127.0.0.1: run as root, or with CAP_NET_BIND_SERVICE")
	return netip.AddrPort{}
}

// TestASecondaryListensWhenOpened: with files that nobody vouches for it answers its owner only, until that one has compared them;
// without, or after an orderly end, everybody.
func TestASecondaryListensWhenOpened(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		cfg, content := secondaryOf(t, r)
		public := privileged(t) // named must be able to bind it later as well
		cfg.Listen = append(cfg.Listen, public)
		if u, err := user.Lookup("bind"); err == nil && os.Geteuid() == 0 && strings.HasPrefix(cfg.Path, "/usr/") {
			cfg.User = u.Username                                          // who reaches neither our cache nor others' directories
			if err := os.Chmod(filepath.Dir(cfg.Dir), 0o755); err != nil { //nolint:gosec // it is to be reached
				t.Fatal(err)
			}
		}
		answers := func() bool {
			c, err := net.DialTimeout("tcp", public.String(), patience)
			if err != nil {
				return false
			}
			return c.Close() == nil
		}
		run := startWith(t, cfg, content)
		first := run.session(t, 0)
		if !first.Listening() || !answers() {
			t.Fatalf("an empty secondary does not listen: %t", first.Listening())
		}
		file := filepath.Join(cfg.Dir, "members", "__catz___default_catalog.invalid_a.test.db")
		if err := os.WriteFile(file, []byte("something"), 0o600); err != nil {
			t.Fatal(err)
		}
		run.Restart(first.Incarnation(), "test")
		second := run.session(t, first.Incarnation())
		zones, others := second.Doubtful([]zone.Name{name("a.test."), name("b.test.")})
		if len(zones) != 1 || zones[0] != name("a.test.") || len(others) != 0 {
			t.Errorf("in doubt are %v and %v", zones, others)
		}
		if second.Listening() || answers() {
			t.Errorf("it listens (%t) before it was opened", second.Listening())
		}
		if err := second.Open(t.Context()); err != nil || !second.Listening() || !answers() {
			t.Errorf("opened it does not listen: %v", err)
		}
		run.stop()

		again := startWith(t, cfg, content)
		third := again.session(t, 0)
		if !third.Listening() {
			_, others := third.Doubtful(nil)
			t.Errorf("after an orderly end are in doubt %v", others)
		}
		again.stop()
		if err := os.WriteFile(file, []byte("sOmething"), 0o600); err != nil {
			t.Fatal(err)
		}
		run = startWith(t, cfg, content)
		fourth := run.session(t, 0)
		if zones, _ := fourth.Damaged([]zone.Name{name("a.test.")}); len(zones) != 1 || !fourth.Listening() {
			t.Errorf("damaged are %v", zones)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("the damaged file is still there")
		}

		// A release that keeps no record runs named, and named writes files.
		if err := os.WriteFile(file, []byte("something"), 0o600); err != nil {
			t.Fatal(err)
		}
		run.stop()
		later := time.Now().Add(time.Second)
		if err := errors.Join(os.WriteFile(file, []byte("sOmething"), 0o600), os.Chtimes(filepath.Join(cfg.Dir, "named.conf"), later, later)); err != nil {
			t.Fatal(err)
		}
		fifth := startWith(t, cfg, content).session(t, 0)
		if zones, _ := fifth.Doubtful([]zone.Name{name("a.test.")}); len(zones) != 1 || fifth.Listening() {
			t.Errorf("after another release in doubt are %v", zones)
		}
	})
}

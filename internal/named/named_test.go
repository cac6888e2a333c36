package named_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// patience bounds waits for events in tests; nothing sleeps for it.
const patience = 60 * time.Second

func name(s string) zone.Name { return zone.MustParseName(s) }

// content is a zone's first state: SOA, NS and n address records.
func content(origin string, serial uint32, n int) *zone.Zone {
	o := name(origin)
	z := zone.New(o)
	z.Set(zone.NewRRset(o, zone.TypeSOA, 300, soaData(o, serial)))
	z.Set(zone.NewRRset(o, zone.TypeNS, 300, string(name("ns.invalid"))))
	for i := range n {
		z.Set(zone.NewRRset(name(fmt.Sprintf("h%d.%s", i, origin)), zone.TypeA, 60, string([]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	}
	return z
}

func soaData(o zone.Name, serial uint32) string {
	return zone.SOA{MName: name("ns.invalid"), RName: name("hostmaster.invalid"), Serial: serial, Refresh: 60, Retry: 60, Expire: 3600, Minimum: 60}.Data()
}

type running struct {
	*named.Server
	cfg  named.Config
	stop func()
}

func config(t testing.TB, r namedtest.Release) named.Config {
	cfg := named.DefaultConfig()
	cfg.Path = r.Named
	cfg.Dir = namedtest.Dir(t)
	cfg.Listen = []netip.AddrPort{namedtest.FreePort(t)}
	cfg.Control = namedtest.FreePort(t)
	return cfg
}

// start runs a server with fixed content until the test ends.
func start(t testing.TB, cfg named.Config, keys []tsig.Key, zones ...*zone.Zone) *running {
	t.Helper()
	return startWith(t, cfg, func(context.Context, uint64) (named.Initial, error) {
		return named.Initial{Keys: keys, Zones: func(yield func(named.ZoneConf, *zone.Zone) bool) {
			for _, z := range zones {
				if !yield(named.ZoneConf{Name: z.Origin()}, z) {
					return
				}
			}
		}}, nil
	})
}

func startWith(t testing.TB, cfg named.Config, c named.Content) *running {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := named.New(t.Context(), cfg, c, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	r := &running{Server: s, cfg: cfg, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}}
	t.Cleanup(r.stop)
	return r
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// session waits for an incarnation newer than after.
func (r *running) session(t testing.TB, after uint64) *named.Session {
	t.Helper()
	deadline := time.After(patience)
	for {
		st, changed := r.Watch()
		if s, ok := r.Session(); ok && s.Incarnation() > after {
			return s
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("named is not running: %+v", st)
		}
	}
}

// soa asks until named serves the zone.
func soa(t testing.TB, s *named.Session, origin string) uint32 {
	t.Helper()
	st := s.NewStream()
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		rr, err := st.SOA(ctx, name(origin))
		if err == nil {
			return zone.SOASerial(rr.Data)
		}
		var rc *named.RCodeError
		if !errors.As(err, &rc) {
			t.Fatalf("SOA of %s: %v", origin, err)
		}
	}
}

func soaRR(o zone.Name, serial uint32) zone.RR {
	return zone.RR{Name: o, Type: zone.TypeSOA, Class: zone.ClassIN, TTL: 300, Data: soaData(o, serial)}
}

func TestUpdateAndTransfer(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		z := content("example.test", 100, 1000)
		// What a text file could spoil: odd octets, escapes, upper case, an unknown type, a long TXT, an empty RDATA.
		z.Set(zone.NewRRset(name(`a\.b\\c\"\;\$\000.Example.Test`), zone.TypeTXT, 0, "\x00", "\x04a\"b\\", string(append([]byte{255}, make([]byte, 255)...))))
		z.Set(zone.NewRRset(name("unknown.example.test"), zone.Type(65280), 1<<31-1, "", "\x00\x01"))
		srv := start(t, config(t, r), nil, z)
		s := srv.session(t, 0)
		if got := soa(t, s, "example.test"); got != 100 {
			t.Fatalf("serial %d, want 100", got)
		}
		st := s.NewStream()
		defer st.Close()
		check := func(z *zone.Zone) {
			t.Helper()
			soa, sum, n, err := st.Digest(t.Context(), z.Origin())
			if err != nil {
				t.Fatal(err)
			}
			if sum != z.Digest() || n != z.Records() || zone.SOASerial(soa.Data) != z.Serial() {
				t.Fatalf("named holds %d RRs, serial %d, digest %s; want %d, %d, %s", n, zone.SOASerial(soa.Data), sum, z.Records(), z.Serial(), z.Digest())
			}
		}
		check(z)

		o := z.Origin()
		tx := z.Begin()
		z.Set(zone.NewRRset(o, zone.TypeSOA, 300, soaData(o, 101)))
		z.Set(zone.NewRRset(name("NEW.example.test"), zone.TypeA, 60, "\x01\x02\x03\x04"))
		z.Remove(name("h7.example.test"), zone.TypeA)
		d := tx.Commit()
		del := func(rrs []zone.RR) (out []zone.RR) {
			for _, rr := range rrs[1:] {
				rr.Class = zone.ClassNONE
				out = append(out, rr)
			}
			return out
		}
		updates := append(append([]zone.RR{d.Add[0]}, del(d.Del)...), d.Add[1:]...)
		if err := st.Update(t.Context(), o, d.Del[:1], updates); err != nil {
			t.Fatal(err)
		}
		check(z)
		// The guard: the same message again changes nothing.
		var rc *named.RCodeError
		if err := st.Update(t.Context(), o, d.Del[:1], updates); !errors.As(err, &rc) || rc.RCode != named.RCodeNXRRSet {
			t.Fatalf("second time: %v, want NXRRSET", err)
		}
		check(z)
	})
}

func TestZonesAtRunTime(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		srv := start(t, config(t, r), nil, content("first.test", 1, 3))
		s := srv.session(t, 0)
		soa(t, s, "first.test")
		ctx := t.Context()
		for _, n := range []string{"second.test", `odd\;na\"me\032.test`, "xn--bcher-kva.test", "2.0.192.in-addr.arpa"} {
			if err := s.AddZone(ctx, named.ZoneConf{Name: name(n)}, content(n, 5, 2)); err != nil {
				t.Fatal(err)
			}
			if got := soa(t, s, n); got != 5 {
				t.Errorf("%s: serial %d, want 5", n, got)
			}
		}
		var refused *named.CommandError
		if err := s.AddZone(ctx, named.ZoneConf{Name: name("second.test")}, content("second.test", 6, 2)); !errors.As(err, &refused) || !refused.Exists() {
			t.Errorf("adding it twice: %v", err)
		}
		// A zone of the start and one of run time are alike.
		for _, n := range []string{"first.test", "second.test"} {
			conf := named.ZoneConf{Name: name(n), AllowQuery: `key "later.test."; 192.0.2.0/24`, AllowTransfer: `key later.test.`}
			if err := s.ModifyZone(ctx, conf); err != nil {
				t.Fatal(err)
			}
			if err := s.SetKeys(ctx, nil); err != nil {
				t.Fatal(err)
			}
			soa(t, s, n)
			if err := s.DeleteZone(ctx, name(n)); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteZone(ctx, name(n)); err != nil {
				t.Errorf("deleting it twice: %v", err)
			}
			st := s.NewStream()
			var rc *named.RCodeError
			if _, err := st.SOA(ctx, name(n)); !errors.As(err, &rc) || rc.RCode != named.RCodeRefused {
				t.Errorf("SOA of a deleted zone: %v, want REFUSED", err)
			}
			st.Close()
			if err := s.AddZone(ctx, conf, content(n, 4, 9)); err != nil {
				t.Fatal(err)
			}
			if got := soa(t, s, n); got != 4 {
				t.Errorf("%s: serial %d after it was added again, want 4", n, got)
			}
		}
	})
}

func TestKeysAtRunTime(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		cfg := config(t, r)
		srv := start(t, cfg, nil, content("example.test", 1, 3))
		s := srv.session(t, 0)
		ctx := t.Context()
		conf := named.ZoneConf{Name: name("example.test"), AllowTransfer: `key "tenant.test."`, AllowQuery: `key "tenant.test."`}
		if err := s.ModifyZone(ctx, conf); err != nil {
			t.Fatal(err)
		}
		key, err := tsig.NewKey(tsig.Key{Name: name("tenant.test"), Algorithm: tsig.HMACSHA512, Secret: []byte("0123456789abcdef")})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() error { return transferAs(ctx, cfg.Listen[0], name("example.test"), key) }
		if err := ask(); err == nil {
			t.Fatal("a key that named was never given transfers the zone")
		}
		if err := s.SetKeys(ctx, []tsig.Key{key}); err != nil {
			t.Fatal(err)
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		if err := s.SetKeys(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if err := ask(); err == nil {
			t.Fatal("a removed key still transfers the zone")
		}
	})
}

// I7: an incarnation that dies is replaced by one with the content it is handed, never with leftovers.
func TestDeathAndHang(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, r namedtest.Release) {
		cfg := config(t, r)
		cfg.ProbeInterval, cfg.ProbeTimeout, cfg.ProbeFailures = 50*time.Millisecond, 2*time.Second, 2
		srv := start(t, cfg, nil, content("example.test", 1, 3))
		signal := func(sig syscall.Signal, after uint64) *named.Session {
			t.Helper()
			st, _ := srv.Watch()
			if err := syscall.Kill(st.PID, sig); err != nil {
				t.Fatal(err)
			}
			return srv.session(t, after)
		}
		s := srv.session(t, 0)
		soa(t, s, "example.test")
		if err := s.AddZone(t.Context(), named.ZoneConf{Name: name("leftover.test")}, content("leftover.test", 1, 1)); err != nil {
			t.Fatal(err)
		}
		old := s.NewStream()
		for i, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM} {
			s = signal(sig, s.Incarnation())
			if got := soa(t, s, "example.test"); got != 1 {
				t.Fatalf("after %v: serial %d", sig, got)
			}
			st, _ := srv.Watch()
			if int(st.Exits) != i+1 {
				t.Errorf("after %v: %d exits, want %d", sig, st.Exits, i+1)
			}
			if sig == syscall.SIGSTOP && st.Hangs != 1 {
				t.Errorf("after SIGSTOP: %d hangs, want 1 (%s)", st.Hangs, st.LastExit)
			}
		}
		if _, err := old.SOA(t.Context(), name("example.test")); !errors.Is(err, named.ErrGone) {
			t.Errorf("stream of the first incarnation: %v, want ErrGone", err)
		}
		st := s.NewStream()
		defer st.Close()
		var rc *named.RCodeError
		if _, err := st.SOA(t.Context(), name("leftover.test")); !errors.As(err, &rc) {
			t.Errorf("zone of an earlier incarnation: %v, want REFUSED", err)
		}
	})
}

func TestStopLeavesNoProcess(t *testing.T) {
	srv := start(t, config(t, namedtest.Get(t, "9.20")), nil)
	srv.session(t, 0)
	st, _ := srv.Watch()
	srv.stop()
	if err := syscall.Kill(st.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after an orderly stop: %v", st.PID, err)
	}
	if st, _ := srv.Watch(); st.Phase != named.Down || st.Exits != 0 {
		t.Errorf("state after an orderly stop: %+v", st)
	}
}

func TestStartErrorsSayWhy(t *testing.T) {
	r := namedtest.Get(t, "9.20")
	t.Run("directory of others", func(t *testing.T) {
		cfg := config(t, r)
		if err := os.WriteFile(filepath.Join(cfg.Dir, "precious"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := named.New(t.Context(), cfg, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "precious") {
			t.Errorf("Run: %v, want an error that names the file", err)
		}
	})
	t.Run("missing binary", func(t *testing.T) {
		cfg := config(t, r)
		cfg.Path = "/nonexistent/named"
		if _, err := named.New(t.Context(), cfg, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "install bind9") {
			t.Errorf("New: %v", err)
		}
	})
	t.Run("bad key", func(t *testing.T) {
		// named itself refuses the configuration: its words end up in the state.
		cfg := config(t, r)
		cfg.RestartMin = time.Hour
		srv := start(t, cfg, []tsig.Key{{Name: name("x.test"), Algorithm: 0, Secret: []byte("x")}})
		deadline := time.After(patience)
		for {
			st, changed := srv.Watch()
			if st.Exits > 0 {
				if !strings.Contains(st.LastExit, "algorithm") {
					t.Errorf("LastExit = %q, want named's reason", st.LastExit)
				}
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("no exit: %+v", st)
			}
		}
	})
}

// As root, named runs as another account, and still dies with us.
func TestAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: named runs as this account anyway")
		return
	}
	const account = "nobody"
	// The other release is below this account's home, which others may not enter.
	cfg := config(t, namedtest.Get(t, "9.18"))
	cfg.User = account
	if err := os.Chmod(cfg.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	outer := cfg.Dir
	cfg.Dir = filepath.Join(outer, "run", "named")
	srv := start(t, cfg, nil, content("example.test", 1, 3))
	s := srv.session(t, 0)
	soa(t, s, "example.test")
	if err := s.AddZone(t.Context(), named.ZoneConf{Name: name("second.test")}, content("second.test", 7, 1)); err == nil {
		soa(t, s, "second.test")
	} else {
		t.Error(err)
	}
	if err := s.SetKeys(t.Context(), nil); err != nil {
		t.Error(err)
	}
	state, _ := srv.Watch()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", state.PID))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "\nUid:\t65534\t65534\t") {
		t.Errorf("named does not run as %s:\n%s", account, status)
	}
	srv.stop()

	// A parent directory that the account can't enter.
	cfg.Dir = filepath.Join(outer, "closed", "named")
	if err = os.Mkdir(filepath.Join(outer, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	closed, err := named.New(t.Context(), cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Run below a closed directory: %v, want an error that names it", err)
	}
}

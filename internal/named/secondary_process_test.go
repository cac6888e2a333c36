package named_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
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
		if err := s.Retransfer(t.Context(), name("catalog.invalid.")); err != nil {
			t.Error(err)
		}
		if err := s.Retransfer(t.Context(), name("unknown.test.")); err == nil {
			t.Error("an unknown zone is transferred anew")
		}
	})
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

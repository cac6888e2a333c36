package backends

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// list makes primaries of "name=address" words.
func list(words string) (out []Primary) {
	for _, w := range strings.Fields(words) {
		name, addr, _ := strings.Cut(w, "=")
		if addr == "" {
			addr = name
		}
		out = append(out, Primary{Name: name, Addr: netip.MustParseAddr(addr)})
	}
	return out
}

func TestStatic(t *testing.T) {
	for name, tc := range map[string]struct {
		words, want, err string
	}{
		"sorted by name": {"b=192.0.2.1 a=192.0.2.2", "a=192.0.2.2 b=192.0.2.1", ""},
		"empty":          {"", "", "empty"},
		"twice":          {"a=192.0.2.1 b=192.0.2.3 a=192.0.2.2", "", `"a" is in the list twice`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var got []Primary
			s := Static(list(tc.words))
			err := s.Run(ctx, func(l []Primary) { got = l; cancel() })
			if !slices.Equal(got, list(tc.want)) || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%v, %v", got, err)
			}
			if since, _ := s.Stale(); !since.IsZero() {
				t.Error("a static list is stale")
			}
		})
	}
}

// TestDNS: answers one after another; what is empty or fails changes nothing but that the list is stale.
func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []struct {
			answer string // "!" fails
			list   string // after it
			stale  string // the reason says it; "" is not stale
		}{
			{"!", "", "no such host"},
			{"192.0.2.2 192.0.2.1", "192.0.2.1 192.0.2.2", ""},
			{"192.0.2.1 192.0.2.2 192.0.2.1", "192.0.2.1 192.0.2.2", ""},
			{"", "192.0.2.1 192.0.2.2", "empty"},
			{"!", "192.0.2.1 192.0.2.2", "no such host"},
			{"::ffff:192.0.2.1 2001:db8::1", "192.0.2.1 2001:db8::1", ""},
			{"2001:db8::1", "2001:db8::1", ""},
		}
		turn := 0
		cfg := DefaultDNSConfig()
		cfg.Name, cfg.Logger = "primaries.example", quiet()
		cfg.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			a := answers[turn]
			turn++
			if _, ok := ctx.Deadline(); !ok || name != "primaries.example" {
				t.Errorf("asked for %s, with a deadline: %v", name, ok)
			}
			if a.answer == "!" {
				return nil, errors.New("no such host")
			}
			var out []netip.Addr
			for _, w := range strings.Fields(a.answer) {
				out = append(out, netip.MustParseAddr(w))
			}
			return out, nil
		}
		s := DNS(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var got []Primary
		calls := 0
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func(l []Primary) { got = l; calls++ }) }()
		for i, a := range answers {
			synctest.Wait() // the answer has been dealt with, and the pause begun
			if turn != i+1 {
				t.Fatalf("%d questions, want %d", turn, i+1)
			}
			if !slices.Equal(got, list(a.list)) {
				t.Errorf("after answer %d: %v, want %s", i, got, a.list)
			}
			since, reason := s.Stale()
			if (a.stale == "") != since.IsZero() || (a.stale != "" && !strings.Contains(reason.Error(), a.stale)) {
				t.Errorf("after answer %d: stale since %v: %v", i, since, reason)
			}
			if i < len(answers)-1 {
				pause(ctx, cfg.Every) // the clock of this test moves when everybody waits
			}
		}
		if calls != 3 {
			t.Errorf("set was called %d times, want 3", calls)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestValidate(t *testing.T) {
	never := func([]Primary) { t.Error("a list") }
	for want, s := range map[string]Source{
		"Name: empty":     DNS(DNSConfig{}),
		"Logger: nil":     DNS(DNSConfig{Name: "x"}),
		"TokenFile":       Slices(SlicesConfig{}),
		"not an https://": Slices(SlicesConfig{API: "http://192.0.2.1"}),
	} {
		if err := s.Run(t.Context(), never); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

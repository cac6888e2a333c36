package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	miekg "github.com/miekg/dns"
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
		var mu sync.Mutex // guards what follows
		turn, calls := 0, 0
		var got []Primary
		cfg := DefaultDNSConfig()
		cfg.Name, cfg.Logger = "primaries.example", quiet()
		cfg.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			mu.Lock()
			a := answers[turn]
			turn++
			mu.Unlock()
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
		done := make(chan error, 1)
		go func() {
			done <- s.Run(ctx, func(l []Primary) {
				mu.Lock()
				defer mu.Unlock()
				got = l
				calls++
			})
		}()
		for i, a := range answers {
			synctest.Wait() // the answer has been dealt with, and the pause begun
			mu.Lock()
			if turn != i+1 {
				t.Fatalf("%d questions, want %d", turn, i+1)
			}
			if !slices.Equal(got, list(a.list)) {
				t.Errorf("after answer %d: %v, want %s", i, got, a.list)
			}
			mu.Unlock()
			since, reason := s.Stale()
			if (a.stale == "") != since.IsZero() || (a.stale != "" && !strings.Contains(reason.Error(), a.stale)) {
				t.Errorf("after answer %d: stale since %v: %v", i, since, reason)
			}
			if i < len(answers)-1 {
				pause(ctx, cfg.Every) // the clock of this test moves when everybody waits
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if calls != 3 {
			t.Errorf("set was called %d times, want 3", calls)
		}
	})
}

// TestSystemResolver: half an answer is none.
func TestSystemResolver(t *testing.T) {
	type answer struct {
		rcode int
		addrs string
	}
	for name, tc := range map[string]struct {
		a, aaaa answer
		want    string // "!" is an error
	}{
		"both families":    {answer{addrs: "192.0.2.1 192.0.2.2"}, answer{addrs: "2001:db8::1"}, "192.0.2.1 192.0.2.2 2001:db8::1"},
		"one family":       {answer{addrs: "192.0.2.1"}, answer{}, "192.0.2.1"},
		"the other fails":  {answer{addrs: "192.0.2.1"}, answer{rcode: miekg.RcodeServerFailure}, "!"},
		"no such name":     {answer{rcode: miekg.RcodeNameError}, answer{rcode: miekg.RcodeNameError}, "!"},
		"no address at it": {answer{}, answer{}, "!"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &miekg.Server{PacketConn: conn, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
				with := map[uint16]answer{miekg.TypeA: tc.a, miekg.TypeAAAA: tc.aaaa}[q.Question[0].Qtype]
				m := new(miekg.Msg)
				m.SetRcode(q, with.rcode)
				m.RecursionAvailable = true
				for _, addr := range strings.Fields(with.addrs) {
					rr, err := miekg.NewRR(fmt.Sprintf("%s 5 IN %s %s", q.Question[0].Name, miekg.TypeToString[q.Question[0].Qtype], addr))
					if err != nil {
						t.Error(err)
					}
					m.Answer = append(m.Answer, rr)
				}
				if err := w.WriteMsg(m); err != nil {
					t.Error(err)
				}
			})}
			done := make(chan error, 1)
			go func() { done <- srv.ActivateAndServe() }()
			lookup := system(func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "udp", conn.LocalAddr().String())
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			got, err := lookup(ctx, "primaries.test.")
			var words []string
			for _, a := range got {
				words = append(words, a.Unmap().String())
			}
			slices.Sort(words)
			if text := strings.Join(words, " "); (err != nil) != (tc.want == "!") || (err == nil && text != tc.want) {
				t.Errorf("%q, %v; want %q", text, err, tc.want)
			}
			_ = conn.Close()
			<-done
		})
	}
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

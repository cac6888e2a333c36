package front

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// fault hurts the node that has the address, or a primary, and heals it again.
type fault struct {
	name       string
	hurt, heal func(s *site, victim string)
	// watch is how long gaps are looked for: longer than they may be, so that late ones are seen as well.
	watch time.Duration
	// mayTurn: clients may be told SERVFAIL before the address is elsewhere.
	mayTurn bool
	// p50 is the target of make front for the median gap; 0: another one, which docs/front.md explains.
	p50 time.Duration
}

// faults lists them all.
func faults() []fault {
	const watch, p50 = 2500 * time.Millisecond, time.Second
	nothing := func(*site, string) {}
	keepalived := func(name string, pick func([]int) []int) fault {
		return fault{name: "kill -9 of keepalived, " + name, hurt: func(s *site, v string) {
			s.t.Helper()
			pids := s.nodes[v].processes("keepalived")
			if len(pids) != 2 {
				s.t.Fatalf("%s has the processes %v of keepalived, not two", v, pids)
			}
			kill(pick(pids)...)
		}, heal: nothing, watch: watch, p50: p50}
	}
	restart := func(s *site, v string) {
		<-s.nodes[v].proc.Ended()
		s.nodes[v].start()
	}
	return []fault{
		keepalived("parent", func(p []int) []int { return p[:1] }),
		keepalived("child", func(p []int) []int { return p[1:] }),
		keepalived("both", func(p []int) []int { return p }),
		{
			name: "kill -9 of haproxy", watch: watch, p50: p50, heal: nothing,
			hurt: func(s *site, v string) { kill(s.nodes[v].processes("haproxy")...) },
		},
		{
			name: "kill -9 of the front", watch: watch, p50: p50, heal: restart,
			hurt: func(s *site, v string) { kill(s.nodes[v].proc.PID()) },
		},
		{
			// Nobody is left who could give the address away: two nodes have it until the front is back.
			name: "kill -9 of front and keepalived", watch: watch, p50: p50, heal: restart,
			hurt: func(s *site, v string) { kill(append(s.nodes[v].processes("keepalived"), s.nodes[v].proc.PID())...) },
		},
		{
			// keepalived asks the front every second, and believes the second failure.
			name: "SIGSTOP of the front", watch: 2 * watch,
			hurt: func(s *site, v string) { s.signal(v, syscall.SIGSTOP) },
			heal: func(s *site, v string) { s.signal(v, syscall.SIGCONT) },
		},
		{
			name: "link down", watch: watch, p50: p50,
			hurt: func(s *site, v string) { s.LinkDown(v) }, heal: func(s *site, v string) { s.LinkUp(v) },
		},
		{
			name: "packets lost", watch: watch, p50: p50,
			hurt: func(s *site, v string) { s.Cut(v) }, heal: func(s *site, v string) { s.Join(v) },
		},
		{
			name: "cut from the primaries", watch: 2 * watch, p50: p50, mayTurn: true,
			hurt: func(s *site, v string) { s.Blackhole(v, primaryNames()...) },
			heal: func(s *site, v string) { s.Unblackhole(v, primaryNames()...) },
		},
		primaryFault("kill -9 of the leading primary", func(s *site, p string) { s.c.Kill(p) }, func(s *site, p string) { s.c.Restart(p) }),
		primaryFault("a primary's packets lost", func(s *site, p string) { s.Cut(p) }, func(s *site, p string) { s.Join(p) }),
	}
}

// primaryFault hurts the primary with the log's leader.
func primaryFault(name string, hurt, heal func(s *site, primary string)) fault {
	var victim string
	return fault{
		name: name, watch: 2500 * time.Millisecond, p50: time.Second,
		hurt: func(s *site, _ string) { victim = s.c.Leader(); hurt(s, victim) },
		heal: func(s *site, _ string) { heal(s, victim); s.c.Ready(victim) },
	}
}

func (s *site) signal(node string, sig syscall.Signal) {
	s.t.Helper()
	if err := s.nodes[node].proc.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// measure injects a fault some times under load and gives the outages of each transport.
func (s *site) measure(t *testing.T, st *stream, f fault, times int) map[string]harness.Outages {
	t.Helper()
	out := map[string]harness.Outages{}
	for range times {
		victim := s.holder()
		at, turned := time.Now(), st.turned()
		f.hurt(s, victim)
		s.until(patient, "writes go on after "+f.name, func(context.Context) error {
			for network, load := range st.load {
				if n := load.Waiting(at); n > 0 || time.Since(at) < f.watch {
					return fmt.Errorf("%d clients wait over %s for an answer to what they asked before", n, network)
				}
			}
			return nil
		})
		line := fmt.Sprintf("%s (%s had the address, now %v):", f.name, victim, s.holders())
		for network, load := range st.load {
			o := load.Since(at)
			out[network] = append(out[network], o)
			line += fmt.Sprintf(" %s gap %v, longest request %v;", network, o.Gap.Round(time.Millisecond), o.Longest.Round(time.Millisecond))
		}
		if turned = st.turned() - turned; turned > 0 {
			line += fmt.Sprintf(" %d times SERVFAIL", turned)
			if !f.mayTurn {
				s.quiet("%s: %d times SERVFAIL", f.name, turned)
			}
		}
		t.Log(line)
		f.heal(s, victim)
		s.settled()
	}
	return out
}

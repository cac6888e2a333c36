package front

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestFront is the short form for make test: everything once, on one site. Figures are logged; make front holds them to their
// targets, on a machine that does nothing else. What must hold on any machine is asserted here.
func TestFront(t *testing.T) {
	s := newSite(t)
	s.startFronts(nil)
	for _, p := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"OnlyHolderReceives", func(t *testing.T) { onlyHolderReceives(t, s, 100) }},
		{"ClientAddress", func(t *testing.T) { clientAddress(t, s) }},
		{"ForgedHeaders", func(t *testing.T) { forgedHeaders(t, s) }},
		{"KeyRotation", func(t *testing.T) { keyRotation(t, s) }},
		{"ForeignVRRP", func(t *testing.T) { foreignVRRP(t, s, 3*time.Second) }},
		{"Announcements", func(t *testing.T) { announcements(t, s) }},
		{"NoPreemption", func(t *testing.T) { noPreemption(t, s) }},
		{"PeersChange", func(t *testing.T) { peersChange(t, s) }},
		{"ForeignOwner", func(t *testing.T) { foreignOwner(t, s) }},
		{"Mistakes", func(t *testing.T) { mistakes(t, s) }},
		{"BadReload", func(t *testing.T) { badReload(t, s) }},
		{"BackendsChange", func(t *testing.T) { backendsChange(t, s) }},
		{"Modes", func(t *testing.T) { modes(t, s) }},
		{"Limits", func(t *testing.T) { limits(t, s, 5000) }},
		{"Descriptors", func(t *testing.T) { descriptors(t, s, 500, 4) }},
		{"Drain", func(t *testing.T) { drain(t, s, len(planned())) }},
		{"TwoHolders", func(t *testing.T) { twoHolders(t, s, time.Second) }},
		{"Faults", func(t *testing.T) {
			st := s.startStream("udp", "tcp")
			for _, f := range faults() {
				s.measure(t, st, f, 1)
			}
			st.check(t)
		}},
		{"AllPrimariesDown", func(t *testing.T) { allPrimariesDown(t, s, 2*time.Second) }},
	} {
		began := time.Now()
		s.part(t, p.name, p.run)
		t.Logf("%s took %.1f s", p.name, time.Since(began).Seconds())
	}
}

// onlyHolderReceives: every node has its sockets bound to the address, and the one that has it receives all.
func onlyHolderReceives(t *testing.T, s *site, requests int) {
	for _, name := range nodeNames() {
		listening := s.Shell(name, "ss -Hlnut 'sport = :53'")
		for _, want := range []string{vip4 + ":53", "[" + vip6 + "]:53"} {
			for _, network := range []string{"udp", "tcp"} {
				if !slices.ContainsFunc(strings.Split(listening, "\n"), func(l string) bool {
					return strings.HasPrefix(l, network) && strings.Contains(l, " "+want+" ")
				}) {
					t.Errorf("%s does not listen on %s %s:\n%s", name, network, want, listening)
				}
			}
		}
	}
	s.still("only the holder receives", func() error {
		holder := s.holder()
		before := received(s)
		for _, network := range []string{"udp", "tcp"} {
			for i := range requests {
				if err := s.client(network, endpoints()[i%2]).nothing(); err != nil {
					return err
				}
			}
		}
		after := received(s)
		var errs []error
		for _, name := range nodeNames() {
			for network, n := range after[name] {
				n -= before[name][network]
				switch {
				case name == holder && n < requests:
					errs = append(errs, fmt.Errorf("%s has the address and received %d of %d requests over %s", name, n, requests, network))
				case name != holder && n != 0:
					errs = append(errs, fmt.Errorf("%s does not have the address and received %d requests over %s", name, n, network))
				}
			}
		}
		t.Logf("%s has the address; received before %v, after %v", holder, before, after)
		return errors.Join(errs...)
	})
}

// received counts the datagrams of clients and their connections at each node.
func received(s *site) map[string]map[string]int {
	out := map[string]map[string]int{}
	for _, name := range nodeNames() {
		m := s.nodes[name].metrics()
		out[name] = map[string]int{
			"udp": int(m[`zonekeeper_relay_datagrams_total{direction="from_client"}`]),
			"tcp": int(m[`haproxy_frontend_connections_total{proxy="dns_write_tcp"}`]),
		}
	}
	return out
}

// clientAddress: the primaries know whom the front speaks for, and the policy of a zone that trusts addresses goes by it.
func clientAddress(t *testing.T, s *site) {
	for _, from := range []string{"client", "stranger"} {
		for i, network := range []string{"udp", "tcp", "udp", "tcp"} {
			addr, host := endpoints()[i/2], s.Host(from).V4
			if i/2 == 1 {
				host = s.Host(from).V6
			}
			via := map[string]string{"udp": "udp", "tcp": "tls"}[network] // to the primary
			want := dns.RcodeSuccess
			if from == "stranger" {
				want = dns.RcodeRefused
			}
			m := unsigned(fmt.Sprintf("%s-%d", from, i))
			answer, err := s.ask(from, network, addr, m, nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Rcode != want {
				t.Errorf("an unsigned update over %s from %s: %s, want %s", network, host, dns.RcodeToString[answer.Rcode], dns.RcodeToString[want])
			}
			logged := "client=" + host.String() + ":"
			if host.Is6() {
				logged = fmt.Sprintf(`client=[%s]:`, host)
			}
			s.until(patient, fmt.Sprintf("a primary's log has the %s of an update over %s", logged, network), func(context.Context) error {
				for _, p := range primaryNames() {
					b, err := os.ReadFile(filepath.Join(s.c.Dir(), p, "log"))
					if err != nil {
						return err
					}
					for line := range strings.Lines(string(b)) {
						line = strings.ReplaceAll(line, `"`, "")
						if strings.Contains(line, logged) && strings.Contains(line, "proven=true transport="+via) && strings.Contains(line, "name="+byAddress) {
							return nil
						}
					}
				}
				return fmt.Errorf("no line has it")
			})
		}
	}
}

// unsigned is an update of the zone that trusts addresses.
func unsigned(label string) *dns.Msg {
	rr := harness.A(zone.MustParseName(byAddress), label, 60, [4]byte{192, 0, 2, 1})
	m := new(dns.Msg)
	if err := m.Unpack(named.AppendUpdate(nil, dns.Id(), zone.MustParseName(byAddress), nil, []zone.RR{rr})); err != nil {
		panic(err) // we made it
	}
	return m
}

// planned are the ways to take a node out of service in peace. Each returns when the address may be elsewhere.
func planned() []struct {
	name string
	do   func(t *testing.T, n *node)
} {
	return []struct {
		name string
		do   func(t *testing.T, n *node)
	}{
		{"stop", func(_ *testing.T, n *node) { n.proc.Stop() }},
		{"command", func(t *testing.T, n *node) {
			out, err := n.run("drain", "--config", n.config)
			if err != nil || !strings.Contains(out, n.Name+" is drained") {
				t.Fatalf("drain of %s: %v: %s", n.Name, err, out)
			}
			if held := n.s.held(n.Name); len(held) > 0 {
				t.Errorf("%s is drained, says the command, and has %v", n.Name, held)
			}
		}},
		{"SIGUSR1", func(_ *testing.T, n *node) { n.s.signal(n.Name, syscall.SIGUSR1) }},
	}
}

// drained waits until a node that runs says that it is.
func (n *node) drained() {
	n.s.t.Helper()
	n.s.until(patient, n.Name+" is drained, and runs", func(ctx context.Context) error {
		st, err := n.status(ctx)
		if err != nil {
			return err
		}
		if len(st.Faults) != 1 || st.Faults[0].Part != "drain" || len(st.VIP.Held) > 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// drain: planned moves under load, by each way in turn, and no write fails. It returns a line about it.
func drain(t *testing.T, s *site, moves int) string {
	st := s.startStream("udp", "tcp", "tcp-kept")
	outages := map[string]harness.Outages{}
	for i := range moves {
		from := s.holder()
		at := time.Now()
		way := planned()[i%len(planned())]
		n := s.nodes[from]
		way.do(t, n)
		if way.name == "SIGUSR1" {
			n.drained() // nobody waits for its end
		}
		to := s.holder()
		if to == from {
			t.Fatalf("%s was drained (%s) and has the address", from, way.name)
		}
		t.Logf("%s: the address moved from %s to %s", way.name, from, to)
		if way.name != "stop" {
			n.drained()
			n.proc.Stop()
		}
		n.start()
		s.settled()
		for network, load := range st.load {
			outages[network] = append(outages[network], load.Since(at))
		}
	}
	st.stop()
	var broken []string
	var closed, late int64
	for _, y := range st.counters {
		broken = append(broken, y.client.broken...)
		closed += y.client.closed.Load()
		late += y.client.late.Load()
	}
	line := st.check(t)
	// An answer may take longer than a drain waits for it.
	if len(broken) > 0 {
		s.quiet("%d connections were refused or broke before the answer to their first request: %s", len(broken), broken[:min(len(broken), 5)])
	}
	if n := st.turned(); n > 0 {
		s.quiet("%d times SERVFAIL", n)
	}
	line = fmt.Sprintf("%d moves; %s; %d new connections refused or broken; %d kept ones had ended when they were used again; %d requests over TCP answered late",
		moves, line, len(broken), closed, late)
	for network, l := range outages {
		line += fmt.Sprintf("; %s gap %v", network, l.Gaps())
	}
	t.Log(line)
	return line
}

// twoHolders: the nodes don't hear each other, so each takes the address. Nothing comes of it. It returns what the clients of each
// transport saw from the partition until it was over.
func twoHolders(t *testing.T, s *site, length time.Duration) map[string]harness.Outage {
	st := s.startStream("udp", "tcp")
	parted := time.Now()
	s.Isolate(true, nodeNames()...)
	s.until(patient, "more than one node has the address", func(context.Context) error {
		if l := s.holders(); len(l) < 2 {
			return fmt.Errorf("these have it: %v", l)
		}
		return nil
	})
	s.c.Pause(length)
	if l := s.holders(); len(l) < 2 {
		t.Errorf("only %v has the address after %v", l, length)
	} else {
		t.Logf("%v had the address at the same time", l)
	}
	s.Isolate(false, nodeNames()...)
	healed := time.Now()
	s.holder()
	t.Logf("one holder %v after the nodes heard each other again", time.Since(healed).Round(time.Millisecond))
	s.settled()
	out := map[string]harness.Outage{}
	for network, load := range st.load {
		s.until(patient, "writes over "+network+" go on after the partition", func(context.Context) error {
			if n := load.Waiting(healed); n > 0 {
				return fmt.Errorf("%d clients wait", n)
			}
			return nil
		})
		out[network] = load.Since(parted)
		t.Logf("%s: gap %v, longest request %v", network, out[network].Gap.Round(time.Millisecond), out[network].Longest.Round(time.Millisecond))
		if gap := out[network].Gap; gap >= targetMax {
			s.quiet("%s: a gap of %v while the fronts did not hear each other, the target is below %v", network, gap, targetMax)
		}
	}
	st.check(t)
	return out
}

// allPrimariesDown: without a quorum, and then without any primary, the address stays where it is, and clients are told why.
func allPrimariesDown(t *testing.T, s *site, length time.Duration) {
	key := s.c.Key()
	question := func() *dns.Msg {
		m := new(dns.Msg)
		m.SetUpdate(origin)
		m.SetEdns0(1232, false)
		return m
	}
	s.c.Kill("primary-1")
	s.c.Kill("primary-2")
	for _, network := range []string{"udp", "tcp"} {
		s.until(patient, "a signed SERVFAIL with a reason over "+network, func(context.Context) error {
			answer, err := s.ask("client", network, endpoints()[0], question(), &key)
			if err != nil {
				return err
			}
			if code, text := reason(answer); answer.Rcode != dns.RcodeServerFailure || answer.IsTsig() == nil || text == "" {
				return fmt.Errorf("%s, EDE %d %q, signed: %v", dns.RcodeToString[answer.Rcode], code, text, answer.IsTsig() != nil)
			}
			return nil
		})
	}
	s.c.Kill("primary-0")
	s.c.Pause(2 * time.Second)
	s.still("one holder remains without primaries", func() error {
		holder := s.holder()
		for end := time.Now().Add(length); time.Now().Before(end); s.c.Pause(50 * time.Millisecond) {
			if l := s.holders(); !slices.Equal(l, []string{holder}) {
				return fmt.Errorf("the address is at %v, was at %s", l, holder)
			}
		}
		return nil
	})
	for i, network := range []string{"udp", "tcp", "udp", "tcp"} {
		s.until(patient, "SERVFAIL with EDE 22 over "+network, func(context.Context) error {
			answer, err := s.ask("client", network, endpoints()[i/2], question(), nil)
			if err != nil {
				return err
			}
			if code, text := reason(answer); answer.Rcode != dns.RcodeServerFailure || code != dns.ExtendedErrorCodeNoReachableAuthority {
				return fmt.Errorf("%s, EDE %d %q", dns.RcodeToString[answer.Rcode], code, text)
			}
			return nil
		})
	}
	s.c.RestartDead()
	s.settled()
}

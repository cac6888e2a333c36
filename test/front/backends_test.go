package front

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
)

// lists are what a source of primaries says, one after the other: one fewer, another one, all, and the same names at other addresses.
func lists(s *site) []map[string]netip.Addr {
	p := func(n int) netip.Addr { return s.Host(primaryNames()[n]).V4 }
	return []map[string]netip.Addr{
		{"a": p(0), "b": p(1)},
		{"a": p(0), "c": p(2)},
		{"a": p(0), "b": p(1), "c": p(2)},
		{"a": p(1), "b": p(2), "c": p(0)},
		{"c": p(1)},
		{"a": p(0), "b": p(1), "c": p(2)},
	}
}

// backendsChange: primaries come, go and get other addresses under load, from each source, without a restart and without a failed
// write.
func backendsChange(t *testing.T, s *site) {
	static := func(list map[string]netip.Addr) (out []any) {
		for name, a := range list {
			out = append(out, object{"name": name, "address": a.String()})
		}
		return out
	}
	for _, source := range []struct {
		name   string
		change func(c object)
		// start prepares the node; it gives what changes the list, and empties it.
		start func(t *testing.T, n *node) (set func(map[string]netip.Addr), empty func())
	}{
		{"Static", nil, func(_ *testing.T, n *node) (func(map[string]netip.Addr), func()) {
			return func(list map[string]netip.Addr) {
					n.object["primaries"].(object)["static"] = static(list)
					n.write()
				}, func() {
					n.object["primaries"].(object)["static"] = []any{}
					n.write()
				}
		}},
		{"DNS", func(c object) {
			c["primaries"].(object)["static"] = nil
			c["primaries"].(object)["dns"] = object{"name": resolverName, "every": "100ms"}
		}, func(_ *testing.T, n *node) (func(map[string]netip.Addr), func()) {
			r := newResolver(n, s.Host("primary-0").V4)
			return func(list map[string]netip.Addr) {
				var addrs []netip.Addr
				for a := range maps.Values(list) {
					addrs = append(addrs, a)
				}
				r.set(addrs...)
			}, func() { r.set() }
		}},
		{"EndpointSlices", nil, func(_ *testing.T, n *node) (func(map[string]netip.Addr), func()) {
			cert, key, _ := s.servers.IssueFor("kube", "", "127.0.0.1")
			k := newKube(n, s.servers.CA, cert, key, map[string]netip.Addr{"a": s.Host("primary-0").V4})
			step := 0
			return func(list map[string]netip.Addr) {
				switch step++; step {
				case 2:
					k.replaceToken("second")
				case 3:
					k.forget()
				}
				k.set(list)
			}, func() { k.set(nil) }
		}},
	} {
		s.part(t, source.name, func(t *testing.T) {
			n := s.spare(source.change)
			set, empty := source.start(t, n)
			n.start()
			s.until(patient, "the spare is ready", n.isReady)
			st := s.streamTo([]string{s.spareAddr()}, "udp", "tcp")
			for i, list := range lists(s) {
				set(list)
				n.uses(list, source.name != "DNS")
				st.goesOn(fmt.Sprintf("with list %d", i))
			}
			empty()
			n.shows("zonekeeper_front_backends_stale", 1)
			n.shows("zonekeeper_front_backends", 3)
			st.goesOn("without a list")
			st.check(t)
			if n := st.turned(); n > 0 {
				s.quiet("%d times SERVFAIL", n)
			}
			n.proc.Stop()
		})
	}
}

// uses waits until both halves of a front have a list of primaries, by name unless those are made up, and find all of them ready.
func (n *node) uses(list map[string]netip.Addr, names bool) {
	n.s.t.Helper()
	n.s.until(patient, fmt.Sprintf("the primaries are %v", list), func(ctx context.Context) error {
		st, err := n.status(ctx)
		if err != nil {
			return err
		}
		left := maps.Clone(list)
		for _, p := range st.Primaries {
			if p.State != "ready" || p.HAProxy != "UP" {
				return fmt.Errorf("%+v", p)
			}
			maps.DeleteFunc(left, func(name string, a netip.Addr) bool { return a.String() == p.Address && (name == p.Name || !names) })
		}
		if len(left) > 0 || len(st.Primaries) != len(list) {
			return fmt.Errorf("they are %+v", st.Primaries)
		}
		return nil
	})
}

// goesOn waits until each transport has had some more writes acknowledged.
func (st *stream) goesOn(when string) {
	st.s.t.Helper()
	for network, load := range st.load {
		before := load.Count()
		st.s.until(patient, "writes over "+network+" go on "+when, func(context.Context) error {
			if load.Count() < before+20 {
				return errors.New("they do not")
			}
			return nil
		})
	}
}

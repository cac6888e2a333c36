package harness

import (
	"net/netip"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/devcluster/relay"
)

// Place is a network of its own in which the clients or the servers of a test live: it has the addresses that their configurations name, and
// nobody else. Needs root; it goes with the test.
func Place(t testing.TB, addrs ...string) *Namespace {
	t.Helper()
	script := "ip link set lo up"
	for _, a := range addrs {
		script += " && ip addr add " + a + "/32 dev lo"
	}
	ns, err := NewNamespace(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// Door lets servers outside answer at an address inside, on port 53, messages unchanged.
func (n *Namespace) Door(t testing.TB, addr string, servers []relay.Backend) {
	t.Helper()
	cfg := relay.DefaultConfig()
	cfg.Listen, cfg.Backends = netip.MustParseAddrPort(addr+":53"), servers
	var r *relay.Relay
	if err := n.Inside(func() (err error) { r, err = relay.Start(cfg); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
}

// Backends are the primaries, for a relay.
func (c *Cluster) Backends() []relay.Backend {
	var out []relay.Backend
	for _, p := range c.Info().Primaries {
		out = append(out, relay.Backend{Name: p.Name, DNS: netip.MustParseAddrPort(p.DNS), Check: c.Admin[p.Name].Ready})
	}
	return out
}

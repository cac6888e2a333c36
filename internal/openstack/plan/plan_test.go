package plan

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var (
	owner = Owner{Cluster: "shoot--p--s", Name: "dns/front"}
	vip4  = netip.MustParseAddr("10.250.0.53")
	vip6  = netip.MustParseAddr("fd00::53")
)

// world is a network with three servers as Gardener leaves them: each port with the pod range's pair and the shoot's group.
func world() State {
	s := State{
		NetworkID: "net",
		Subnets: []Subnet{
			{ID: "sub4", Range: netip.MustParsePrefix("10.250.0.0/16"), Gateway: netip.MustParseAddr("10.250.0.1")},
			{ID: "sub6", Range: netip.MustParsePrefix("fd00::/64")},
		},
		Groups: []Group{{ID: "shoot", Name: "shoot--p--s"}},
	}
	for _, n := range []string{"1", "2", "3"} {
		s.Ports = append(s.Ports, Port{
			ID: "port" + n, DeviceID: "server" + n, DeviceOwner: "compute:nova", MAC: "fa:16:3e:00:00:0" + n, Created: "2026-01-0" + n, Revision: 7,
			Addresses: []netip.Addr{netip.MustParseAddr("10.250.0.1" + n)}, Groups: []string{"shoot"},
			Pairs: []Pair{{"100.96.0.0/11", "fa:16:3e:00:00:0" + n}},
		})
	}
	return s
}

func wish() Desired {
	return Desired{
		Owner: owner, VIPs: []VIP{{Address: vip4}}, Security: &Security{},
		Nodes:     []Node{{Name: "worker-1", ServerID: "server1"}, {Name: "worker-2", ServerID: "server2"}},
		Forbidden: []netip.Prefix{netip.MustParsePrefix("100.96.0.0/11"), netip.MustParsePrefix("100.64.0.0/13")},
	}
}

// made is world after wish: what the plan has to leave alone.
func made() State {
	s := world()
	for i := range 2 {
		p := &s.Ports[i]
		p.Pairs = append(p.Pairs, Pair{vip4.String(), strings.ToUpper(p.MAC)}) // Neutron's spelling is not ours to rely on
		p.Groups = append(p.Groups, "ours")
	}
	s.Ports = append(s.Ports, Port{ID: "vip", Description: owner.Description(), Tags: owner.Tags(), Addresses: []netip.Addr{vip4}, Created: "2026-02"})
	g := Group{ID: "ours", Name: owner.ObjectName(), Description: owner.Description(), Tags: owner.Tags(), Created: "2026-02", Rules: []Rule{
		{ID: "out", Direction: "egress"}, {ID: "foreign", Direction: "ingress", Protocol: "tcp", Port: 22},
		{ID: "a", Description: owner.Description(), Direction: "ingress", Protocol: vrrp, RemoteGroup: "ours"},
		{ID: "b", Description: owner.Description(), Direction: "ingress", Protocol: "udp", Port: 53},
		{ID: "c", Description: owner.Description(), Direction: "ingress", Protocol: "tcp", Port: 53},
	}}
	s.Groups = append(s.Groups, g)
	return s
}

func TestPlan(t *testing.T) {
	pool := &Floating{Pool: "public"}
	given := netip.MustParseAddr("203.0.113.7")
	for _, tc := range []struct {
		name   string
		state  func() State
		change func(*State, *Desired)
	}{
		{"create", world, nil},
		{"nothing", made, nil},
		{"dual-stack-tls-clients", world, func(_ *State, d *Desired) {
			d.VIPs = append(d.VIPs, VIP{Address: vip6})
			d.Security = &Security{TLS: true, Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
		}},
		{"pick", world, func(_ *State, d *Desired) { d.VIPs = []VIP{{}} }},
		{"picked", made, func(_ *State, d *Desired) { d.VIPs = []VIP{{}} }},
		{"worker-roll", made, func(_ *State, d *Desired) { d.Nodes[1] = Node{Name: "worker-3", ServerID: "server3"} }},
		{"overwritten", made, func(s *State, _ *Desired) { s.Ports[0].Pairs = s.Ports[0].Pairs[:1] }},
		{"foreign-mac-stays", made, func(s *State, d *Desired) {
			s.Ports[1].Pairs = append(s.Ports[1].Pairs, Pair{vip4.String(), "00:00:5e:00:01:35"})
			d.Nodes = d.Nodes[:1]
		}},
		{"port-security-off", world, func(s *State, _ *Desired) { s.Ports[0].SecurityOff = true }},
		{"ten-pairs", world, func(s *State, _ *Desired) {
			for len(s.Ports[0].Pairs) < 10 {
				s.Ports[0].Pairs = append(s.Ports[0].Pairs, Pair{"192.0.2." + string(rune('0'+len(s.Ports[0].Pairs))), s.Ports[0].MAC})
			}
		}},
		{"no-port", world, func(_ *State, d *Desired) { d.Nodes[0].ServerID = "unknown" }},
		{"two-ports", world, func(s *State, _ *Desired) { s.Ports[2].DeviceID = "server1" }},
		{"two-ports-told-apart", made, func(s *State, d *Desired) {
			s.Ports[2].DeviceID = "server1"
			d.Nodes[0].Addresses = s.Ports[0].Addresses
		}},
		{"another-address", made, func(_ *State, d *Desired) { d.VIPs[0].Address = netip.MustParseAddr("10.250.0.54") }},
		{"taken", world, func(s *State, _ *Desired) {
			s.Ports = append(s.Ports, Port{ID: "other", Name: "db", DeviceID: "x", DeviceOwner: "compute:nova", Addresses: []netip.Addr{vip4}})
		}},
		{"reserved-by-terraform", world, func(s *State, _ *Desired) {
			s.Ports = append(s.Ports, Port{ID: "tf", Addresses: []netip.Addr{vip4}})
		}},
		{"another-vip", world, func(s *State, _ *Desired) {
			s.Ports = append(s.Ports, Port{ID: "x", Description: Owner{"c2", "a/b"}.Description(), Addresses: []netip.Addr{vip4}})
		}},
		{"pod-range", world, func(_ *State, d *Desired) { d.VIPs[0].Address = netip.MustParseAddr("100.100.0.1") }},
		{"outside", world, func(_ *State, d *Desired) { d.VIPs[0].Address = netip.MustParseAddr("192.0.2.1") }},
		{"gateway", world, func(_ *State, d *Desired) { d.VIPs[0].Address = netip.MustParseAddr("10.250.0.1") }},
		{"no-network", func() State { return State{} }, nil},
		{"two-groups-of-a-race", made, func(s *State, _ *Desired) {
			g := s.Groups[1]
			g.ID, g.Created = "later", "2026-03"
			s.Groups = append(s.Groups, g)
			s.Ports[1].Groups = []string{"shoot", "later"}
		}},
		{"rules-changed", made, func(s *State, d *Desired) {
			d.Security.Clients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/8")}
		}},
		{"floating-pool", made, func(_ *State, d *Desired) { d.VIPs[0].Floating = pool }},
		{"floating-given", made, func(s *State, d *Desired) {
			d.VIPs[0].Floating = &Floating{Address: given}
			s.FloatingIPs = []FloatingIP{{ID: "fip", Address: given, Revision: 3}}
		}},
		{"floating-elsewhere", made, func(s *State, d *Desired) {
			d.VIPs[0].Floating = &Floating{Address: given}
			s.FloatingIPs = []FloatingIP{{ID: "fip", Address: given, PortID: "port3"}}
		}},
		{"floating-moved-away", made, func(s *State, d *Desired) {
			d.VIPs[0].Floating = pool
			s.FloatingIPs = []FloatingIP{{ID: "fip", Address: given, PortID: "port3", NetworkID: "public", Description: owner.Description(), Tags: owner.Tags()}}
		}},
		{"floating-unknown", made, func(_ *State, d *Desired) { d.VIPs[0].Floating = &Floating{Address: given} }},
		{"tags-lost", made, func(s *State, _ *Desired) { s.Ports[3].Tags = []string{"theirs"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, d := tc.state(), wish()
			if tc.change != nil {
				tc.change(&s, &d)
			}
			golden(t, tc.name, Make(s, d))
		})
	}
}

func TestRemove(t *testing.T) {
	s := made()
	given, pooled := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	s.FloatingIPs = []FloatingIP{
		{ID: "given", Address: given, PortID: "vip", Tags: append([]string{"theirs"}, owner.Tags()...)},
		{ID: "pooled", Address: pooled, Description: owner.Description()},
		{ID: "foreign", Address: netip.MustParseAddr("203.0.113.9")},
	}
	golden(t, "remove", Remove(s, owner, nil))
	golden(t, "remove-nothing", Remove(world(), owner, []netip.Addr{vip4}))
}

func golden(t *testing.T, name string, p Plan) {
	t.Helper()
	var b strings.Builder
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, n := range p.Nodes {
		b.WriteString("node " + n.Name + ": ")
		if n.Allowed {
			b.WriteString("allowed\n")
		} else {
			b.WriteString(n.Reason + "\n")
		}
	}
	file := filepath.Join("testdata", name+".txt")
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != b.String() {
		t.Errorf("%s (%v):\n%s\nwant\n%s", file, err, b.String(), want)
	}
}

func TestOwner(t *testing.T) {
	long := Owner{strings.Repeat("c", 70), strings.Repeat("n", 63) + "/" + strings.Repeat("v", 40)}
	for _, tag := range long.Tags() {
		if len(tag) > maxTag || strings.ContainsAny(tag, ",/") {
			t.Errorf("tag %q", tag)
		}
	}
	if o, ok := OwnerOf(long.Description()); !ok || o != long {
		t.Errorf("%v %v", o, ok)
	}
	if len(long.Description()) > 255 {
		t.Error("Neutron's descriptions have at most 255 characters")
	}
	for id, want := range map[string]string{"openstack:///a": "a", "openstack://region/b": "b", "aws:///c": "", "openstack://": ""} {
		if got, _ := ServerID(id); got != want {
			t.Errorf("%s: %q", id, got)
		}
	}
}

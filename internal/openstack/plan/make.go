package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Make decides. The same input gives the same plan. An invalid Desired gives problems and no actions.
func Make(s State, d Desired) Plan {
	m := &maker{s: s, d: d, node: map[string]string{}, keep: map[string]bool{}}
	if err := d.Validate(); err != nil {
		m.problem(d.Owner.Name, err.Error())
		return m.p
	}
	if len(d.VIPs) > 0 && s.NetworkID == "" {
		m.problem(d.Owner.Name, "no network: none of the nodes' servers has a port; wait for nodes, or name the network")
		return m.p
	}
	m.sortState()
	m.addresses()
	m.group()
	m.nodes()
	m.floating()
	m.remove()
	return m.p
}

// Remove is the plan that leaves nothing of the owner's. addresses are those that it is known to have had, besides what its ports say.
func Remove(s State, o Owner, addresses []netip.Addr) Plan {
	m := &maker{s: s, d: Desired{Owner: o}, node: map[string]string{}, keep: map[string]bool{}, gone: addresses}
	m.sortState()
	m.nodes()
	m.remove()
	return m.p
}

type maker struct {
	s       State
	d       Desired
	p       Plan
	node    map[string]string // port ID → node
	keep    map[string]bool   // IDs of our objects that stay
	vips    []VIPState        // with a port or one that is made now
	gone    []netip.Addr      // addresses that were ours
	groupID string
}

func (m *maker) do(a Action) { m.p.Actions = append(m.p.Actions, a) }
func (m *maker) problem(subject, text string) {
	m.p.Problems = append(m.p.Problems, Problem{subject, text})
}

// sortState puts the older first: of two that writers made at the same moment all keep the same one.
func (m *maker) sortState() {
	m.s.Ports = slices.Clone(m.s.Ports)
	slices.SortStableFunc(m.s.Ports, func(a, b Port) int { return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID)) })
	m.s.Groups = slices.Clone(m.s.Groups)
	slices.SortStableFunc(m.s.Groups, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID)) })
	m.s.FloatingIPs = slices.Clone(m.s.FloatingIPs)
	slices.SortStableFunc(m.s.FloatingIPs, func(a, b FloatingIP) int { return cmp.Compare(a.ID, b.ID) })
}

func (m *maker) ourPort(p Port) bool {
	return p.DeviceID == "" && m.d.Owner.owns(p.Description, p.Tags)
}

// addresses gives each VIP its port: named addresses first, then what Neutron picks takes what is left of our ports.
func (m *maker) addresses() {
	for _, v := range m.d.VIPs {
		if v.Address.IsValid() {
			m.reserve(v.Address)
		}
	}
	for _, v := range m.d.VIPs {
		if !v.Address.IsValid() {
			m.pick(v)
		}
	}
}

func (m *maker) reserve(a netip.Addr) {
	i := slices.IndexFunc(m.s.Subnets, func(s Subnet) bool { return s.Range.Contains(a) })
	if i < 0 {
		m.problem(a.String(), fmt.Sprintf("lies in no subnet of network %s; use an address of the nodes' subnet", m.s.NetworkID))
		return
	}
	if m.s.Subnets[i].Gateway == a {
		m.problem(a.String(), "is the subnet's gateway; use another address")
		return
	}
	for _, p := range m.s.Ports {
		if !slices.Contains(p.Addresses, a) {
			continue
		}
		if m.ourPort(p) {
			m.hold(a, p)
			return
		}
		if o, ok := OwnerOf(p.Description); ok {
			m.problem(a.String(), fmt.Sprintf("is the address of VirtualIP %s in cluster %s (port %s); use another one, or delete that", o.Name, o.Cluster, p.ID))
			return
		}
		if p.DeviceID != "" || p.DeviceOwner != "" {
			m.problem(a.String(), fmt.Sprintf("belongs to port %s (%s, %s); use a free address", p.ID, p.Name, p.DeviceOwner))
			return
		}
		m.vips = append(m.vips, VIPState{Address: a, PortID: p.ID, Foreign: true})
		return
	}
	m.do(Action{Kind: CreatePort, What: a.String(), Why: "nothing else keeps the address from others", Address: a, SubnetID: m.s.Subnets[i].ID, Tags: m.d.Owner.Tags()})
	m.vips = append(m.vips, VIPState{Address: a})
}

func (m *maker) pick(v VIP) {
	for _, p := range m.s.Ports {
		if m.ourPort(p) && !m.keep[p.ID] && len(p.Addresses) > 0 && p.Addresses[0].Is6() == v.IPv6 {
			m.hold(p.Addresses[0], p)
			return
		}
	}
	for _, s := range m.s.Subnets {
		if s.Range.Addr().Is6() == v.IPv6 {
			m.do(Action{Kind: CreatePort, What: "with an address of " + s.Range.String(), Why: "Neutron picks the address; the rest follows when it is known", SubnetID: s.ID, Tags: m.d.Owner.Tags()})
			return
		}
	}
	m.problem("an address", fmt.Sprintf("network %s has no subnet of the family; name an address", m.s.NetworkID))
}

func (m *maker) hold(a netip.Addr, p Port) {
	m.keep[p.ID] = true
	if !m.d.Owner.tagged(p.Tags) {
		m.do(Action{Kind: TagPort, ID: p.ID, What: a.String(), Why: "tags are missing", Tags: m.tags(p.Tags)})
	}
	m.vips = append(m.vips, VIPState{Address: a, PortID: p.ID})
}

// tags adds ours to others'.
func (m *maker) tags(have []string) []string {
	out := slices.Clone(have)
	for _, t := range m.d.Owner.Tags() {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// group is our security group and its rules.
func (m *maker) group() {
	if m.d.Security == nil {
		return
	}
	want := m.rules()
	for _, g := range m.s.Groups {
		if !m.d.Owner.owns(g.Description, g.Tags) {
			continue
		}
		m.groupID, m.keep[g.ID] = g.ID, true
		if !m.d.Owner.tagged(g.Tags) {
			m.do(Action{Kind: TagGroup, ID: g.ID, What: g.Name, Why: "tags are missing", Tags: m.tags(g.Tags)})
		}
		for _, r := range want {
			if r.RemoteGroup != "" {
				r.RemoteGroup = g.ID
			}
			if !slices.ContainsFunc(g.Rules, r.same) {
				m.do(Action{Kind: CreateRule, ID: g.ID, What: r.String(), Why: "is let through by no rule", Rule: r})
			}
		}
		for _, r := range g.Rules {
			wanted := slices.ContainsFunc(want, func(w Rule) bool {
				if w.RemoteGroup != "" {
					w.RemoteGroup = g.ID
				}
				return w.same(r)
			})
			if r.Description == m.d.Owner.Description() && !wanted {
				m.do(Action{Kind: DeleteRule, ID: r.ID, What: r.String(), Why: "is wanted no more", Rule: r})
			}
		}
		return
	}
	m.groupID = NewGroup
	m.do(Action{Kind: CreateGroup, What: m.d.Owner.ObjectName(), Why: "VRRP and DNS need rules of our own", Tags: m.d.Owner.Tags()})
	for _, r := range want {
		m.do(Action{Kind: CreateRule, ID: NewGroup, What: r.String(), Why: "is let through by no rule", Rule: r})
	}
}

// vrrp is the protocol's number (RFC 9568 section 5.1.1.4).
const vrrp = "112"

// rules of our group, of the families that the addresses have.
func (m *maker) rules() (out []Rule) {
	for _, six := range []bool{false, true} {
		if !slices.ContainsFunc(m.d.VIPs, func(v VIP) bool { return v.is6() == six }) {
			continue
		}
		out = append(out, Rule{Direction: "ingress", IPv6: six, Protocol: vrrp, RemoteGroup: NewGroup})
		clients := m.d.Security.Clients
		if len(clients) == 0 {
			clients = []netip.Prefix{{}}
		}
		for _, c := range clients {
			if c.IsValid() && c.Addr().Is6() != six {
				continue
			}
			if c.Bits() == 0 {
				c = netip.Prefix{} // Neutron keeps no difference
			}
			ports := []Rule{{Protocol: "udp", Port: 53}, {Protocol: "tcp", Port: 53}}
			if m.d.Security.TLS {
				ports = append(ports, Rule{Protocol: "tcp", Port: 853})
			}
			for _, r := range ports {
				r.Direction, r.IPv6, r.Remote = "ingress", six, c
				if !slices.ContainsFunc(out, r.same) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

func (r Rule) same(o Rule) bool {
	r.ID, r.Description, o.ID, o.Description = "", "", "", ""
	r.Remote, o.Remote = masked(r.Remote), masked(o.Remote)
	return r == o
}

func masked(p netip.Prefix) netip.Prefix {
	if p.Bits() <= 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func (r Rule) String() string {
	family, remote := "IPv4", "anywhere"
	if r.IPv6 {
		family = "IPv6"
	}
	if r.Remote.IsValid() {
		remote = r.Remote.String()
	}
	if r.RemoteGroup != "" {
		remote = "the group"
	}
	what := r.Protocol
	if r.Protocol == vrrp {
		what = "VRRP"
	}
	if r.Port != 0 {
		what += fmt.Sprintf(" %d", r.Port)
	}
	return strings.Join([]string{r.Direction, family, what, "from", remote}, " ")
}

package plan

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// nodes brings pairs and our group onto the ports of exactly the nodes.
func (m *maker) nodes() {
	ours := slices.Clone(m.gone)
	for _, p := range m.s.Ports {
		if m.ourPort(p) {
			ours = append(ours, p.Addresses...)
		}
	}
	var want []netip.Addr
	for _, v := range m.vips {
		want = append(want, v.Address)
		ours = append(ours, v.Address)
	}
	for _, n := range m.d.Nodes {
		m.findPort(n)
	}
	for _, p := range m.s.Ports {
		if node, ok := m.node[p.ID]; ok {
			m.nodePort(p, node, want, ours)
		} else if !m.ourPort(p) {
			m.port(p, "", nil, ours, "")
		}
	}
}

func (m *maker) findPort(n Node) {
	var found []Port
	for _, p := range m.s.Ports {
		if n.ServerID != "" && p.DeviceID == n.ServerID {
			found = append(found, p)
		}
	}
	total := len(found)
	if total > 1 {
		found = slices.DeleteFunc(found, func(p Port) bool {
			return !slices.ContainsFunc(n.Addresses, func(a netip.Addr) bool { return slices.Contains(p.Addresses, a) })
		})
	}
	if len(found) != 1 {
		text := fmt.Sprintf("server %q has no port in network %s; it may be new, or its spec.providerID names another server", n.ServerID, m.s.NetworkID)
		if total > 1 {
			text = fmt.Sprintf("server %q has %d ports in network %s, and the node's addresses do not tell which; give it one", n.ServerID, total, m.s.NetworkID)
		}
		m.notAllowed(n.Name, "", text)
		return
	}
	m.node[found[0].ID] = n.Name
}

func (m *maker) notAllowed(node, port, text string) {
	m.problem("node "+node, text)
	m.p.Nodes = append(m.p.Nodes, NodeState{Name: node, PortID: port, Reason: text})
}

func (m *maker) nodePort(p Port, node string, want, ours []netip.Addr) {
	if p.SecurityOff {
		m.judge(node, p.ID, "", want)
		return
	}
	limit := m.d.MaxPairs
	if limit == 0 {
		limit = defaultMaxPairs
	}
	pairs, _ := m.pairs(p, want, ours)
	if len(pairs) > limit {
		m.notAllowed(node, p.ID, fmt.Sprintf("port %s would have %d address pairs, and Neutron takes %d; remove others' pairs, or have max_allowed_address_pair raised", p.ID, len(pairs), limit))
		return
	}
	m.port(p, node, want, ours, m.groupID)
}

// pairs is the list as it shall be, and whether it differs from what is there.
func (m *maker) pairs(p Port, want, ours []netip.Addr) (out []Pair, differs bool) {
	have := map[netip.Addr]bool{}
	for _, pair := range p.Pairs {
		a, ok := host(pair.Address)
		mine := ok && sameMAC(pair.MAC, p.MAC) && slices.Contains(ours, a)
		if mine && !slices.Contains(want, a) {
			differs = true
			continue
		}
		have[a] = have[a] || mine
		out = append(out, pair)
	}
	for _, a := range want {
		if !have[a] {
			have[a], differs = true, true
			out = append(out, Pair{a.String(), strings.ToLower(p.MAC)})
		}
	}
	return out, differs
}

func (m *maker) port(p Port, node string, want, ours []netip.Addr, group string) {
	a := Action{Kind: UpdatePort, ID: p.ID, What: p.ID, Revision: p.Revision, Node: node}
	if node != "" {
		a.What = "of node " + node
	}
	var why []string
	a.Pairs, a.SetPairs = m.pairs(p, want, ours)
	if a.SetPairs {
		why = append(why, "address pairs differ")
	}
	for _, g := range p.Groups {
		foreign := !slices.ContainsFunc(m.s.Groups, func(x Group) bool { return x.ID == g && m.d.Owner.owns(x.Description, x.Tags) })
		if foreign || g == group {
			a.Groups = append(a.Groups, g)
		} else {
			a.SetGroup = true
		}
	}
	if group != "" && !slices.Contains(a.Groups, group) {
		a.Groups, a.SetGroup = append(a.Groups, group), true
	}
	if a.SetGroup {
		why = append(why, "security groups differ")
	}
	if node == "" && len(why) > 0 {
		why = append(why, "it is of no node any more")
	}
	if node != "" {
		m.judge(node, p.ID, strings.Join(why, ", "), want)
	}
	if len(why) > 0 {
		a.Why = strings.Join(why, ", ")
		m.do(a)
	}
}

// judge says whether a node may have the addresses.
func (m *maker) judge(node, port, reason string, want []netip.Addr) {
	if reason == "" && len(want) < len(m.d.VIPs) {
		reason = "not every address is reserved"
	}
	m.p.Nodes = append(m.p.Nodes, NodeState{Name: node, PortID: port, Allowed: reason == "", Reason: reason})
}

// host is an entry's address, if it is a single one.
func host(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), true
	}
	if p, err := netip.ParsePrefix(s); err == nil && p.IsSingleIP() {
		return p.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

func sameMAC(a, b string) bool {
	x, err := net.ParseMAC(a)
	y, err2 := net.ParseMAC(b)
	return err == nil && err2 == nil && x.String() == y.String()
}

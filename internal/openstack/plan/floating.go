package plan

import (
	"fmt"
	"slices"
)

// floating brings each floating IP to its VIP's port. Named ones are moved only from our own ports or from nowhere, unless they carry our tags.
func (m *maker) floating() {
	picked := slices.Clone(m.vips)
	for _, v := range m.d.VIPs {
		i := slices.IndexFunc(picked, func(s VIPState) bool {
			return s.Address == v.Address || !v.Address.IsValid() && s.Address.Is6() == v.IPv6 && !m.named(s)
		})
		if i < 0 {
			continue // not reserved: that is said already
		}
		s := picked[i]
		picked = slices.Delete(picked, i, i+1)
		if v.Floating != nil {
			m.lead(*v.Floating, &s)
		}
		m.p.VIPs = append(m.p.VIPs, s)
	}
}

func (m *maker) named(s VIPState) bool {
	return slices.ContainsFunc(m.d.VIPs, func(v VIP) bool { return v.Address == s.Address })
}

func (m *maker) lead(want Floating, s *VIPState) {
	for _, f := range m.s.FloatingIPs {
		mine := m.d.Owner.owns(f.Description, f.Tags)
		made := f.Description == m.d.Owner.Description()
		if want.Address.IsValid() && f.Address != want.Address || !want.Address.IsValid() && (!made || f.NetworkID != want.Pool || m.keep[f.ID]) {
			continue
		}
		m.keep[f.ID] = true
		s.Floating = f.Address
		leads := f.PortID != "" && f.PortID == s.PortID && f.Fixed == s.Address
		if leads && m.d.Owner.tagged(f.Tags) {
			return
		}
		if f.PortID != "" && f.PortID != s.PortID && !mine {
			m.problem(f.Address.String(), fmt.Sprintf("leads to port %s already, which is not ours; disassociate it first, or use another floating IP", f.PortID))
			return
		}
		a := Action{Kind: AssociateFloating, ID: f.ID, What: f.Address.String(), Why: "does not lead to " + s.Address.String(), Address: s.Address, PortID: s.PortID, Revision: f.Revision, Tags: m.tags(f.Tags)}
		if leads {
			a.Why = "tags are missing"
		}
		m.do(a)
		return
	}
	if want.Address.IsValid() {
		m.problem(want.Address.String(), "is no floating IP of this project; allocate it, or name a pool")
		return
	}
	m.do(Action{Kind: CreateFloating, What: "of " + want.Pool, Why: "none leads to " + s.Address.String(), Pool: want.Pool, Address: s.Address, PortID: s.PortID, Tags: m.d.Owner.Tags()})
}

// remove takes away what is ours and wanted no more. Ports go last: their addresses say which pairs are ours.
func (m *maker) remove() {
	const why = "is wanted no more"
	for _, f := range m.s.FloatingIPs {
		switch {
		case m.keep[f.ID] || !m.d.Owner.owns(f.Description, f.Tags):
		case f.Description == m.d.Owner.Description():
			m.do(Action{Kind: DeleteFloating, ID: f.ID, What: f.Address.String(), Why: why})
		default:
			m.do(Action{Kind: DisassociateFloating, ID: f.ID, What: f.Address.String(), Why: why + "; it stays, because it was not made by us", Revision: f.Revision, Tags: m.without(f.Tags)})
		}
	}
	for _, g := range m.s.Groups {
		if !m.keep[g.ID] && m.d.Owner.owns(g.Description, g.Tags) {
			m.do(Action{Kind: DeleteGroup, ID: g.ID, What: g.Name, Why: why})
		}
	}
	for _, p := range m.s.Ports {
		if !m.keep[p.ID] && m.ourPort(p) {
			m.do(Action{Kind: DeletePort, ID: p.ID, What: fmt.Sprint(p.Addresses), Why: why})
		}
	}
}

func (m *maker) without(tags []string) []string {
	return slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return slices.Contains(m.d.Owner.Tags(), t) })
}

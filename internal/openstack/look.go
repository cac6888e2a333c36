package openstack

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"net/url"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// look lists what there is: four requests, whatever the number of nodes.
func (s *Session) look(ctx context.Context, networks []string) (plan.State, error) {
	var st plan.State
	for _, n := range networks {
		st.NetworkID = n
		found, err := s.ports(ctx, url.Values{"network_id": {n}})
		if err != nil {
			return st, err
		}
		st.Ports = append(st.Ports, found...)
		if err := s.subnets(ctx, n, &st); err != nil {
			return st, err
		}
	}
	if err := s.groups(ctx, &st); err != nil {
		return st, err
	}
	err := s.floating(ctx, &st)
	return st, err
}

// query is a list's filter.
type query url.Values

// ToPortListQuery implements ports.ListOptsBuilder, which has no way to ask for several devices.
func (q query) ToPortListQuery() (string, error) { return "?" + url.Values(q).Encode(), nil }

// wirePort is a port with what the extensions add.
type wirePort struct {
	ID          string              `json:"id"`
	NetworkID   string              `json:"network_id"`
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Tags        []string            `json:"tags"`
	DeviceID    string              `json:"device_id"`
	DeviceOwner string              `json:"device_owner"`
	MAC         string              `json:"mac_address"`
	FixedIPs    []ports.IP          `json:"fixed_ips"`
	Pairs       []ports.AddressPair `json:"allowed_address_pairs"`
	Groups      []string            `json:"security_groups"`
	Security    *bool               `json:"port_security_enabled"`
	Created     string              `json:"created_at"`
	Revision    int                 `json:"revision_number"`
}

func (s *Session) wirePorts(ctx context.Context, q url.Values) (out []wirePort, err error) {
	const doing = "list ports"
	pages, err := ports.List(s.neutron, query(q)).AllPages(ctx)
	if err != nil {
		return nil, fault(doing+" "+q.Encode(), err)
	}
	err = ports.ExtractPortsInto(pages, &out)
	return out, fault(doing, err)
}

func (s *Session) ports(ctx context.Context, q url.Values) ([]plan.Port, error) {
	list, err := s.wirePorts(ctx, q)
	out := make([]plan.Port, 0, len(list))
	for _, w := range list {
		p := plan.Port{
			ID: w.ID, Name: w.Name, Description: w.Description, Tags: w.Tags, DeviceID: w.DeviceID, DeviceOwner: w.DeviceOwner, MAC: w.MAC,
			Groups: w.Groups, SecurityOff: w.Security != nil && !*w.Security, Created: w.Created, Revision: w.Revision,
		}
		for _, f := range w.FixedIPs {
			if a, err := netip.ParseAddr(f.IPAddress); err == nil {
				p.Addresses = append(p.Addresses, a)
			}
		}
		for _, x := range w.Pairs {
			p.Pairs = append(p.Pairs, plan.Pair{Address: x.IPAddress, MAC: x.MACAddress})
		}
		out = append(out, p)
	}
	return out, err
}

func (s *Session) subnets(ctx context.Context, network string, st *plan.State) error {
	const doing = "list subnets"
	pages, err := subnets.List(s.neutron, subnets.ListOpts{NetworkID: network}).AllPages(ctx)
	if err != nil {
		return fault(doing, err)
	}
	list, err := subnets.ExtractSubnets(pages)
	for _, x := range list {
		p, err := netip.ParsePrefix(x.CIDR)
		if err != nil {
			continue // no range that Neutron would hand out
		}
		gateway, _ := netip.ParseAddr(x.GatewayIP)
		st.Subnets = append(st.Subnets, plan.Subnet{ID: x.ID, Range: p, Gateway: gateway})
	}
	return fault(doing, err)
}

func (s *Session) groups(ctx context.Context, st *plan.State) error {
	const doing = "list security groups"
	pages, err := groups.List(s.neutron, groups.ListOpts{}).AllPages(ctx)
	if err != nil {
		return fault(doing, err)
	}
	list, err := groups.ExtractGroups(pages)
	for _, x := range list {
		g := plan.Group{ID: x.ID, Name: x.Name, Description: x.Description, Tags: x.Tags, Created: x.CreatedAt.Format("2006-01-02T15:04:05Z")}
		for _, r := range x.Rules {
			g.Rules = append(g.Rules, ruleOf(r))
		}
		st.Groups = append(st.Groups, g)
	}
	return fault(doing, err)
}

// ruleOf is a rule as Neutron has it. What our rules never are gets a port that none of them has.
func ruleOf(r rules.SecGroupRule) plan.Rule {
	out := plan.Rule{ID: r.ID, Description: r.Description, Direction: r.Direction, IPv6: r.EtherType == "IPv6", Protocol: r.Protocol, Port: r.PortRangeMin, RemoteGroup: r.RemoteGroupID}
	switch r.Protocol {
	case "vrrp":
		out.Protocol = "112"
	case "6":
		out.Protocol = "tcp"
	case "17":
		out.Protocol = "udp"
	}
	if r.PortRangeMin != r.PortRangeMax || r.RemoteAddressGroupID != "" {
		out.Port = -1
	}
	out.Remote, _ = netip.ParsePrefix(r.RemoteIPPrefix)
	return out
}

func (s *Session) floating(ctx context.Context, st *plan.State) error {
	const doing = "list floating IPs"
	pages, err := floatingips.List(s.neutron, floatingips.ListOpts{}).AllPages(ctx)
	if err != nil {
		return fault(doing, err)
	}
	list, err := floatingips.ExtractFloatingIPs(pages)
	for _, x := range list {
		address, _ := netip.ParseAddr(x.FloatingIP)
		fixed, _ := netip.ParseAddr(x.FixedIP)
		st.FloatingIPs = append(st.FloatingIPs, plan.FloatingIP{
			ID: x.ID, Description: x.Description, Tags: x.Tags, Address: address, NetworkID: x.FloatingNetworkID, PortID: x.PortID, Fixed: fixed, Revision: x.RevisionNumber,
		})
	}
	return fault(doing, err)
}

// askedNodes is how many servers are named in the one request that finds the network.
const askedNodes = 20

// network is the one with most of the nodes' ports.
func (s *Session) network(ctx context.Context, nodes []plan.Node) ([]string, error) {
	q := url.Values{}
	for _, n := range nodes[:min(len(nodes), askedNodes)] {
		if n.ServerID != "" {
			q.Add("device_id", n.ServerID)
		}
	}
	if len(q) == 0 {
		return nil, nil
	}
	list, err := s.wirePorts(ctx, q)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, p := range list {
		count[p.NetworkID]++
	}
	ids := slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b)) })
	return ids[:min(1, len(ids))], nil
}

// networksOf are those where something of the owner's may be.
func (s *Session) networksOf(ctx context.Context, r Ref) ([]string, error) {
	ids := map[string]bool{}
	if r.NetworkID != "" {
		ids[r.NetworkID] = true
	}
	queries := []url.Values{{"description": {r.Owner.Description()}}, {"tags": {joined(r.Owner.Tags())}}}
	var st plan.State
	if err := s.groups(ctx, &st); err != nil {
		return nil, err
	}
	for _, g := range st.Groups {
		if g.Description == r.Owner.Description() {
			queries = append(queries, url.Values{"security_groups": {g.ID}})
		}
	}
	for _, q := range queries {
		list, err := s.wirePorts(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			ids[p.NetworkID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

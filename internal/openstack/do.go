package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// doer carries one plan out; it knows the IDs of what it has made.
type doer struct {
	s       *Session
	owner   plan.Owner
	group   string
	ports   map[netip.Addr]string
	network string
	done    int
}

// all carries the plan out. A port that fails stops none of the others, but nothing is removed then: the ports' addresses are needed
// to find what is left. Anything else that fails ends the plan, because what follows may need it.
func (d *doer) all(ctx context.Context, actions []plan.Action) error {
	var failed []error
	for _, a := range actions {
		if len(failed) > 0 && a.Kind > plan.UpdatePort {
			break
		}
		err := fault(fmt.Sprintf("%s %s", a.Kind, a.What), d.one(ctx, a))
		switch {
		case err == nil:
			d.done++
		case a.Kind == plan.UpdatePort && ctx.Err() == nil:
			failed = append(failed, err)
		default:
			return err
		}
	}
	return errors.Join(failed...)
}

func (d *doer) one(ctx context.Context, a plan.Action) error {
	c := d.s.neutron
	switch a.Kind {
	case plan.CreateGroup:
		g, err := groups.Create(ctx, c, groups.CreateOpts{Name: a.What, Description: d.owner.Description()}).Extract()
		if err != nil {
			return err
		}
		d.group = g.ID
		return d.tag(ctx, "security-groups", g.ID, a.Tags)
	case plan.CreateRule:
		return d.rule(ctx, a)
	case plan.DeleteRule:
		return gone(rules.Delete(ctx, c, a.ID).ExtractErr())
	case plan.CreatePort:
		return d.port(ctx, a)
	case plan.TagPort:
		return d.tag(ctx, "ports", a.ID, a.Tags)
	case plan.TagGroup:
		return d.tag(ctx, "security-groups", a.ID, a.Tags)
	case plan.UpdatePort:
		return d.update(ctx, a)
	case plan.CreateFloating:
		f, err := floatingips.Create(ctx, c, floatingips.CreateOpts{Description: d.owner.Description(), FloatingNetworkID: a.Pool, PortID: d.portOf(a), FixedIP: a.Address.String()}).Extract()
		if err != nil {
			return err
		}
		return d.tag(ctx, "floatingips", f.ID, a.Tags)
	case plan.AssociateFloating:
		port := d.portOf(a)
		if err := floatingips.Update(ctx, c, a.ID, floatingips.UpdateOpts{PortID: &port, FixedIP: a.Address.String(), RevisionNumber: &a.Revision}).Err; err != nil {
			return err
		}
		return d.tag(ctx, "floatingips", a.ID, a.Tags)
	case plan.DisassociateFloating:
		nowhere := "" // gophercloud makes null of it
		if err := floatingips.Update(ctx, c, a.ID, floatingips.UpdateOpts{PortID: &nowhere, RevisionNumber: &a.Revision}).Err; err != nil {
			return gone(err)
		}
		return gone(d.tag(ctx, "floatingips", a.ID, a.Tags))
	case plan.DeleteFloating:
		return gone(floatingips.Delete(ctx, c, a.ID).ExtractErr())
	case plan.DeleteGroup:
		return gone(groups.Delete(ctx, c, a.ID).ExtractErr())
	case plan.DeletePort:
		return gone(ports.Delete(ctx, c, a.ID).ExtractErr())
	default:
		return fmt.Errorf("unknown action %d", a.Kind)
	}
}

func (d *doer) portOf(a plan.Action) string {
	if a.PortID != "" {
		return a.PortID
	}
	return d.ports[a.Address]
}

// tag replaces all tags; others' are among them.
func (d *doer) tag(ctx context.Context, kind, id string, tags []string) error {
	if tags == nil {
		tags = []string{}
	}
	return attributestags.ReplaceAll(ctx, d.s.neutron, kind, id, attributestags.ReplaceAllOpts{Tags: tags}).Err
}

func (d *doer) rule(ctx context.Context, a plan.Action) error {
	o := rules.CreateOpts{
		Direction: rules.DirIngress, Description: d.owner.Description(), EtherType: rules.EtherType4, SecGroupID: d.groupOf(a.ID),
		Protocol: rules.RuleProtocol(a.Rule.Protocol), PortRangeMin: a.Rule.Port, PortRangeMax: a.Rule.Port,
	}
	if a.Rule.IPv6 {
		o.EtherType = rules.EtherType6
	}
	if a.Rule.Remote.IsValid() {
		o.RemoteIPPrefix = a.Rule.Remote.Masked().String()
	}
	if a.Rule.RemoteGroup != "" {
		o.RemoteGroupID = d.groupOf(a.Rule.RemoteGroup)
	}
	err := rules.Create(ctx, d.s.neutron, o).Err
	if neutronType(err) == "SecurityGroupRuleExists" {
		return nil // somebody else has made it: it lets through all the same
	}
	return err
}

func (d *doer) groupOf(id string) string {
	if id == plan.NewGroup {
		return d.group
	}
	return id
}

func (d *doer) port(ctx context.Context, a plan.Action) error {
	ip := map[string]string{"subnet_id": a.SubnetID}
	if a.Address.IsValid() {
		ip["ip_address"] = a.Address.String()
	}
	p, err := ports.Create(ctx, d.s.neutron, ports.CreateOpts{
		NetworkID: d.network, Name: d.owner.ObjectName(), Description: d.owner.Description(), FixedIPs: []map[string]string{ip}, SecurityGroups: &[]string{},
	}).Extract()
	if err != nil {
		return err
	}
	d.ports[a.Address] = p.ID
	return d.tag(ctx, "ports", p.ID, a.Tags)
}

func (d *doer) update(ctx context.Context, a plan.Action) error {
	o := ports.UpdateOpts{RevisionNumber: &a.Revision}
	if a.SetPairs {
		pairs := make([]ports.AddressPair, 0, len(a.Pairs))
		for _, p := range a.Pairs {
			pairs = append(pairs, ports.AddressPair{IPAddress: p.Address, MACAddress: p.MAC})
		}
		o.AllowedAddressPairs = &pairs
	}
	if a.SetGroup {
		ids := make([]string, 0, len(a.Groups))
		for _, g := range a.Groups {
			ids = append(ids, d.groupOf(g))
		}
		o.SecurityGroups = &ids
	}
	return ports.Update(ctx, d.s.neutron, a.ID, o).Err
}

// gone takes what is not there for removed.
func gone(err error) error {
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	return err
}

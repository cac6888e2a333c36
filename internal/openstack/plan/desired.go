package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Desired is what shall be.
type Desired struct {
	Owner Owner
	// NetworkID is the network of the nodes' ports; found from them when empty.
	NetworkID string
	VIPs      []VIP
	// Nodes that may have the addresses: exactly their ports get pairs.
	Nodes []Node
	// Security, if not nil, is let through by a group of the owner's on the nodes' ports.
	Security *Security
	// Forbidden are the Kubernetes cluster's pod and service ranges, where a VIP would never arrive.
	Forbidden []netip.Prefix
	// MaxPairs is how many pairs a port takes (Neutron's max_allowed_address_pair); 0 stands for its default, 10.
	MaxPairs int
}

// VIP is one virtual address.
type VIP struct {
	// Address, or the zero Addr for one that Neutron picks.
	Address netip.Addr
	// IPv6: the family of one that Neutron picks.
	IPv6 bool
	// Floating, if not nil, leads to it.
	Floating *Floating
}

// Floating is a floating IP: one that exists, or one from a pool.
type Floating struct {
	Address netip.Addr
	Pool    string // ID of an external network
}

// Node that may have the addresses.
type Node struct {
	Name      string
	ServerID  string
	Addresses []netip.Addr // decide between several ports of one server
}

// Security is what the group lets in, besides VRRP among the nodes.
type Security struct {
	Clients []netip.Prefix // empty: everybody
	TLS     bool           // 853 besides 53
}

// defaultMaxPairs is Neutron's max_allowed_address_pair.
const defaultMaxPairs = 10

// Validate says what is wrong whatever there is in Neutron.
func (d Desired) Validate() error {
	var errs []error
	if d.Owner.Cluster == "" || d.Owner.Name == "" {
		errs = append(errs, errors.New("the owner's cluster or name is empty; both mark what is made in Neutron"))
	}
	if strings.ContainsAny(d.Owner.Cluster+d.Owner.Name, " ,") {
		errs = append(errs, fmt.Errorf("owner %q of cluster %q: use names without spaces and commas", d.Owner.Name, d.Owner.Cluster))
	}
	seen := map[netip.Addr]bool{}
	for _, v := range d.VIPs {
		if !v.Address.IsValid() {
			continue
		}
		if seen[v.Address] {
			errs = append(errs, fmt.Errorf("address %s is named twice; name each once", v.Address))
		}
		seen[v.Address] = true
		for _, p := range d.Forbidden {
			if p.Contains(v.Address) {
				errs = append(errs, fmt.Errorf("address %s lies in %s, a range of pods or services, where packets from outside never arrive; use one of the nodes' subnet", v.Address, p))
			}
		}
		if v.Floating != nil && v.Address.Is6() {
			errs = append(errs, fmt.Errorf("address %s is IPv6, which has no floating IPs; remove it", v.Address))
		}
	}
	return errors.Join(errs...)
}

func (v VIP) is6() bool {
	if v.Address.IsValid() {
		return v.Address.Is6()
	}
	return v.IPv6
}

package backends

import (
	"net/netip"
	"strings"
)

// What is read of Kubernetes' objects.
type (
	metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	slice struct {
		Metadata  metadata   `json:"metadata"`
		Endpoints []endpoint `json:"endpoints"`
	}
	endpoint struct {
		Addresses  []string `json:"addresses"`
		Hostname   string   `json:"hostname"`
		Conditions struct {
			Ready       *bool `json:"ready"`
			Terminating *bool `json:"terminating"`
		} `json:"conditions"`
		TargetRef struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"targetRef"`
	}
)

// primaries makes one list of all slices. A pod may be in several: once for each family of addresses, twice while Kubernetes moves it
// from one slice to another, and with an old address after it was made anew. It is one primary, at the address that is likeliest to be its
// own: of a ready endpoint before one that is not, of one that is not terminating before one that is, IPv4 before IPv6, else the lowest.
func primaries(all map[string]slice) []Primary {
	best := map[string]candidate{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			addr, err := netip.ParseAddr(e.Addresses[0]) // the others are the same endpoint (API reference: "fungible")
			if err != nil || !usable(addr) {
				continue // a slice of names (addressType FQDN), or nobody's address
			}
			c := candidate{addr: addr.Unmap(), ready: is(e.Conditions.Ready, true), stays: !is(e.Conditions.Terminating, false)}
			name := e.Hostname
			if e.TargetRef.Kind == "Pod" && e.TargetRef.Name != "" {
				name = e.TargetRef.Name
			}
			if !clean(name) {
				name = c.addr.String()
			}
			if old, ok := best[name]; !ok || c.better(old) {
				best[name] = c
			}
		}
	}
	list := make([]Primary, 0, len(best))
	for name, c := range best {
		list = append(list, Primary{Name: name, Addr: c.addr})
	}
	return list
}

// usable reports whether a primary can have the address. One with a zone is none that means the same everywhere, and a zone is
// any text: it would be written into HAProxy's configuration.
func usable(a netip.Addr) bool { return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() }

// clean reports whether a name is one that Kubernetes gives, which nobody has to quote (RFC 1123).
func clean(name string) bool {
	return name != "" && len(name) <= 253 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

type candidate struct {
	addr         netip.Addr
	ready, stays bool
}

func (c candidate) better(than candidate) bool {
	switch {
	case c.ready != than.ready:
		return c.ready
	case c.stays != than.stays:
		return c.stays
	}
	return c.addr.Less(than.addr) // IPv4 is less than IPv6
}

func is(v *bool, otherwise bool) bool {
	if v == nil {
		return otherwise
	}
	return *v
}

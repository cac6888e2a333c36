package front

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !conf.ValidName(c.Name) {
		bad("name", "%q is no node's name; use letters, digits, '-' and '_', at most 63", c.Name)
	}
	// keepalived and HAProxy would read other characters as something else than a path; 75 leaves room for sockets' names.
	if !filepath.IsAbs(c.Dir) || len(c.Dir) > 75 || strings.ContainsFunc(c.Dir, notInPath) {
		bad("dir", "%q; use an absolute path of at most 75 letters, digits, '/', '.', '-' and '_', such as /run/zonekeeper-front", c.Dir)
	}
	checkPort("listen.port", c.Listen.Port, bad)
	if n := c.Listen.UDPSockets; n < 0 || n > 64 {
		bad("listen.udp_sockets", "%d; use 1 to 64, or 0 for as many as cores", n)
	}
	switch c.Mode {
	case ModeVIP:
		c.validateVIP(bad)
	case ModeLoadBalancer, ModeService:
		c.validateListen(bad)
	default:
		bad("mode", "%q; use %q, %q or %q", c.Mode, ModeVIP, ModeLoadBalancer, ModeService)
	}
	c.validatePrimaries(bad)
	c.validateRest(bad)
	return errors.Join(errs...)
}

func notInPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/.-_", r)
}

func checkPort(field string, port int, bad conf.Bad) {
	if port < 1 || port > 65535 {
		bad(field, "%d is not a port; use 1 to 65535", port)
	}
}

// checkAddr reads an address; the zone of a link-local one belongs to an interface and can't be in a configuration for several.
func checkAddr(field, text string, bad conf.Bad) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		bad(field, "%q is not an IPv4 or IPv6 address; write it as 192.0.2.1 or 2001:db8::1", text)
		return netip.Addr{}, false
	}
	return a, true
}

func checkPrefixes(field string, list []string, bad conf.Bad) {
	for _, t := range list {
		if _, err := netip.ParsePrefix(t); err != nil {
			bad(field, "%q is not a prefix; write it as 192.0.2.0/24 or 2001:db8::/32", t)
		}
	}
}

func (c Config) validateVIP(bad conf.Bad) {
	if len(c.Listen.Addresses) > 0 {
		bad("listen.addresses", "%q; in mode vip the addresses are those of vip.addresses: remove it, or use another mode", c.Listen.Addresses)
	}
	if len(c.Listen.ProxyFrom) > 0 {
		bad("listen.proxy_from", "%q; PROXY headers come from load balancers: remove it, or use mode loadbalancer", c.Listen.ProxyFrom)
	}
	v := c.VIP
	if len(v.Interface) < 1 || len(v.Interface) > 15 || strings.ContainsFunc(v.Interface, notInPath) || strings.Contains(v.Interface, "/") {
		bad("vip.interface", "%q is no interface's name; name the one that has vip.node_address, such as eth0", v.Interface)
	}
	if v.RouterID < 1 || v.RouterID > 255 {
		bad("vip.router_id", "%d; use 1 to 255, the same on all front nodes and nobody else's in this network", v.RouterID)
	}
	node, ok := checkAddr("vip.node_address", v.NodeAddress, bad)
	if ok && (node.IsUnspecified() || node.IsLoopback() || node.IsMulticast()) {
		bad("vip.node_address", "%q; use the address by which the other front nodes reach this one", v.NodeAddress)
	}
	c.validateVIPs(node, bad)
	if len(v.Peers) == 0 {
		bad("vip.peers", "empty; list the other front nodes' node_address, or use mode service for a single node")
	}
	seen := map[netip.Addr]bool{}
	for _, t := range v.Peers {
		p, peerOK := checkAddr("vip.peers", t, bad)
		switch {
		case !peerOK:
		case p == node:
			bad("vip.peers", "%q is this node itself; list the others only", t)
		case seen[p]:
			bad("vip.peers", "%q is there twice; remove one", t)
		case ok && p.Is4() != node.Is4():
			bad("vip.peers", "%q is not of the family of vip.node_address %s; VRRP uses one family", t, node)
		}
		seen[p] = true
	}
	if d := time.Duration(v.AdvertInterval); d < 100*time.Millisecond || d > time.Second || d%(10*time.Millisecond) != 0 {
		bad("vip.advert_interval", "%s; use 100ms to 1s, in steps of 10ms", d)
	}
	if d := time.Duration(v.ARPRefresh); d < time.Second || d%time.Second != 0 {
		bad("vip.arp_refresh", "%s; use whole seconds, 1s or more", d)
	}
	if c.Keepalived.Path == "" {
		bad("keepalived.path", "empty; give the program's path, or \"keepalived\"")
	}
}

func (c Config) validateVIPs(node netip.Addr, bad conf.Bad) {
	own := false
	seen := map[netip.Addr]bool{}
	for _, t := range c.VIP.Addresses {
		p, err := netip.ParsePrefix(t)
		if err != nil || p.Addr().Is4In6() {
			bad("vip.addresses", "%q is not an address with its prefix length; write it as 192.0.2.100/32 or 2001:db8::100/128", t)
			continue
		}
		a := p.Addr()
		switch {
		case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
			bad("vip.addresses", "%q can't move between nodes; use an address of the network of vip.interface", t)
		case a == node || slices.Contains(c.VIP.Peers, a.String()):
			bad("vip.addresses", "%q is a node's own address; use one that belongs to no node", t)
		case seen[a]:
			bad("vip.addresses", "%q is there twice; remove one", t)
		}
		seen[a] = true
		own = own || node.IsValid() && a.Is4() == node.Is4()
	}
	if !own && node.IsValid() {
		bad("vip.addresses", "%q; at least one must be of the family of vip.node_address %s, which VRRP uses", c.VIP.Addresses, node)
	}
}

func (c Config) validateListen(bad conf.Bad) {
	if len(c.VIP.Addresses) > 0 {
		bad("vip.addresses", "%q; in mode %s no address moves: remove it and set listen.addresses, or use mode vip", c.VIP.Addresses, c.Mode)
	}
	if len(c.Listen.Addresses) == 0 {
		bad("listen.addresses", "empty; give the addresses that clients use, or 0.0.0.0 and ::")
	}
	for _, t := range c.Listen.Addresses {
		checkAddr("listen.addresses", t, bad)
	}
	checkPrefixes("listen.proxy_from", c.Listen.ProxyFrom, bad)
	switch {
	case c.Mode == ModeLoadBalancer && len(c.Listen.ProxyFrom) == 0:
		bad("listen.proxy_from", "empty; give the prefixes of the load balancer, or use mode service where no PROXY headers are sent")
	case c.Mode == ModeService && len(c.Listen.ProxyFrom) > 0:
		bad("listen.proxy_from", "%q; in mode service nobody sends PROXY headers: remove it, or use mode loadbalancer", c.Listen.ProxyFrom)
	}
}

func (c Config) validatePrimaries(bad conf.Bad) {
	p := c.Primaries
	switch n := conf.CountSet(p.DNS.Name, p.EndpointSlices.Service); {
	case len(p.Static) == 0 && n == 0:
		bad("primaries", "neither static nor dns.name nor endpoint_slices.service is set, so nobody would be asked; set one")
	case len(p.Static) > 0 && n > 0 || n > 1:
		bad("primaries", "more than one of static, dns.name and endpoint_slices.service is set; keep one")
	}
	names, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, x := range p.Static {
		if !conf.ValidName(x.Name) || names[x.Name] {
			bad("primaries.static", "%q is no primary's name, or is there twice; use letters, digits, '-' and '_', at most 63, each name once", x.Name)
		}
		names[x.Name] = true
		if a, ok := checkAddr("primaries.static", x.Address, bad); ok {
			if a.IsUnspecified() || addresses[a] {
				bad("primaries.static", "address %q of %s is no host's, or is there twice; give the address at which this primary listens", x.Address, x.Name)
			}
			addresses[a] = true
		}
	}
	if p.DNS.Name != "" && p.DNS.Every < conf.Duration(100*time.Millisecond) {
		bad("primaries.dns.every", "%s; use 100ms or more, such as 5s", time.Duration(p.DNS.Every))
	}
	if e := p.EndpointSlices; e.Service != "" && e.API != "" && conf.CountSet(e.Namespace, e.CA, e.TokenFile) != 3 {
		bad("primaries.endpoint_slices.api", "%q; outside of the cluster namespace, ca and token_file are needed as well", e.API)
	}
	checkPort("primaries.ports.dns", p.Ports.DNS, bad)
	checkPort("primaries.ports.front", p.Ports.Front, bad)
	checkPort("primaries.ports.admin", p.Ports.Admin, bad)
	for field, file := range map[string]string{"cert": p.TLS.Cert, "key": p.TLS.Key, "ca": p.TLS.CA} {
		if file == "" {
			bad("primaries.tls."+field, "empty; name a PEM file: the primaries want to see the front's certificate, and it theirs")
		}
	}
	if p.TLS.ServerName == "" && p.DNS.Name != "" {
		bad("primaries.tls.server_name", "empty; with primaries from DNS, which have no names, give the one that is in every primary's certificate")
	}
	if p.ProxyKeyFile == "" && c.Mode != ModeService {
		bad("primaries.proxy_key_file", "empty; name the file with the key of the primaries' dns.proxy_key_file: without it the clients' addresses are not believed")
	}
}

func (c Config) validateRest(bad conf.Bad) {
	if a := c.Announce; a.Lease != "" {
		if c.Mode != ModeVIP {
			bad("announce.lease", "%q; only in mode vip there is a holder to tell of: remove it", a.Lease)
		}
		if time.Duration(a.Every) < time.Second {
			bad("announce.every", "%s; use 1s or more, such as 15s", time.Duration(a.Every))
		}
	}
	for _, d := range []struct {
		field string
		value conf.Duration
	}{
		{"checks.every", c.Checks.Every}, {"checks.timeout", c.Checks.Timeout}, {"retry.after", c.Retry.After}, {"drain_timeout", c.DrainTimeout},
	} {
		if time.Duration(d.value) < time.Millisecond {
			bad(d.field, "%s; use a positive duration such as \"500ms\"", time.Duration(d.value))
		}
	}
	if d := time.Duration(c.Retry.After); d >= 3*time.Second {
		bad("retry.after", "%s; use less than 3s, when a request is forgotten", d)
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"checks.fall", c.Checks.Fall}, {"checks.rise", c.Checks.Rise},
		{"limits.connections", c.Limits.Connections}, {"limits.connections_per_address", c.Limits.ConnectionsPerAddress},
		{"limits.connections_per_second", c.Limits.ConnectionsPerSecond}, {"limits.datagrams_per_second", c.Limits.DatagramsPerSecond},
		{"limits.burst", c.Limits.Burst}, {"limits.pending", c.Limits.Pending},
	} {
		if n.value < 1 || n.value > 1<<24 {
			bad(n.field, "%d; use 1 to %d", n.value, 1<<24)
		}
	}
	if n := c.Retry.Max; n < 0 || n > 4 {
		bad("retry.max", "%d; use 0 to 4", n)
	}
	if b := c.Retry.Budget; !(b >= 0 && b <= 1) {
		bad("retry.budget", "%v; use a share of the requests, 0 to 1", b)
	}
	checkPrefixes("limits.exempt", c.Limits.Exempt, bad)
	if c.HAProxy.Path == "" {
		bad("haproxy.path", "empty; give the program's path, or \"haproxy\"")
	}
	if s := c.HAProxy.Stats; s != "" {
		if ap, err := netip.ParseAddrPort(s); err != nil || ap.Port() == 0 {
			bad("haproxy.stats", "%q is not address:port; use 127.0.0.1:8405, or \"\" for none", s)
		}
	}
	conf.CheckAdmin(c.Admin.Listen, "", "", "", func(field, format string, args ...any) {
		if ap, err := netip.ParseAddrPort(c.Admin.Listen); err == nil && !ap.Addr().IsLoopback() {
			bad(field, "%q is reachable from outside and has no authentication; use a loopback address", c.Admin.Listen)
			return
		}
		bad(field, format, args...)
	})
	conf.CheckLog(c.LogLevel, c.LogFormat, bad)
}

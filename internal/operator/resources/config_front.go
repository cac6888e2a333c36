package resources

import (
	"fmt"
	"path"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/front"
)

// Ports of a VIP's front on the node's loopback, which it shares with everything else there. VRRP's router ID tells VIPs apart.
const (
	vipStatsBase = 18000
	vipAdminBase = 18256
)

// frontConfig is what fronts of all exposures have in common.
func (in Input) frontConfig(name string) front.Config {
	c := front.DefaultConfig()
	c.Name = name
	c.Dir = pathFront
	c.Primaries.EndpointSlices.Namespace = in.Cluster.Namespace
	c.Primaries.EndpointSlices.Service = in.PrimaryName()
	// UDP goes to the port for fronts as well: there a header proves itself by its MAC, and pods' addresses prove nothing.
	c.Primaries.Ports.DNS, c.Primaries.Ports.Front, c.Primaries.Ports.Admin = portFront, portFront, portAdmin
	c.Primaries.TLS.Cert = path.Join(pathTLS, fileCert)
	c.Primaries.TLS.Key = path.Join(pathTLS, fileKey)
	c.Primaries.TLS.CA = path.Join(pathTLS, fileCA)
	c.Primaries.TLS.ServerName = in.domain(in.PrimaryName())
	c.Primaries.ProxyKeyFile = path.Join(pathFrontKey, fileFrontKey)
	l := in.Cluster.Spec.Limits
	set(&c.Limits.Connections, l.Connections)
	set(&c.Limits.ConnectionsPerAddress, l.ConnectionsPerAddress)
	if l.DatagramsPerSecond > 0 {
		c.Limits.DatagramsPerSecond, c.Limits.Burst = int(l.DatagramsPerSecond), 2*int(l.DatagramsPerSecond)
	}
	c.Limits.Exempt = texts(l.Exempt)
	c.LogLevel, c.LogFormat = orInfo(in.Cluster.Spec.LogLevel), "json"
	return c
}

func set(to *int, v int32) {
	if v > 0 {
		*to = int(v)
	}
}

func texts[T ~string](l []T) []string {
	var out []string
	for _, v := range l {
		out = append(out, string(v))
	}
	return out
}

// serviceConfig is what the front pods behind a Service read: all the same.
func (in Input) serviceConfig(e v1alpha1.Exposure) front.Config {
	c := in.frontConfig(in.FrontName(e.Name))
	c.Mode = front.ModeService
	c.Listen.Port = portDNS
	c.Listen.Addresses = in.wildcards()
	if lb := e.LoadBalancer; lb != nil && lb.ProxyProtocol {
		c.Mode = front.ModeLoadBalancer
		c.Listen.ProxyFrom = texts(lb.ProxyFrom)
	}
	return c
}

// vipConfig is what the front on one node reads.
func (in Input) vipConfig(v *v1alpha1.VirtualIP, lease string, node vipNode, all []vipNode) front.Config {
	c := in.frontConfig(FrontOf(node.name))
	c.Mode = front.ModeVIP
	c.VIP.Addresses = texts(v.Spec.Addresses)
	c.VIP.Interface = v.Spec.Interface
	c.VIP.RouterID = int(v.Spec.RouterID)
	if d := v.Spec.AdvertInterval.Duration; d > 0 {
		c.VIP.AdvertInterval = conf.Duration(d)
	}
	c.VIP.NodeAddress = node.address
	for _, n := range all {
		if n.name != node.name {
			c.VIP.Peers = append(c.VIP.Peers, n.address)
		}
	}
	c.HAProxy.Stats = fmt.Sprintf("127.0.0.1:%d", vipStatsBase+v.Spec.RouterID)
	c.Announce.Lease, c.Announce.Namespace = lease, in.Settings.FrontNamespace
	c.Admin.Listen = fmt.Sprintf("127.0.0.1:%d", vipAdminBase+v.Spec.RouterID)
	return c
}

// FrontOf is the name of a node's front: the node's, which may have dots and be long, as one that a front can have.
func FrontOf(node string) string { return label(strings.ReplaceAll(node, ".", "-")) }

// label shortens a name to what fits into a label or an annotation's key; the rest is told apart by a digest.
func label(name string) string {
	const longest = 63
	if len(name) <= longest {
		return name
	}
	d := digest(name)
	return name[:longest-len(d)-1] + "-" + d
}

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
)

// State is what there is in Neutron, as far as the plan needs it.
type State struct {
	NetworkID   string // of the nodes' ports; "" when it was not found
	Subnets     []Subnet
	Ports       []Port // all of the network
	Groups      []Group
	FloatingIPs []FloatingIP
}

// Subnet of the network.
type Subnet struct {
	ID      string
	Range   netip.Prefix
	Gateway netip.Addr
}

// Port of the network.
type Port struct {
	ID, Name, Description string
	Tags                  []string
	DeviceID, DeviceOwner string
	MAC                   string
	Addresses             []netip.Addr
	Pairs                 []Pair
	Groups                []string // IDs of security groups
	SecurityOff           bool     // port_security_enabled is false: nothing is filtered
	Created               string   // RFC 3339; of two that do the same the older stays
	Revision              int
}

// Pair is an entry of allowed_address_pairs. Address is an address or a prefix, as Neutron has it.
type Pair struct{ Address, MAC string }

// Group is a security group with its rules.
type Group struct {
	ID, Name, Description string
	Tags                  []string
	Rules                 []Rule
	Created               string
}

// Rule of a security group. Two rules are the same when all but ID and Description are.
type Rule struct {
	ID, Description string
	Direction       string // ingress or egress
	IPv6            bool
	Protocol        string // udp, tcp, or a number
	Port            int    // 0: any
	Remote          netip.Prefix
	RemoteGroup     string // ID of a group
}

// FloatingIP of the project.
type FloatingIP struct {
	ID, Description string
	Tags            []string
	Address         netip.Addr
	NetworkID       string // of the pool
	PortID          string // "" when it leads nowhere
	Fixed           netip.Addr
	Revision        int
}

// Owner of objects in Neutron: one VirtualIP of one Kubernetes cluster.
type Owner struct {
	Cluster string `json:"cluster"` // one of its own in the OpenStack project, such as a shoot's technical name
	Name    string `json:"name"`    // NAMESPACE/NAME
}

// maxTag is Neutron's limit of a tag (TAG: 60 characters up to 2023.2).
const maxTag = 60

// mark of all objects, as tag and as the first word of descriptions.
const mark = "zonekeeper"

// Description marks what the owner made. It is there from the request that makes an object, unlike tags.
func (o Owner) Description() string { return mark + " cluster=" + o.Cluster + " vip=" + o.Name }

// Tags are for people and tools to filter by.
func (o Owner) Tags() []string {
	return []string{mark, tag("zonekeeper-cluster=", o.Cluster), tag("zonekeeper-vip=", o.Name)}
}

// ObjectName is what ports and groups of the owner are called.
func (o Owner) ObjectName() string { return mark + "-" + strings.ReplaceAll(o.Name, "/", ".") }

// OwnerOf reads a description; ok is false when it is not one of ours.
func OwnerOf(description string) (o Owner, ok bool) {
	rest, ok := strings.CutPrefix(description, mark+" cluster=")
	if !ok {
		return o, false
	}
	o.Cluster, o.Name, ok = strings.Cut(rest, " vip=")
	return o, ok
}

// tag is a key with its value, or with the beginning of the value and its digest where it is too long. A comma separates tags in queries.
func tag(key, value string) string {
	t := key + strings.ReplaceAll(strings.ReplaceAll(value, "/", "."), ",", ".")
	if len(t) <= maxTag {
		return t
	}
	sum := sha256.Sum256([]byte(value))
	const digits = 12
	return t[:maxTag-digits-1] + "-" + hex.EncodeToString(sum[:])[:digits]
}

// owns: the description says so, or, where somebody has rewritten it, the tags.
func (o Owner) owns(description string, tags []string) bool {
	return description == o.Description() || o.tagged(tags)
}

func (o Owner) tagged(tags []string) bool {
	for _, t := range o.Tags() {
		if !slices.Contains(tags, t) {
			return false
		}
	}
	return true
}

// ServerID is the server that a node's spec.providerID names: openstack:///ID or openstack://REGION/ID.
func ServerID(providerID string) (string, bool) {
	rest, ok := strings.CutPrefix(providerID, "openstack://")
	if !ok {
		return "", false
	}
	_, id, ok := strings.Cut(rest, "/")
	return id, ok && id != ""
}

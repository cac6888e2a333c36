package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Addresses. They exist in the cluster's own namespaces, so they need not differ from those of another cluster.
const (
	hubAddr     = "10.250.0.1"
	portAPI     = 6443
	clusterDNS  = "10.96.0.10"
	serviceNet  = "10.96.0.0/16"
	serviceAPI  = "10.96.0.1"
	podNet      = "10.244.0.0/16"
	clusterName = "cluster.local"
	maxNodes    = 9
)

// Config is what a cluster is made of.
type Config struct {
	// Dir has all state. What is in it of an earlier cluster is removed.
	Dir string
	// Programs is the folder that scripts/build-kube.sh prints.
	Programs string
	// Listen is where the API is reached from the machine.
	Listen string
	// Nodes is their number.
	Nodes int
	// Images are archives that each node has from the start. ImagePause and ImageDNS must be among them.
	Images []string
	// Self is the program that runs Init when it is called with the arguments that Run gives it.
	Self string
}

// Images that the cluster itself needs.
const (
	ImagePause = "localhost/pause:1"
	ImageDNS   = "localhost/coredns:1"
)

// DefaultConfig has three nodes, and a free port.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:0", Nodes: 3} }

// Validate reports what is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lab: "+format, args...)) }
	if os.Geteuid() != 0 {
		bad("user %d can't make namespaces; run this as root", os.Geteuid())
	}
	if !filepath.IsAbs(c.Dir) {
		bad("Dir is %q; name an absolute path", c.Dir)
	}
	if _, err := os.Stat(filepath.Join(c.Programs, "kubelet")); err != nil {
		bad("Programs is %q: %w; give the folder that scripts/build-kube.sh prints", c.Programs, err)
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil || !net.ParseIP(host).IsLoopback() {
		bad("Listen is %q; use an address on loopback and a port, 0 for any", c.Listen)
	}
	if c.Nodes < 1 || c.Nodes > maxNodes {
		bad("Nodes is %d; use 1 to %d", c.Nodes, maxNodes)
	}
	for _, f := range c.Images {
		if _, err := os.Stat(f); err != nil {
			bad("image: %w", err)
		}
	}
	return errors.Join(errs...)
}

// NodeAddr is the address of a node by its name.
func NodeAddr(name string) string {
	i, _ := strconv.Atoi(strings.TrimPrefix(name, "n"))
	return nodeAddr(i)
}

// NodeName is the name of a node by its number, from 1 on.
func NodeName(i int) string { return "n" + strconv.Itoa(i) }
func nodeAddr(i int) string { return "10.250.0." + strconv.Itoa(10+i) }
func nodePods(i int) string { return fmt.Sprintf("10.244.%d.0/24", i) }

// zoneOf spreads the nodes over availability zones.
func zoneOf(i int) string { return "zone-" + strconv.Itoa(1+(i-1)%3) }

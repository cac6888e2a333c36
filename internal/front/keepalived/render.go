package keepalived

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config is what the configuration of keepalived is rendered from.
type Config struct {
	// Name is this node's, in keepalived's own log lines.
	Name string
	// Dir holds the configuration, the two track files, the FIFO and the PID files.
	Dir string
	// Interface has the node's address and gets the VIPs.
	Interface string
	// VIPs are the addresses that move, all together. One at least is of NodeAddress's family.
	VIPs []netip.Prefix
	// RouterID is VRRP's virtual router ID, 1-255, the same on all nodes and nobody else's on this network.
	RouterID int
	// NodeAddress is the source of advertisements, Peers are the other nodes'. Nobody else is listened to.
	NodeAddress netip.Addr
	Peers       []netip.Addr
	// AdvertInterval is the time between advertisements; three of them lost start an election.
	AdvertInterval time.Duration
	// ARPRefresh is how often the holder tells the neighbours again that the address is here.
	ARPRefresh time.Duration
	// Probe is a command that succeeds while the front works; a front that hangs writes no track file. Empty: none.
	Probe string
}

// Names of the files in Config.Dir.
const (
	configFile  = "keepalived.conf"
	localFile   = "local"
	quorumFile  = "quorum"
	fifoFile    = "vrrp.fifo"
	pidFile     = "keepalived.pid"
	vrrpPIDFile = "vrrp.pid"
)

// instance is the name of the one VRRP instance. There is one only: addresses of both families move together, and a track
// file with a weight is ignored in a sync group.
const instance = "vip"

// Render returns the configuration file. It is pure; keepalived itself judges the outcome (Check).
func Render(c Config) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	in := func(name string) string { return filepath.Join(c.Dir, name) }

	line("# Written by zonekeeper front; changes are lost.")
	line("global_defs {")
	line("    router_id %s", c.Name)
	line("    vrrp_version 3                  # sub-second advertisements; has no authentication, so peers are named one by one")
	line("    vrrp_check_unicast_src          # and nobody else is listened to")
	line("    vrrp_garp_master_delay 1")
	line("    vrrp_garp_master_repeat 3")
	line("    vrrp_garp_master_refresh %-6d # again, in seconds: neighbours that missed the first", int(c.ARPRefresh.Seconds()))
	line("    vrrp_garp_master_refresh_repeat 1")
	line("    vrrp_garp_lower_prio_repeat 1")
	line("    vrrp_higher_prio_send_advert true")
	line("    vrrp_notify_fifo %s", in(fifoFile))
	line("    vrrp_priority -5                # before other processes: a late advertisement is an election")
	line("    vrrp_no_swap")
	if c.Probe != "" {
		line("    enable_script_security")
		line("    script_user root")
	}
	line("}")
	line("track_file %s {                  # not 0: FAULT, the address leaves at once", localFile)
	line("    file %s", in(localFile))
	line("    weight 0")
	line("}")
	line("track_file %s {                 # 2 a primary is ready, 1 one answers, 0 none: only a preference", quorumFile)
	line("    file %s", in(quorumFile))
	line("    weight 10")
	line("}")
	if c.Probe != "" {
		line("vrrp_script alive {                 # a front that hangs writes no file")
		line("    script \"%s\"", c.Probe)
		line("    interval 1")
		line("    timeout 1")
		line("    fall 2")
		line("    rise 1")
		line("}")
	}
	line("vrrp_instance %s {", instance)
	line("    state BACKUP")
	line("    interface %s", c.Interface)
	line("    virtual_router_id %d", c.RouterID)
	line("    priority 100                    # the same on every node: the address returns nowhere by itself")
	line("    advert_int %s", strconv.FormatFloat(c.AdvertInterval.Seconds(), 'f', -1, 64))
	line("    unicast_src_ip %s", c.NodeAddress)
	line("    unicast_peer {")
	for _, p := range c.Peers {
		line("        %s", p)
	}
	line("    }")
	own, other := c.families()
	line("    virtual_ipaddress {")
	for _, v := range own {
		line("        %s dev %s", v, c.Interface)
	}
	line("    }")
	if len(other) > 0 {
		line("    virtual_ipaddress_excluded {    # of the other family: not in the advertisements, but it moves with them")
		for _, v := range other {
			line("        %s dev %s", v, c.Interface)
		}
		line("    }")
	}
	line("    track_file {")
	line("        %s", localFile)
	line("        %s", quorumFile)
	line("    }")
	if c.Probe != "" {
		line("    track_script {")
		line("        alive")
		line("    }")
	}
	line("}")
	return b.Bytes(), nil
}

// families splits the VIPs into those of VRRP's own transport and the others. Among the first of IPv6 a link-local one has to lead
// (RFC 9568, section 5.2.9).
func (c Config) families() (own, other []netip.Prefix) {
	for _, v := range c.VIPs {
		switch {
		case v.Addr().Is4() != c.NodeAddress.Is4():
			other = append(other, v)
		case v.Addr().Is6() && v.Addr().IsLinkLocalUnicast():
			own = append([]netip.Prefix{v}, own...)
		default:
			own = append(own, v)
		}
	}
	return own, other
}

// check refuses what keepalived would read as something else than it is meant to be.
func (c Config) check() error {
	for field, s := range map[string]string{"name": c.Name, "directory": c.Dir, "interface": c.Interface} {
		if s == "" || strings.ContainsAny(s, " \t\r\n\"'#!{}$@~") {
			return fmt.Errorf("%s %q: keepalived's configuration can't carry it; use letters, digits, '/', '.', '-' and '_'", field, s)
		}
	}
	if strings.ContainsAny(c.Probe, "\r\n\"#!{}$@~") {
		return fmt.Errorf("probe %q: keepalived's configuration can't carry it; give the program a path of letters, digits, '/', '.', '-' and '_'", c.Probe)
	}
	if own, _ := c.families(); len(own) == 0 {
		return fmt.Errorf("no VIP is of the family of the node's address %s; add one, or give the node's address of the VIPs' family", c.NodeAddress)
	}
	return nil
}

// Check lets keepalived (path) judge a configuration file. The error carries its lines.
func Check(ctx context.Context, path, file string) error {
	out, err := exec.CommandContext(ctx, path, "-t", "-f", file).CombinedOutput()
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s -t -f %s: %w; install keepalived (apt-get install keepalived), or name the program in keepalived.path", path, file, err)
	}
	return fmt.Errorf("%s -t -f %s: %w: %s", path, file, err, strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "))
}

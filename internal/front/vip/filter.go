package vip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// table is the name of the nftables table that Filter makes. There strangersName is the counter of what it drops; the sets of that
// name, with 4 and 6, know from whom. The sets of peersName have those that it lets through.
const table, strangersName, peersName = "zonekeeper", "strangers", "peers"

// Filter drops VRRP (IP protocol 112) that comes in by the interface from anybody but the peers, before keepalived sees it:
// keepalived turns strangers away by itself, but is disturbed by them. Strangers tells what it drops. It returns what takes
// the filter away again. The program nft does it; the one table belongs to this node's front alone and replaces what an earlier
// one left.
func Filter(ctx context.Context, iface string, peers []netip.Addr) (remove func() error, err error) {
	if err := nft(ctx, filterScript(iface, peers)); err != nil {
		return nil, fmt.Errorf("keep VRRP of others than the peers out: %w", err)
	}
	return func() error {
		if err := nft(context.WithoutCancel(ctx), removeScript()); err != nil {
			return fmt.Errorf("take the VRRP filter away: %w", err)
		}
		return nil
	}, nil
}

// SetPeers makes others the peers whose packets a filter lets through; it is one transaction, and what was counted stays. The filter
// must have been made before.
func SetPeers(ctx context.Context, peers []netip.Addr) error {
	if err := nft(ctx, peersScript(peers)); err != nil {
		return fmt.Errorf("let VRRP of the peers in: %w", err)
	}
	return nil
}

func peersScript(peers []netip.Addr) string {
	var b strings.Builder
	for _, family := range []string{"4", "6"} {
		fmt.Fprintf(&b, "flush set inet %s %s%s\n", table, peersName, family)
		if list := ofFamily(peers, family); len(list) > 0 {
			fmt.Fprintf(&b, "add element inet %s %s%s { %s }\n", table, peersName, family, strings.Join(list, ", "))
		}
	}
	return b.String()
}

// ofFamily writes the addresses of IPv4 or IPv6.
func ofFamily(addrs []netip.Addr, family string) (out []string) {
	for _, a := range addrs {
		if a.Is6() == (family == "6") {
			out = append(out, a.String())
		}
	}
	return out
}

// HoldBack drops the first packet of every new TCP connection to the VIPs at port, while those that are open go on: the client's
// system repeats it a second later (RFC 6298, section 2), when the addresses are at another node, instead of opening a connection
// that would break when they move. It lasts until the filter is taken away (see Filter), which must have been made before.
func HoldBack(ctx context.Context, vips []netip.Addr, port uint16) error {
	if err := nft(ctx, holdBackScript(vips, port)); err != nil {
		return fmt.Errorf("hold new connections back: %w", err)
	}
	return nil
}

func holdBackScript(vips []netip.Addr, port uint16) string {
	var b strings.Builder
	fmt.Fprintf(&b, "add chain inet %s drain { type filter hook input priority -10; policy accept; }\n", table)
	for _, v := range vips {
		family := "ip"
		if v.Is6() {
			family = "ip6"
		}
		fmt.Fprintf(&b, "add rule inet %s drain %s daddr %s tcp dport %d tcp flags & (syn | ack) == syn counter drop\n", table, family, v, port)
	}
	return b.String()
}

// removeScript deletes the table; declared first, because deleting what is not there is an error.
func removeScript() string { return "table inet " + table + "\ndelete table inet " + table + "\n" }

// filterScript is one transaction of nft.
func filterScript(iface string, peers []netip.Addr) string {
	var b strings.Builder
	b.WriteString(removeScript())
	fmt.Fprintf(&b, "table inet %s {\n  counter %s { }\n", table, strangersName)
	// A full set takes nobody else, and the packet goes on to the next rule.
	for _, f := range []struct{ name, key string }{{"4", "ipv4_addr"}, {"6", "ipv6_addr"}} {
		fmt.Fprintf(&b, "  set %s%s { type %s; size 64; flags dynamic,timeout; timeout 10m; }\n", strangersName, f.name, f.key)
		fmt.Fprintf(&b, "  set %s%s { type %s; }\n", peersName, f.name, f.key)
	}
	// Before other tables' rules (priority 0): what they accept must not pass here.
	b.WriteString("  chain vrrp {\n    type filter hook input priority -10; policy accept;\n")
	fmt.Fprintf(&b, "    iifname %q meta l4proto 112 ip saddr @%s4 accept\n", iface, peersName)
	fmt.Fprintf(&b, "    iifname %q meta l4proto 112 ip6 saddr @%s6 accept\n", iface, peersName)
	fmt.Fprintf(&b, "    iifname %q meta l4proto 112 update @%s4 { ip saddr }\n", iface, strangersName)
	fmt.Fprintf(&b, "    iifname %q meta l4proto 112 update @%s6 { ip6 saddr }\n", iface, strangersName)
	fmt.Fprintf(&b, "    iifname %q meta l4proto 112 counter name %s drop\n  }\n}\n", iface, strangersName)
	b.WriteString(peersScript(peers))
	return b.String()
}

func nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w; install nftables, or let a security group admit protocol 112 from the fronts only", err)
	}
	return fmt.Errorf("nft: %w: %s; without nftables in the kernel let a security group admit protocol 112 from the fronts only", err, bytes.TrimSpace(out))
}

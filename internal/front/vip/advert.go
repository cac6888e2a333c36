package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// protocolVRRP is VRRP's number (RFC 9568, section 5.1.1.4).
const protocolVRRP = 112

// Advertised returns the first of the peers from which a VRRP packet comes to this node's address before ctx ends, and ctx's error
// when none does. It needs CAP_NET_RAW; keepalived receives its own copy of each packet.
func Advertised(ctx context.Context, node netip.Addr, peers []netip.Addr) (netip.Addr, error) {
	network := fmt.Sprintf("ip4:%d", protocolVRRP)
	if node.Is6() {
		network = fmt.Sprintf("ip6:%d", protocolVRRP)
	}
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, network, node.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("hear VRRP at %s: %w; run as root or with CAP_NET_RAW", node, err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Now()) })()
	defer func() { _ = c.Close() }() // nothing was written
	buf := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return netip.Addr{}, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return netip.Addr{}, fmt.Errorf("hear VRRP at %s: %w", node, err)
		}
		if ip, ok := from.(*net.IPAddr); ok {
			if a, ok := netip.AddrFromSlice(ip.IP); ok && slices.Contains(peers, a.Unmap()) {
				return a.Unmap(), nil
			}
		}
	}
}

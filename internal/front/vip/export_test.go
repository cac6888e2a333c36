package vip

import (
	"net"
	"net/netip"
)

// The pure parts, for tests.
func Judge(answers []Owner, vips, peers []netip.Addr, own []net.HardwareAddr) Holders {
	return judge(answers, vips, peers, own)
}

func ParseARP(b []byte) (Owner, bool)                       { return parseARP(b) }
func ParseAdvertisement(b []byte, mac []byte) (Owner, bool) { return parseAdvertisement(b, mac) }
func ArpProbe(a netip.Addr, own net.HardwareAddr) []byte    { return arpProbe(a, own) }
func ParseDropped(text []byte) (Dropped, error)             { return parseDropped(text) }
func Solicitation(a netip.Addr) []byte                      { return solicitation(a) }

package vip

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// swap gives a 16-bit number in network order, as packet sockets want the protocol.
func swap(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// arpProbe is an ARP request with sender address 0 (RFC 5227, section 2.1.1): it asks without telling anybody an address.
func arpProbe(target netip.Addr, own net.HardwareAddr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, their lengths, request (RFC 826)
	b = append(b, own...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(b, target.AsSlice()...)
}

// parseARP reads an ARP packet: whoever sends one with a sender address uses that address.
func parseARP(b []byte) (Owner, bool) {
	if len(b) < 28 || !slices.Equal(b[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return Owner{}, false
	}
	a := netip.AddrFrom4([4]byte(b[14:18]))
	if !a.IsValid() || a.IsUnspecified() {
		return Owner{}, false
	}
	return Owner{Addr: a, MAC: slices.Clone(b[8:14])}, true
}

// Types of ICMPv6 (RFC 4861, section 4).
const (
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	protocolICMPv6        = 58
)

// solicitedNode is the multicast address at which the owner of a listens (RFC 4291, section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	g := [16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff}
	b := a.As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g)
}

// solicitation is a neighbor solicitation from the unspecified address, as duplicate address detection sends it.
func solicitation(target netip.Addr) []byte {
	b := make([]byte, 40+24)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], 24)
	b[6], b[7] = protocolICMPv6, 255
	to, t := solicitedNode(target).As16(), target.As16()
	copy(b[24:40], to[:])
	b[40] = neighborSolicitation
	copy(b[48:], t[:])
	binary.BigEndian.PutUint16(b[42:], checksum(b[8:40], b[40:]))
	return b
}

// parseAdvertisement reads a neighbor advertisement: whoever sends it uses the target address. mac is the sender's.
func parseAdvertisement(b []byte, mac []byte) (Owner, bool) {
	if len(b) < 40+24 || b[0]>>4 != 6 || b[6] != protocolICMPv6 || b[7] != 255 || b[40] != neighborAdvertisement || b[41] != 0 || len(mac) != 6 {
		return Owner{}, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < 24 || len(b) < 40+size || checksum(b[8:40], b[40:40+size]) != 0 {
		return Owner{}, false
	}
	return Owner{Addr: netip.AddrFrom16([16]byte(b[48:64])), MAC: slices.Clone(mac)}, true
}

// checksum is ICMPv6's, with the pseudo-header (RFC 8200, section 8.1); over a message with its checksum it is 0.
func checksum(addresses, message []byte) uint16 {
	sum := uint32(len(message)) + protocolICMPv6 //nolint:gosec // a packet
	for _, part := range [][]byte{addresses, message} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 == 1 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded above
}

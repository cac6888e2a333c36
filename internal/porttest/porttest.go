// Package porttest hands out addresses on loopback that a test's servers can still bind when they start.
package porttest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// The range lies below the ephemeral ports, of which any socket of any process may be given one between the moment a port is found
// free and the moment a server binds it; a named that finds its UDP port taken serves TCP alone, and says so in its log only. It lies
// below those of package devcluster, which looks for its own.
const (
	first    = 2000
	end      = 10000
	attempts = 200
)

// given are the ports that this process has handed out: their servers may not have started yet.
var given sync.Map //nolint:gochecknoglobals // of the process, as ports are

// Addr is an address on 127.0.0.1 whose port nobody has, over TCP or UDP.
func Addr(t testing.TB) netip.AddrPort {
	t.Helper()
	for range attempts {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(first+rand.IntN(end-first))) //nolint:gosec // below 2^16
		if !free(addr) {
			continue
		}
		if _, taken := given.LoadOrStore(addr.Port(), true); !taken {
			t.Cleanup(func() { given.Delete(addr.Port()) })
			return addr
		}
	}
	t.Fatalf("no port of 127.0.0.1 between %d and %d is free for both UDP and TCP in %d attempts", first, end, attempts)
	return netip.AddrPort{}
}

func free(addr netip.AddrPort) bool {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	return u.Close() == nil
}

package porttest

import (
	"net"
	"net/netip"
	"testing"
)

// TestAddr: many at a time are all different, free, and no ephemeral ports.
func TestAddr(t *testing.T) {
	seen := map[netip.AddrPort]bool{}
	for range 200 {
		a := Addr(t)
		if seen[a] || a.Port() < first || a.Port() >= end {
			t.Errorf("%v", a)
		}
		seen[a] = true
		if !free(a) {
			t.Errorf("%v is taken", a)
		}
	}
}

// TestFree: a port that has a server, of either kind, is not free.
func TestFree(t *testing.T) {
	a := Addr(t)
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(a))
	if err != nil {
		t.Fatal(err)
	}
	if free(a) {
		t.Error("taken over UDP")
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if free(a) {
		t.Error("taken over TCP")
	}
}

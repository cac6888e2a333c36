package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// listenTries is how many ports are tried when any will do: one that is free for
// TCP may be taken for UDP.
const listenTries = 16

// listen binds one port for TCP and UDP.
func listen(at netip.AddrPort) (*net.TCPListener, *net.UDPConn, error) {
	var err error
	for range listenTries {
		var tcp *net.TCPListener
		if tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
			return nil, nil, fmt.Errorf("proxy: listen on %v over TCP: %w", at, err)
		}
		port := tcp.Addr().(*net.TCPAddr).AddrPort().Port()
		var udp *net.UDPConn
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr(), port))); err == nil {
			return tcp, udp, nil
		}
		tcp.Close()
		if at.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, nil, fmt.Errorf("proxy: listen on %v over UDP: %w", at, err)
}

package endpoint

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// packetIO reads and writes the datagrams of one socket. On a wildcard socket
// each comes with a control message that names the address it was sent to; sent
// back with the reply, it makes the reply leave from there.
//
// One system call moves one datagram: recvmmsg and sendmmsg would save the entry
// into the kernel, about a tenth of the 5 µs that a datagram and its reply cost
// there, for buffers of 64 KiB a datagram.
type packetIO struct {
	conn    *net.UDPConn
	in      []byte
	control []byte // nil unless the socket is a wildcard's
}

// controlSize fits one packet information message of either address family.
const controlSize = 64

func newPacketIO(conn *net.UDPConn, wildcard bool) (packetIO, error) {
	p := packetIO{conn: conn, in: make([]byte, maxMessage)}
	if !wildcard {
		return p, nil
	}
	p.control = make([]byte, controlSize)
	var err error
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		err = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	} else {
		err = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	if err != nil {
		return p, fmt.Errorf("endpoint: ask for destination addresses on %v: %w", conn.LocalAddr(), err)
	}
	return p, nil
}

// read waits for a datagram; what it returns is valid until the next call.
func (p *packetIO) read() (msg []byte, peer netip.AddrPort, control []byte, err error) {
	n, c, _, peer, err := p.conn.ReadMsgUDPAddrPort(p.in, p.control)
	if err != nil {
		return nil, peer, nil, err
	}
	return p.in[:n], peer, p.control[:c], nil
}

// write sends a datagram. It may be called while another goroutine reads.
func (p *packetIO) write(msg []byte, peer netip.AddrPort, control []byte) error {
	_, _, err := p.conn.WriteMsgUDPAddrPort(msg, control, peer)
	return err
}

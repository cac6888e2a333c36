package endpoint

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// batchIO reads and writes datagrams. On a wildcard socket each datagram comes
// with a control message that names the address it was sent to; sent back with
// the reply, it makes the reply leave from there.
type batchIO struct {
	conn     *net.UDPConn
	wildcard bool

	in      []byte
	inSize  int
	inPeer  netip.AddrPort
	control []byte
	ctlSize int

	out  []byte
	lost int
}

// controlSize fits one packet information message of either address family.
const controlSize = 64

func newBatchIO(conn *net.UDPConn, wildcard bool) (batchIO, error) {
	b := batchIO{conn: conn, wildcard: wildcard, in: make([]byte, maxMessage)}
	if !wildcard {
		return b, nil
	}
	b.control = make([]byte, controlSize)
	var err error
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		err = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	} else {
		err = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	}
	if err != nil {
		return b, fmt.Errorf("endpoint: ask for destination addresses on %v: %w", conn.LocalAddr(), err)
	}
	return b, nil
}

// read waits for datagrams and returns how many there are.
func (b *batchIO) read() (int, error) {
	var err error
	b.inSize, b.ctlSize, _, b.inPeer, err = b.conn.ReadMsgUDPAddrPort(b.in, b.control)
	return 1, err
}

// datagram returns one of those that read got; it is valid until the next read.
func (b *batchIO) datagram(int) (msg []byte, peer netip.AddrPort, control []byte) {
	return b.in[:b.inSize], b.inPeer, b.control[:b.ctlSize]
}

// queue adds a reply to what flush sends; render appends its octets.
func (b *batchIO) queue(render func([]byte) []byte, peer netip.AddrPort, control []byte) {
	b.out = render(b.out[:0])
	if _, _, err := b.conn.WriteMsgUDPAddrPort(b.out, control, peer); err != nil {
		b.lost++
	}
}

// flush sends what is queued and returns how many datagrams were lost.
func (b *batchIO) flush() int {
	n := b.lost
	b.lost = 0
	return n
}

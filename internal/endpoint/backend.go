package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

// backend asks the local named. Messages pass with the client's ID: a socket
// carries one question at a time, so an answer can't be taken for another's.
type backend struct {
	named   netip.AddrPort
	source  netip.Addr
	timeout time.Duration

	buffers sync.Pool // of *[maxMessage]byte

	mu  sync.Mutex
	udp []*net.UDPConn // idle
	tcp []*net.TCPConn // idle
}

// maxIdle is how many idle sockets of a kind are kept.
const maxIdle = 64

var errBackend = errors.New("endpoint: named does not answer")

// exchangeUDP asks one question over UDP.
func (b *backend) exchangeUDP(ctx context.Context, query []byte) ([]byte, error) {
	conn, err := b.dialUDP()
	if err != nil {
		return nil, err
	}
	reply, err := b.askUDP(ctx, conn, query)
	if err != nil {
		conn.Close() // a late answer must not meet the next question
		return nil, fmt.Errorf("%w: %v over UDP: %w", errBackend, b.named, err)
	}
	b.mu.Lock()
	if len(b.udp) < maxIdle {
		b.udp, conn = append(b.udp, conn), nil
	}
	b.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	return reply, nil
}

func (b *backend) dialUDP() (*net.UDPConn, error) {
	b.mu.Lock()
	if n := len(b.udp); n > 0 {
		conn := b.udp[n-1]
		b.udp = b.udp[:n-1]
		b.mu.Unlock()
		return conn, nil
	}
	b.mu.Unlock()
	conn, err := net.DialUDP("udp", b.udpSource(), net.UDPAddrFromAddrPort(b.named))
	if err != nil {
		return nil, fmt.Errorf("%w: socket from %v to %v: %w", errBackend, b.source, b.named, err)
	}
	return conn, nil
}

// udpSource is the source address, which named's ACLs admit; ::1 takes the place
// of an IPv4 source when named listens on IPv6.
func (b *backend) udpSource() *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.from(), 0))
}

func (b *backend) from() netip.Addr {
	if b.named.Addr().Is4() != b.source.Is4() {
		return netip.Addr{}
	}
	return b.source
}

func (b *backend) askUDP(ctx context.Context, conn *net.UDPConn, query []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf, ok := b.buffers.Get().(*[maxMessage]byte)
	if !ok {
		buf = new([maxMessage]byte)
	}
	defer b.buffers.Put(buf)
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, err
		}
		if n >= headerLen && buf[0] == query[0] && buf[1] == query[1] && buf[2]&0x80 != 0 {
			return append([]byte(nil), buf[:n]...), nil
		}
	}
}

// exchangeTCP asks one question over TCP.
func (b *backend) exchangeTCP(ctx context.Context, query []byte) ([]byte, error) {
	conn, idle, err := b.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := askTCP(ctx, conn, query)
	if err != nil && idle && ctx.Err() == nil {
		// named closed the idle connection; asking again is harmless.
		conn.Close()
		if conn, err = b.connect(ctx); err != nil {
			return nil, err
		}
		reply, err = askTCP(ctx, conn, query)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %v over TCP: %w", errBackend, b.named, err)
	}
	b.keep(conn)
	return reply, nil
}

func askTCP(ctx context.Context, conn *net.TCPConn, query []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := xfr.WriteFrame(conn, query); err != nil {
		return nil, err
	}
	reply, err := xfr.ReadFrame(conn, nil)
	if err != nil {
		return nil, err
	}
	if len(reply) < headerLen || reply[0] != query[0] || reply[1] != query[1] {
		return nil, errors.New("an answer to something else")
	}
	return reply, nil
}

func (b *backend) dialTCP(ctx context.Context) (conn *net.TCPConn, idle bool, err error) {
	b.mu.Lock()
	if n := len(b.tcp); n > 0 {
		conn = b.tcp[n-1]
		b.tcp = b.tcp[:n-1]
		b.mu.Unlock()
		return conn, true, nil
	}
	b.mu.Unlock()
	conn, err = b.connect(ctx)
	return conn, false, err
}

func (b *backend) connect(ctx context.Context) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: b.timeout}
	if from := b.from(); from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", b.named.String())
	if err != nil {
		return nil, fmt.Errorf("%w: connection from %v to %v: %w", errBackend, b.source, b.named, err)
	}
	return conn.(*net.TCPConn), nil
}

func (b *backend) keep(conn *net.TCPConn) {
	b.mu.Lock()
	if len(b.tcp) < maxIdle {
		b.tcp, conn = append(b.tcp, conn), nil
	}
	b.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// close closes the idle sockets.
func (b *backend) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.udp {
		c.Close()
	}
	for _, c := range b.tcp {
		c.Close()
	}
	b.udp, b.tcp = nil, nil
}

// transfer is the connection of one zone transfer. It is not used again: what
// named sends after a transfer that we cut short must meet nobody.
type transfer struct {
	conn    *net.TCPConn
	timeout time.Duration
	stop    func() bool
	buf     []byte // of the message before
}

// transfer asks for a transfer. ctx ends it early.
func (b *backend) transfer(ctx context.Context, query []byte) (*transfer, error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	t := &transfer{conn: conn, timeout: b.timeout, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	if err := conn.SetDeadline(time.Now().Add(t.timeout)); err != nil {
		t.close()
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	if err := xfr.WriteFrame(conn, query); err != nil {
		t.close()
		return nil, fmt.Errorf("%w: %v over TCP: %w", errBackend, b.named, err)
	}
	return t, nil
}

// next returns the next message, in a buffer that the call after it uses again.
func (t *transfer) next() ([]byte, error) {
	if err := t.conn.SetDeadline(time.Now().Add(t.timeout)); err != nil {
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	var err error
	t.buf, err = xfr.ReadFrame(t.conn, t.buf)
	if err != nil {
		return nil, fmt.Errorf("%w: zone transfer: %w", errBackend, err)
	}
	return t.buf, nil
}

func (t *transfer) close() {
	t.stop()
	t.conn.Close()
}

package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

const (
	// maxIdle is how many idle connections to a primary are kept.
	maxIdle = 64
	// idleFor is how long: less than the 30 s after which an endpoint closes them.
	idleFor = 10 * time.Second
	// readBuffer fits an answer to a question for the SOA.
	readBuffer = 1024
)

// upstream is a connection to a primary. It carries one question at a time, so an
// answer can't be taken for another's.
type upstream struct {
	net.Conn
	r     *bufio.Reader
	addr  netip.AddrPort
	used  bool // it has carried a question before
	since time.Time
}

// pool keeps idle connections to primaries.
type pool struct {
	dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

	mu     sync.Mutex
	idle   map[netip.AddrPort][]*upstream
	closed bool
}

func newPool() *pool {
	return &pool{
		dial: func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr.String())
		},
		idle: map[netip.AddrPort][]*upstream{},
	}
}

// get returns an idle connection, or nil.
func (p *pool) get(addr netip.AddrPort) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.idle[addr]
	if len(l) == 0 {
		return nil
	}
	c := l[len(l)-1] // the one used last
	p.idle[addr] = l[:len(l)-1]
	return c
}

// connect makes a new connection.
func (p *pool) connect(ctx context.Context, addr netip.AddrPort) (*upstream, error) {
	if !addr.IsValid() {
		return nil, fmt.Errorf("%w: its address is not known yet", ErrUnreachable)
	}
	c, err := p.dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return &upstream{Conn: c, r: bufio.NewReaderSize(c, readBuffer), addr: addr}, nil
}

// put takes back a connection whose last answer was read to its end.
func (p *pool) put(c *upstream) {
	c.used, c.since = true, time.Now()
	p.mu.Lock()
	if l := p.idle[c.addr]; !p.closed && len(l) < maxIdle && c.r.Buffered() == 0 {
		p.idle[c.addr], c = append(l, c), nil
	}
	p.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// sweep closes connections that have been idle for long.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, l := range p.idle {
		n := 0 // the oldest come first
		for n < len(l) && time.Since(l[n].since) > idleFor {
			l[n].Close()
			n++
		}
		if n == len(l) {
			delete(p.idle, addr)
		} else {
			p.idle[addr] = l[n:]
		}
	}
}

// close closes the idle connections, and each one that comes back later.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.idle {
		for _, c := range l {
			c.Close()
		}
	}
	p.idle = nil
}

// send writes a question.
func (c *upstream) send(query []byte, timeout time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return xfr.WriteFrame(c, query)
}

// next reads a message of the answer.
func (c *upstream) next(buf []byte, timeout time.Duration) ([]byte, error) {
	// A connection that has ended takes no deadline, and what came before its end may be all that is wanted: reading tells.
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	return xfr.ReadFrame(c.r, buf)
}

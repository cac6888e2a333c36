package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// udpSocket is one socket and its two goroutines: one reads and judges, one
// renders, signs and writes, so that neither the log's callbacks nor a slow
// system call hold up what arrives.
type udpSocket struct {
	srv   *Server
	conn  *net.UDPConn
	io    packetIO
	front bool // for fronts only: each datagram begins with a header that proves itself

	mu   sync.Mutex
	out  []*request // finished, to be written
	wake chan struct{}
}

func newUDPSocket(s *Server, conn *net.UDPConn, wildcard, front bool) (*udpSocket, error) {
	io, err := newPacketIO(conn, wildcard)
	if err != nil {
		return nil, err
	}
	return &udpSocket{srv: s, conn: conn, io: io, front: front, wake: make(chan struct{}, 1)}, nil
}

// maxReadFailures is how many reads in a row may fail.
const maxReadFailures = 1000

// read takes datagrams until the socket's read side is closed.
func (u *udpSocket) read() error {
	failures := 0
	for {
		msg, peer, control, err := u.io.read()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || u.srv.stopping() {
				return nil
			}
			// A passing error concerns one datagram; a socket that only fails is no
			// use, and the process had better know.
			u.srv.metrics.drop(dropSocket)
			if failures++; failures == maxReadFailures {
				return fmt.Errorf("endpoint: reading from %v fails again and again: %w", u.conn.LocalAddr(), err)
			}
			continue
		}
		failures = 0
		u.datagram(msg, peer, control, u.srv.cfg.Now())
	}
}

func (u *udpSocket) datagram(msg []byte, peer netip.AddrPort, control []byte, now time.Time) {
	var proof proxyproto.Proof
	c := client{addr: netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), proven: true, via: overUDP}
	switch {
	case u.front || u.srv.isFront(c.addr.Addr()):
		p, err := proxyproto.Parse(msg, nil, u.srv.cfg.ProxyKeys(), now)
		if err == nil && u.front && !p.Proven {
			err = errNotProven
		}
		if err != nil {
			u.srv.badProxy(c, err)
			return
		}
		c.proven, proof = p.Proven, p.Proof
		if p.Client.IsValid() {
			c.addr = p.Client
		}
		msg = msg[p.Length:]
	case proxyproto.Looks(msg):
		u.srv.badProxy(c, errNotFront)
		return
	}
	if !u.srv.budget.tryAcquire(len(msg)) {
		u.srv.metrics.drop(dropOverload)
		return
	}
	r := newRequest(u.srv, u, c, now)
	r.proof = proof
	r.msg = append(r.msg[:0], msg...)
	r.peer = peer
	r.control = append(r.control[:0], control...)
	u.srv.requests.Add(1)
	r.handle()
}

// finish implements replier.
func (u *udpSocket) finish(r *request) {
	u.mu.Lock()
	u.out = append(u.out, r)
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// part implements replier: over UDP a transfer is a single message.
func (u *udpSocket) part(r *request, msg []byte) error {
	r.wire = msg
	return nil
}

// abort implements replier.
func (u *udpSocket) abort(r *request) {
	r.silent = true
	u.finish(r)
}

// updateOrder implements replier: datagrams have no order among keys.
func (u *udpSocket) updateOrder(*request, zone.Name) {}

// write sends finished replies until ctx ends; the server waits for requests
// under way before that.
func (u *udpSocket) write(ctx context.Context) {
	var batch []*request
	var b []byte
	for {
		select {
		case <-u.wake:
		case <-ctx.Done():
			return
		}
		u.mu.Lock()
		batch, u.out = u.out, batch[:0]
		u.mu.Unlock()
		now := u.srv.cfg.Now()
		for i, r := range batch {
			if !r.silent {
				b = r.render(b[:0], now)
				if err := u.io.write(b, r.peer, r.control); err != nil {
					u.srv.metrics.drop(dropSend)
				}
			}
			u.srv.end(r)
			batch[i] = nil
		}
	}
}

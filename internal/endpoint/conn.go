package endpoint

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// conn is one TCP or TLS connection. Its goroutine reads messages one after
// another; replies leave in the order in which they are ready. An idle
// connection costs one goroutine and a small read buffer, nothing else.
type conn struct {
	srv    *Server
	raw    net.Conn // what was accepted; others close it or cut its reads
	net    net.Conn // what is read and written: raw, or TLS over it
	client client
	// fronted: the connection began with a PROXY header.
	fronted bool

	lastActive atomic.Int64 // nanoseconds since 1970, for choosing whom to close

	writeMu sync.Mutex // held while octets of a message are written

	mu       sync.Mutex
	changed  *sync.Cond // inFlight or updates went down
	inFlight int        // requests read and not yet answered
	updates  int        // of those, updates that keep their order
	key      zone.Name  // of those updates
	out      []*request // finished, to be written
	writing  bool       // a goroutine is writing out
}

// readBuffer fits most messages, so that a request takes one read.
const readBuffer = 512

func newConn(s *Server, c net.Conn, via transport) *conn {
	k := &conn{srv: s, raw: c, net: c}
	k.changed = sync.NewCond(&k.mu)
	k.client = client{via: via, proven: true}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		addr := a.AddrPort()
		k.client.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	k.lastActive.Store(s.cfg.Now().UnixNano())
	return k
}

// serve reads requests until the client is done, too slow, or told to go.
func (k *conn) serve(front bool, config *tls.Config) {
	defer func() { k.net.Close() }()
	r, err := k.open(front, config)
	if err != nil {
		k.srv.badProxy(k.client, err)
		return
	}
	if !k.srv.conns.claim(k) {
		k.srv.metrics.drop(dropConnsPerAddr)
		return
	}
	err = k.read(r)
	if errors.Is(err, io.EOF) {
		k.drain() // a client may close its side and wait for what it asked
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !k.srv.stopping() {
		k.srv.metrics.drop(dropIdle)
	}
	if k.srv.stopping() {
		k.drain()
	}
}

// open takes what comes before the first message: a front's PROXY header, the
// TLS handshake.
func (k *conn) open(front bool, config *tls.Config) (*bufio.Reader, error) {
	if err := k.net.SetDeadline(time.Now().Add(k.srv.cfg.MessageTimeout)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(k.net, readBuffer)
	if front || k.srv.isFront(k.client.addr.Addr()) {
		p, err := proxyproto.Read(r, k.srv.cfg.ProxyKeys(), k.srv.cfg.Now())
		if err != nil {
			return nil, err
		}
		k.fronted = true
		k.client.proven = p.Proven || (front && p.Client.IsValid())
		if p.Client.IsValid() {
			k.client.addr = p.Client
		}
	}
	if config != nil {
		t := tls.Server(buffered{k.net, r}, config)
		if err := t.HandshakeContext(k.srv.ctx); err != nil {
			return nil, err
		}
		k.net = t
		r = bufio.NewReaderSize(t, readBuffer)
	}
	return r, k.net.SetDeadline(time.Time{})
}

// buffered is a connection whose first octets were already read into r.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// errNotProven is a datagram for fronts whose sender does not have their key.
var errNotProven = fmt.Errorf("%w: the header has no MAC; give the front the key of the primaries", proxyproto.Err)

// errNotFront is a PROXY header from an address that is no front's.
var errNotFront = errors.New("endpoint: PROXY header from an address outside ProxyFrom (dns.proxy_from); if it is a front add it there, else somebody tries to speak for others")

func (k *conn) read(r *bufio.Reader) error {
	for first := true; ; first = false {
		k.mu.Lock()
		for k.inFlight >= k.srv.cfg.MaxConnInFlight {
			k.changed.Wait()
		}
		k.mu.Unlock()
		if k.srv.stopping() {
			return nil
		}
		if err := k.awaitMessage(r); err != nil {
			return err
		}
		if err := k.net.SetReadDeadline(time.Now().Add(k.srv.cfg.MessageTimeout)); err != nil {
			return err
		}
		if first && !k.fronted {
			if b, err := r.Peek(proxyproto.FirstOctets); err == nil && proxyproto.Begins(b) {
				k.srv.badProxy(k.client, errNotFront)
				return errNotFront
			}
		}
		req, err := k.message(r)
		if err != nil {
			return err
		}
		now := k.srv.cfg.Now()
		req.received = now
		k.lastActive.Store(now.UnixNano())
		k.mu.Lock()
		k.inFlight++
		k.mu.Unlock()
		req.handle()
	}
}

// awaitMessage returns when the first octet of a message is there. A connection
// that waits for our answers is not idle.
func (k *conn) awaitMessage(r *bufio.Reader) error {
	for {
		if err := k.net.SetReadDeadline(time.Now().Add(k.srv.cfg.IdleTimeout)); err != nil {
			return err
		}
		_, err := r.Peek(1)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		k.mu.Lock()
		busy := k.inFlight > 0
		k.mu.Unlock()
		if !busy || k.srv.stopping() {
			return err
		}
	}
}

func (k *conn) message(r *bufio.Reader) (*request, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, unexpected(err)
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if !k.srv.budget.tryAcquire(n) {
		wait, cancel := context.WithTimeout(k.srv.ctx, k.srv.cfg.MessageTimeout)
		err := k.srv.budget.acquire(wait, n)
		cancel()
		if err != nil {
			k.srv.metrics.drop(dropOverload)
			return nil, fmt.Errorf("endpoint: no room for a message of %d octets: %w", n, err)
		}
	}
	k.srv.requests.Add(1)
	req := newRequest(k.srv, k, k.client, time.Time{})
	if cap(req.msg) < n {
		req.msg = make([]byte, n)
	}
	req.msg = req.msg[:n]
	if _, err := io.ReadFull(r, req.msg); err != nil {
		k.srv.end(req)
		return nil, unexpected(err)
	}
	return req, nil
}

// unexpected tells a message that was cut off from a connection that ended
// between messages.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drain waits until everything that was asked is answered.
func (k *conn) drain() {
	k.mu.Lock()
	for k.inFlight > 0 {
		k.changed.Wait()
	}
	k.mu.Unlock()
}

// idleSince reports since when nothing happens on the connection; ok is false
// while a request is under way.
func (k *conn) idleSince() (t int64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lastActive.Load(), k.inFlight == 0
}

// updateOrder implements replier: updates of one key keep their order in its
// lane; before another key's update the earlier ones must be answered.
func (k *conn) updateOrder(r *request, key zone.Name) {
	k.mu.Lock()
	for k.updates > 0 && k.key != key {
		k.changed.Wait()
	}
	k.key = key
	k.updates++
	k.mu.Unlock()
	r.ordered = true
}

// finish implements replier.
func (k *conn) finish(r *request) {
	k.mu.Lock()
	k.out = append(k.out, r)
	start := !k.writing
	k.writing = true
	k.mu.Unlock()
	if start {
		go k.write()
	}
}

// flushSize is how many octets of replies are gathered for one write.
const flushSize = 32 << 10

// write sends finished replies until none is left.
func (k *conn) write() {
	buf, ok := k.srv.writeBuffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	var batch []*request
	for {
		k.mu.Lock()
		batch, k.out = k.out, batch[:0]
		if len(batch) == 0 {
			k.writing = false
			k.mu.Unlock()
			break
		}
		k.mu.Unlock()
		k.writeBatch(buf, batch)
	}
	if cap(*buf) <= 2*flushSize {
		k.srv.writeBuffers.Put(buf)
	}
}

func (k *conn) writeBatch(buf *[]byte, batch []*request) {
	now := k.srv.cfg.Now()
	b := (*buf)[:0]
	answered, updates := 0, 0
	flush := func() {
		k.send(b)
		b = b[:0]
		k.mu.Lock()
		k.inFlight -= answered
		k.updates -= updates
		k.changed.Broadcast()
		k.mu.Unlock()
		answered, updates = 0, 0
	}
	for i, r := range batch {
		if !r.silent {
			start := len(b)
			b = r.render(append(b, 0, 0), now)
			binary.BigEndian.PutUint16(b[start:], uint16(len(b)-start-2))
		}
		answered++
		if r.ordered {
			updates++
		}
		k.srv.end(r)
		batch[i] = nil
		if len(b) >= flushSize {
			flush()
		}
	}
	flush()
	*buf = b[:0]
}

// send writes whole messages. A client that does not read loses its connection.
func (k *conn) send(b []byte) {
	if len(b) == 0 {
		return
	}
	k.writeMu.Lock()
	defer k.writeMu.Unlock()
	err := k.net.SetWriteDeadline(time.Now().Add(k.srv.cfg.WriteTimeout))
	if err == nil {
		_, err = k.net.Write(b)
	}
	if err != nil {
		k.srv.metrics.drop(dropSend)
		k.raw.Close()
	}
	k.lastActive.Store(k.srv.cfg.Now().UnixNano())
}

// part implements replier: it writes one message of many.
func (k *conn) part(_ *request, msg []byte) error {
	k.writeMu.Lock()
	defer k.writeMu.Unlock()
	if err := k.net.SetWriteDeadline(time.Now().Add(k.srv.cfg.WriteTimeout)); err != nil {
		return err
	}
	return xfr.WriteFrame(k.net, msg)
}

// abort implements replier.
func (k *conn) abort(r *request) {
	k.raw.Close()
	r.silent = true
	k.finish(r)
}

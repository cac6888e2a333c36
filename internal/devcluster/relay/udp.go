package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

const (
	maxDatagram = 65535
	headerSize  = 12
	// maxPending requests of one client wait for an answer; older ones are forgotten.
	maxPending = 32
	// pendingLife is how long a request can be sent to another primary: the client's
	// own patience, and below the deadline that every update carries in the log.
	pendingLife = 3 * time.Second

	opcodeUpdate  = 5 // RFC 2136 section 1.3
	rcodeServFail = 2
)

func (r *Relay) serveUDP(ctx context.Context) {
	sessions := sessionTable{byClient: map[netip.AddrPort]*session{}}
	buf := make([]byte, maxDatagram)
	for {
		n, client, err := r.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error about one client's port concerns nobody else
		}
		if n < headerSize {
			continue
		}
		s := sessions.get(client)
		if s == nil {
			if sessions.size() >= r.cfg.MaxSessions {
				continue
			}
			s = &session{relay: r, client: client}
			if !s.connect(nil) {
				continue
			}
			sessions.put(client, s)
			r.wg.Go(func() {
				s.answers(ctx)
				sessions.remove(client)
			})
		}
		s.send(buf[:n])
	}
}

type sessionTable struct {
	mu       sync.Mutex
	byClient map[netip.AddrPort]*session
}

func (t *sessionTable) get(c netip.AddrPort) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byClient[c]
}

func (t *sessionTable) put(c netip.AddrPort, s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byClient[c] = s
}

func (t *sessionTable) remove(c netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byClient, c)
}

func (t *sessionTable) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byClient)
}

// session is one UDP client (address and port) and its present primary.
type session struct {
	relay  *Relay
	client netip.AddrPort

	mu      sync.Mutex
	backend *backend
	up      *net.UDPConn
	pending []request
	closed  bool
}

// request is one that another primary may be asked as well.
type request struct {
	id    uint16
	msg   []byte
	sent  time.Time
	moved bool // another primary has been asked too
}

// connect chooses a primary other than not and opens a socket to it; s.mu is held
// or s is not shared yet.
func (s *session) connect(not *backend) bool {
	for range s.relay.pool.backends {
		b := s.relay.pool.pick(not)
		up, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.DNS))
		if err != nil {
			not = b
			continue
		}
		if !s.relay.pool.join(b, s) {
			_ = up.Close()
			return false
		}
		s.backend, s.up = b, up
		return true
	}
	return false
}

// send passes a client's datagram on.
func (s *session) send(msg []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if repeatable(msg) {
		if len(s.pending) == maxPending {
			s.pending = slices.Delete(s.pending, 0, 1)
		}
		s.pending = append(s.pending, request{id: binary.BigEndian.Uint16(msg), msg: slices.Clone(msg), sent: time.Now()})
	}
	if _, err := s.up.Write(msg); err != nil {
		// The error is that of an earlier datagram (ECONNREFUSED), and this one was
		// not sent. It goes out with the move when it is repeatable; when it is not,
		// sending it is still the first time.
		dead := s.backend
		s.relay.pool.checkNow(dead.Name)
		s.move(dead)
		if !repeatable(msg) && !s.closed {
			_, _ = s.up.Write(msg)
		}
	}
}

// lost implements flow.
func (s *session) lost(b *backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b == nil { // the relay ends
		s.closed = true
		_ = s.up.Close()
		return
	}
	s.move(b)
}

// move leaves a dead primary and asks another one what is still unanswered and may
// be asked twice. s.mu is held.
func (s *session) move(dead *backend) {
	if s.closed || s.backend != dead {
		return // somebody else noticed first
	}
	old := s.up
	s.relay.pool.drop(dead, s)
	if !s.connect(dead) {
		s.closed = true
	}
	// The answering goroutine sees the closed socket and goes on with the new one.
	_ = old.Close()
	if s.closed {
		return
	}
	now := time.Now()
	s.pending = slices.DeleteFunc(s.pending, func(p request) bool { return now.Sub(p.sent) > pendingLife })
	for i := range s.pending {
		s.pending[i].moved = true
		_, _ = s.up.Write(s.pending[i].msg)
	}
}

// answers passes answers to the client until the session is idle or the relay ends.
func (s *session) answers(ctx context.Context) {
	buf := make([]byte, maxDatagram)
	idleSince := time.Now()
	refused := 0 // in a row
	for ctx.Err() == nil {
		s.mu.Lock()
		up, b, closed := s.up, s.backend, s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		_ = up.SetReadDeadline(time.Now().Add(s.relay.cfg.SessionIdle)) // fails on a closed socket, as the read then does
		n, err := up.Read(buf)
		switch {
		case err == nil:
			idleSince, refused = time.Now(), 0
			if n >= headerSize && s.answered(buf) {
				_, _ = s.relay.udp.WriteToUDPAddrPort(buf[:n], s.client)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.expire(idleSince) {
				return
			}
		case errors.Is(err, net.ErrClosed):
			// moved, or ended: the loop's head knows
		default: // ECONNREFUSED: nobody listens there any more
			s.relay.pool.checkNow(b.Name)
			if refused++; refused%len(s.relay.pool.backends) == 0 {
				s.relay.pause(ctx) // all of them refuse: don't spin
			}
			s.mu.Lock()
			s.move(b)
			s.mu.Unlock()
		}
	}
}

// answered notes an answer and says whether the client may have it. SERVFAIL tells a client that its update was not
// applied; a primary that was asked second can't know that of the first, which may have appended it before it died. The
// client hears nothing then, and repeats its request.
func (s *session) answered(msg []byte) bool {
	id, rcode := binary.BigEndian.Uint16(msg), msg[3]&0xf
	s.mu.Lock()
	defer s.mu.Unlock()
	doubtful := func(p request) bool {
		return p.id == id && p.moved && p.msg[2]>>3&0xf == opcodeUpdate && time.Since(p.sent) < pendingLife
	}
	if rcode == rcodeServFail && slices.ContainsFunc(s.pending, doubtful) {
		return false
	}
	s.pending = slices.DeleteFunc(s.pending, func(p request) bool { return p.id == id })
	return true
}

// expire ends a session that nobody uses.
func (s *session) expire(idleSince time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		if p.sent.After(idleSince) {
			idleSince = p.sent
		}
	}
	if !s.closed && time.Since(idleSince) < s.relay.cfg.SessionIdle {
		return false
	}
	s.closed = true
	s.relay.pool.drop(s.backend, s)
	_ = s.up.Close()
	return true
}

// repeatable says whether a primary may be asked after another one was: any query,
// and an UPDATE that is signed, because the cluster recognises its signature.
func repeatable(msg []byte) bool {
	if msg[2]>>3&0xf != opcodeUpdate {
		return true
	}
	r, err := tsig.Find(msg)
	return err == nil && r != nil
}

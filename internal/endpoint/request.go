package endpoint

import (
	"net/netip"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/policy"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// transport names how a request came in; it is a metric label.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	overTLS
	transports
)

func (t transport) String() string { return [...]string{"udp", "tcp", "tls"}[t] }

// client is who sent a request, as far as the transport tells.
type client struct {
	addr   netip.AddrPort
	proven bool // see the package comment
	via    transport
}

// replier takes a request's reply to its client. finish is called exactly once
// for every request, from any goroutine, and does not block; for a request that
// gets no reply, r.silent is set. The replier renders the reply (request.render)
// in a goroutine of its own and returns the request to the pool.
type replier interface {
	finish(r *request)
	// part sends one message of a reply that has many, and waits for it; the last
	// call is followed by finish with r.silent set.
	part(r *request, msg []byte) error
	// abort ends the request, of whose reply parts are out, in a way that the
	// client takes for a failure. It calls finish.
	abort(r *request)
	// updateOrder is called before an update is queued. It may wait, and sees to
	// it that updates of one connection keep their order across keys.
	updateOrder(r *request, key zone.Name)
}

// request is one message on its way through the endpoint. It is pooled: nobody
// keeps a pointer to it after replier.finish.
type request struct {
	srv      *Server
	to       replier
	client   client
	received time.Time
	msg      []byte // as received; owned by the request

	message message
	signed  bool // sig is filled
	sig     tsig.Request
	// generation is that of the settings that verified the signature.
	generation uint64
	// looked: the request was judged by settings as new as a barrier that began
	// after it arrived.
	looked bool

	proof    proxyproto.Proof // of a datagram's PROXY header, if it was proven
	update   fsm.Update
	proposed time.Time
	done     func(fsm.Result, error) // bound once per pooled request
	lane     *lane
	copies   *request // of the same signed update, waiting for its outcome: see copies

	answer answer
	wire   []byte // a forwarded answer, not yet signed; nil when answer counts
	silent bool

	// Where a datagram's reply goes: the peer, and for a wildcard socket the
	// address that the datagram was sent to.
	peer    netip.AddrPort
	control []byte

	ordered bool // counted by updateOrder
}

// keepBuffer is the largest message buffer that goes back to the pool; updates
// are far smaller, and a rare large one should not stay in memory.
const keepBuffer = 4096

func newRequest(s *Server, to replier, c client, now time.Time) *request {
	r, ok := s.requestPool.Get().(*request)
	if !ok {
		r = new(request)
		r.done = r.proposedDone
	}
	r.srv, r.to, r.client, r.received = s, to, c, now
	return r
}

func (r *request) free() {
	msg, control := r.msg[:0], r.control[:0]
	if cap(msg) > keepBuffer {
		msg = nil
	}
	pool, done := &r.srv.requestPool, r.done
	*r = request{msg: msg, control: control, done: done}
	pool.Put(r)
}

// subject is who asks, for policies and lists.
func (r *request) subject() policy.Subject {
	s := policy.Subject{TCP: r.client.via != overUDP}
	if r.client.proven {
		s.Addr = r.client.addr.Addr()
	}
	if r.signed && r.sig.FullMAC != nil && r.sig.Error == 0 {
		s.Signer = r.sig.Key.Name
	}
	return s
}

// reply ends the request with an answer of our own.
func (r *request) reply(a answer) {
	r.answer = a
	r.finish()
}

// drop ends the request without a reply.
func (r *request) drop(reason string) {
	r.silent = true
	r.srv.metrics.drop(reason)
	r.finish()
}

func (r *request) finish() {
	m, rcode := r.srv.metrics, r.answer.rcode
	switch {
	case r.silent:
		rcode = rcodeNone
	case r.wire != nil:
		rcode = uint16(r.wire[3] & 0xf)
	}
	m.result(r.client.via, r.message.opcode, rcode)
	m.observe(stageTotal, r.srv.cfg.Now().Sub(r.received))
	r.to.finish(r)
}

// render appends the reply's bytes.
func (r *request) render(dst []byte, now time.Time) []byte {
	start := len(dst)
	if r.wire != nil {
		dst = append(dst, r.wire...)
		if limit := r.limit(); len(r.wire) > limit {
			// named did not know of the TSIG RR that follows.
			dst = r.message.appendReply(dst[:start], r.msg, answer{rcode: uint16(r.wire[3] & 0xf), truncated: true})
		}
	} else {
		dst = r.message.appendReply(dst, r.msg, r.answer)
	}
	if !r.signed {
		return dst
	}
	signed := r.sig.Sign(dst[start:], now)
	return append(dst[:start], signed...)
}

// limit is how many octets of an answer fit before the TSIG RR.
func (r *request) limit() int {
	limit := maxMessage
	if r.client.via == overUDP {
		limit = r.message.udpSize
	}
	if r.signed {
		limit -= r.sig.Overhead()
	}
	return limit
}

package notify

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// news is one zone's newest SOA for one target. Guarded by Sender.mu.
type news struct {
	zone zone.Name
	to   *peer
	soa  zone.RR

	changed time.Time // when soa was announced
	oldest  time.Time // when the oldest change was announced that is not acknowledged; zero: none

	acked    uint32
	hasAcked bool

	state state
	when  time.Time // the timer's, while it has one
	at    int       // place among the timers; -1: it has none
	// Of the message under way.
	attempt int  // messages of this change before it
	repeat  bool // it is repeated when no answer comes: the sender led
	serial  uint32
	id      uint16
	secret  int // which of the key's secrets signed it, 0: the newest
	request []byte
	key     tsig.Key
}

// state is what happens to news.
type state uint8

const (
	idle      state = iota // nothing to do until the next change
	scheduled              // to be sent later; it has a timer
	queued                 // to be sent as soon as the target's window allows
	flying                 // sent; it has a timer for the answer
	forgotten              // the zone is gone, or the target is not to be told of it any more
)

// peer is a target's window.
type peer struct {
	target   Target
	inFlight int
	ready    []*news
	troubled time.Time // when trouble was logged last; zero: never, or it is over
}

// flight finds the message that an answer belongs to.
type flight struct {
	addr netip.AddrPort
	id   uint16
}

func (s *Sender) peer(t Target) *peer {
	p := s.peers[t]
	if p == nil {
		p = &peer{target: t}
		s.peers[t] = p
	}
	return p
}

func (n *news) newest() uint32 { return zone.SOASerial(n.soa.Data) }

// current: the target has acknowledged the newest serial.
func (n *news) current() bool { return n.hasAcked && n.acked == n.newest() }

// announced takes a new SOA.
func (s *Sender) announced(n *news, soa zone.RR, now time.Time) {
	same := n.soa.Data == soa.Data
	n.soa = soa
	if same && (n.current() || n.state != idle) {
		return
	}
	n.changed = now
	if n.oldest.IsZero() {
		n.oldest = now
	}
	if n.state == idle || n.state == scheduled && s.leading {
		s.begin(n, now)
	}
}

// begin sends news for the first time: now, or later if this primary does not lead. What is queued or under way goes on.
func (s *Sender) begin(n *news, now time.Time) {
	if n.state != idle && n.state != scheduled {
		return
	}
	n.attempt, n.secret = 0, 0
	if s.leading {
		s.queue(n)
		return
	}
	n.state = scheduled
	s.schedule(n, now.Add(s.cfg.FollowerDelay))
}

func (s *Sender) queue(n *news) {
	s.cancel(n)
	n.state = queued
	n.to.ready = append(n.to.ready, n)
}

// launch makes the message. False: it can't be signed, and there is nothing to wait for.
func (s *Sender) launch(n *news, now time.Time) (outgoing, bool) {
	n.serial, n.repeat = n.newest(), s.leading
	for n.id = uint16(rand.Uint32()); s.flying[n.flight()] != nil; {
		n.id++
	}
	msg := appendMessage(make([]byte, 0, 512), n.id, n.soa)
	n.key, n.request = tsig.Key{}, nil
	if name := n.to.target.Key; name != "" {
		keys := s.cfg.Keys.Lookup(name)
		if len(keys) == 0 {
			s.metrics.messages.WithLabelValues(resultNotSent).Inc()
			s.trouble(n, fmt.Sprintf("key %s has no secret", name), now)
			n.state = idle
			return outgoing{}, false
		}
		n.secret = min(n.secret, len(keys)-1)
		n.key = keys[n.secret]
		msg = tsig.SignRequest(msg, n.key, now)
		n.request = msg
	}
	n.state = flying
	n.to.inFlight++
	s.flying[n.flight()] = n
	s.schedule(n, now.Add(s.cfg.Retries[min(n.attempt, len(s.cfg.Retries)-1)]))
	return outgoing{n, msg}, true
}

func (n *news) flight() flight { return flight{n.to.target.Addr, n.id} }

// land ends a flight, if there is one.
func (s *Sender) land(n *news) {
	if n.state == flying {
		delete(s.flying, n.flight())
		n.to.inFlight--
		n.state = idle
		s.cancel(n)
	}
}

// forget ends all that happens to news.
func (s *Sender) forget(n *news) {
	s.land(n)
	s.cancel(n)
	n.state = forgotten
}

// expired: the news' timer has run out.
func (s *Sender) expired(n *news, now time.Time) {
	if n.state == scheduled {
		s.queue(n)
		return
	}
	s.land(n)
	s.metrics.messages.WithLabelValues(resultUnanswered).Inc()
	n.attempt++
	if n.repeat && n.attempt <= len(s.cfg.Retries) {
		s.queue(n)
		return
	}
	if n.repeat {
		s.trouble(n, fmt.Sprintf("no answer to %d messages", n.attempt), now)
	}
	s.next(n, now)
}

// next goes on after the end of a change: with the one that came meanwhile, if any.
func (s *Sender) next(n *news, now time.Time) {
	if n.newest() != n.serial {
		s.begin(n, now)
	}
}

// answered takes what a target sent, and reports whether there may be something to send now.
func (s *Sender) answered(from netip.AddrPort, msg []byte, now time.Time) bool {
	id, rcode, name, err := parseAnswer(msg)
	if err != nil {
		return false // not ours, or a forgery
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.flying[flight{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), id}]
	if n == nil || name != "" && !name.Equal(n.zone) {
		return false
	}
	var refusal *tsig.ResponseError
	if n.request != nil {
		// An answer without a signature is taken: all it can do is to end the repetitions, and the target's own refresh remains.
		// One with a signature that is not right is none.
		if found, err := tsig.Find(msg); err != nil || found != nil {
			if err := tsig.VerifyResponse(msg, n.request, n.key, now); err != nil && !errors.As(err, &refusal) {
				return false
			}
		}
	}
	if refusal == nil && rcode == rcodeServFail {
		// It may be able to later, and will be asked again as if it had not answered.
		s.metrics.messages.WithLabelValues(resultRefused).Inc()
		return false
	}
	s.land(n)
	// PowerDNS tells of a secret that it does not have by NOTAUTH alone, without a TSIG RR.
	unknown := refusal == nil && n.request != nil && rcode == rcodeNotAuth || refusal != nil && refusal.TSIGError != tsig.BadTime
	if unknown && n.secret+1 < len(s.cfg.Keys.Lookup(n.to.target.Key)) {
		// The target has not been given the newest secret yet.
		s.metrics.messages.WithLabelValues(resultTSIG).Inc()
		n.secret++
		s.queue(n)
		return true
	}
	switch {
	case refusal != nil:
		s.metrics.messages.WithLabelValues(resultTSIG).Inc()
		s.trouble(n, refusal.Error(), now)
	case rcode != rcodeNoError:
		s.metrics.messages.WithLabelValues(resultRefused).Inc()
		s.trouble(n, refusalText(rcode), now)
	default:
		s.acknowledged(n, now)
	}
	s.next(n, now)
	return true
}

func (s *Sender) acknowledged(n *news, now time.Time) {
	s.metrics.messages.WithLabelValues(resultAcknowledged).Inc()
	n.acked, n.hasAcked = n.serial, true
	if n.repeat {
		s.metrics.delay.Observe(now.Sub(n.oldest).Seconds())
	}
	n.oldest = time.Time{}
	if !n.current() {
		n.oldest = n.changed
	}
	if p := n.to; !p.troubled.IsZero() {
		p.troubled = time.Time{}
		s.log.Info("a server takes NOTIFY again", "target", p.target.String())
	}
}

// refusalText says what a response code means.
func refusalText(rcode uint16) string {
	switch rcode {
	case rcodeNotAuth:
		return "it answers NOTAUTH: it does not have the zone, or it has another key"
	case rcodeRefused:
		return "it answers REFUSED: let it take NOTIFY with this key (BIND: allow-notify; Knot: acl with action notify; NSD: allow-notify; PowerDNS: trusted-notification-proxy)"
	}
	return fmt.Sprintf("it answers with response code %d", rcode)
}

// troubleEvery bounds the log: with many zones one target can have much of it.
const troubleEvery = time.Minute

func (s *Sender) trouble(n *news, what string, now time.Time) {
	p := n.to
	if !p.troubled.IsZero() && now.Sub(p.troubled) < troubleEvery {
		return
	}
	p.troubled = now
	s.log.Warn("a server does not take NOTIFY; it learns of changes by its own refresh", "zone", n.zone, "target", p.target.String(), "err", what)
}

// schedule sets the news' timer.
func (s *Sender) schedule(n *news, when time.Time) {
	n.when = when
	if n.at >= 0 {
		heap.Fix(&s.timers, n.at)
		return
	}
	heap.Push(&s.timers, n)
}

func (s *Sender) cancel(n *news) {
	if n.at >= 0 {
		heap.Remove(&s.timers, n.at)
	}
}

// timers is a heap (container/heap) of news by their times.
type timers []*news

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].when.Before(t[j].when) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].at, t[j].at = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	n := x.(*news)
	n.at = len(*t)
	*t = append(*t, n)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	old := *t
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	n.at = -1
	return n
}

package relay

import (
	"net/netip"
	"time"
)

// origin is where a datagram came from and where its answer goes.
type origin struct {
	client netip.AddrPort // whose limits count, and what the primaries are told
	peer   sockaddr       // who gets the answer: the client, or the load balancer before it
	local  netip.Addr     // the address that was asked; invalid: the socket knows
}

// entry is a request that waits for its answer.
type entry struct {
	from    origin
	msg     []byte // as the client sent it
	content uint64 // hash of msg without its ID
	update  bool
	again   bool // repeatable
	doubt   bool // an update of these octets was forgotten unanswered
	bucket  *bucket

	start  time.Time
	due    time.Time // when silence has lasted long enough to ask another primary
	hedged int
	asked  []attempt
	held   []byte // SERVFAIL to a query, while another primary may say more

	links [lists]links
}

// attempt is one primary that was asked.
type attempt struct {
	line     *line
	id       uint16
	sent     time.Time
	sends    int
	servfail int  // answers
	lost     bool // it is not expected to answer
	closed   bool // no answer can come: all have, or it never left
}

// maxAttempts bounds what a client's own repetitions of one request can cause.
const maxAttempts = 16

func (a *attempt) waiting() bool { return !a.closed && !a.lost }

// waits reports whether any primary is expected to answer.
func (e *entry) waits() bool {
	for i := range e.asked {
		if e.asked[i].waiting() {
			return true
		}
	}
	return false
}

func (e *entry) wasAsked(l *line) bool {
	for i := range e.asked {
		if e.asked[i].line == l {
			return true
		}
	}
	return false
}

// doubtful reports whether some primary may have appended the update: it was sent there, and has not said SERVFAIL.
func (e *entry) doubtful() bool {
	for i := range e.asked {
		if e.asked[i].sends > e.asked[i].servfail {
			return true
		}
	}
	return e.doubt
}

// Entries are in two lists, each in the order of its time.
const (
	byStart = iota
	byDue
	lists
)

type links struct {
	prev, next *entry
	in         bool
}

// list is a queue from which entries leave anywhere.
type list struct {
	of          int
	first, last *entry
}

func (q *list) push(e *entry) {
	e.links[q.of] = links{prev: q.last, in: true}
	if q.last == nil {
		q.first = e
	} else {
		q.last.links[q.of].next = e
	}
	q.last = e
}

func (q *list) remove(e *entry) {
	k := e.links[q.of]
	if !k.in {
		return
	}
	if k.prev == nil {
		q.first = k.next
	} else {
		k.prev.links[q.of].next = k.next
	}
	if k.next == nil {
		q.last = k.prev
	} else {
		k.next.links[q.of].prev = k.prev
	}
	e.links[q.of] = links{}
}

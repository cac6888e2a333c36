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
	from     origin
	msg      []byte // as the client sent it
	request  uint64 // hash by which a copy finds it
	identity uint64 // in doubts, if it is an update
	update   bool
	again    bool // repeatable
	open     int  // attempts at an update that no primary has refused
	bucket   *bucket

	start  time.Time
	due    time.Time // when silence has lasted long enough to ask another primary
	hedged int
	asked  []attempt
	held   []byte // SERVFAIL to a query, while another primary may say more

	links [lists]links
}

// attempt is one sending to a primary. Each has an ID of its own there, so that each gets an answer of its own: a primary
// answers copies that it can't tell apart only once.
type attempt struct {
	line  *line
	id    uint16
	sent  time.Time
	state attemptState
}

type attemptState uint8

const (
	waiting  attemptState = iota
	lost                  // it is not expected to be answered
	answered              // or it never left: no answer can come
)

// maxAttempts bounds what a client's own repetitions of one request can cause; a primary lets that many copies wait.
const maxAttempts = 16

// waits returns the last attempt that is expected to be answered, nil when there is none.
func (e *entry) waits() *attempt {
	for i := len(e.asked) - 1; i >= 0; i-- {
		if e.asked[i].state == waiting {
			return &e.asked[i]
		}
	}
	return nil
}

func (e *entry) wasAsked(l *line) bool {
	for i := range e.asked {
		if e.asked[i].line == l {
			return true
		}
	}
	return false
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

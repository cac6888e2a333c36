package relay

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// buckets are the allowances of client addresses: a token for each datagram, and a number of requests that wait for an answer.
// It is safe for concurrent use.
//
// A table of fixed size remembers addresses; a clock hand looks for one that has not used its allowance lately. Addresses for
// which it finds no room share one: a flood from forged addresses fills the table and then slows down whoever is new, and not
// those who were here before it.
type buckets struct {
	perSecond, burst float64
	pending          int32
	max              int
	exempt           []netip.Prefix

	mu     sync.Mutex
	byAddr map[netip.Addr]*bucket
	ring   []*bucket // of byAddr
	hand   int
	shared bucket
}

// bucket is one address's.
type bucket struct {
	addr    netip.Addr
	tokens  float64
	last    time.Time
	pending int32
	used    bool // since the hand went by
}

// sweep is how many places the hand looks at for a new address.
const sweep = 16

func newBuckets(c Limits, now time.Time) *buckets {
	return &buckets{
		perSecond: c.PerSecond, burst: float64(c.Burst), pending: int32(c.PendingPerAddress), max: c.Addresses, exempt: c.Exempt,
		byAddr: map[netip.Addr]*bucket{}, shared: bucket{tokens: float64(c.Burst), last: now},
	}
}

// whose is the address whose allowance a client has: an IPv6 host has the whole /64 to send from.
func whose(client netip.Addr) netip.Addr {
	if client.Is4() {
		return client
	}
	a := client.As16()
	clear(a[8:])
	return netip.AddrFrom16(a)
}

// verdict on a datagram.
type verdict uint8

const (
	admitted verdict = iota
	tooMany          // datagrams a second
	tooManyPending
)

// take asks for one datagram. What is admitted counts as pending, until the bucket is given back by done; it is nil for those
// who have no limits.
func (b *buckets) take(client netip.Addr, now time.Time) (*bucket, verdict) {
	if slices.ContainsFunc(b.exempt, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return nil, admitted
	}
	addr := whose(client)
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.byAddr[addr]
	if !ok {
		k = b.place(addr, now)
	}
	k.used = true
	if d := now.Sub(k.last); d > 0 {
		k.tokens = min(k.tokens+b.perSecond*d.Seconds(), b.burst)
		k.last = now
	}
	if k.tokens < 1 {
		return nil, tooMany
	}
	k.tokens--
	if k.pending >= b.pending {
		return nil, tooManyPending
	}
	k.pending++
	return k, admitted
}

// place finds room for an address, or shares.
func (b *buckets) place(addr netip.Addr, now time.Time) *bucket {
	fresh := bucket{addr: addr, tokens: b.burst, last: now}
	if len(b.ring) < b.max {
		k := &fresh
		b.ring = append(b.ring, k)
		b.byAddr[addr] = k
		return k
	}
	for range min(sweep, len(b.ring)) {
		k := b.ring[b.hand]
		b.hand = (b.hand + 1) % len(b.ring)
		full := k.tokens+b.perSecond*now.Sub(k.last).Seconds() >= b.burst
		if !k.used && k.pending == 0 && full { // forgetting it gives nobody more than the allowance
			delete(b.byAddr, k.addr)
			*k = fresh
			b.byAddr[addr] = k
			return k
		}
		k.used = false
	}
	return &b.shared
}

// done ends what take has admitted.
func (b *buckets) done(k *bucket) {
	if k == nil {
		return
	}
	b.mu.Lock()
	k.pending--
	b.mu.Unlock()
}

package endpoint

import (
	"net/netip"
	"sync"
)

// connTable holds the open connections within their limits.
type connTable struct {
	max, maxPerAddr int

	mu      sync.Mutex
	all     map[*conn]netip.Addr // the client's address once it is claimed
	perAddr map[netip.Addr]int
}

// evictSample is how many connections are looked at for one to close: choosing
// the longest idle of a few random ones comes close to the longest idle of all
// (as Redis evicts keys), and costs nothing per request.
const evictSample = 16

// add registers a new connection. When there are too many, the longest idle of a
// sample is returned for closing; ok is false when none of them is idle.
func (t *connTable) add(k *conn) (evict *conn, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= t.max {
		var oldest int64
		seen := 0
		for other := range t.all {
			if since, idle := other.idleSince(); idle && (evict == nil || since < oldest) {
				evict, oldest = other, since
			}
			if seen++; seen == evictSample {
				break
			}
		}
		if evict == nil {
			return nil, false
		}
		t.forget(evict)
	}
	t.all[k] = netip.Addr{}
	return evict, true
}

// claim counts a connection for its client's address, which is known only after
// a PROXY header.
func (t *connTable) claim(k *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	addr := k.client.addr.Addr()
	if _, open := t.all[k]; !open || t.perAddr[addr] >= t.maxPerAddr {
		return false
	}
	t.all[k] = addr
	t.perAddr[addr]++
	return true
}

func (t *connTable) remove(k *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(k)
}

func (t *connTable) forget(k *conn) {
	addr, ok := t.all[k]
	if !ok {
		return
	}
	delete(t.all, k)
	if addr.IsValid() {
		if t.perAddr[addr]--; t.perAddr[addr] == 0 {
			delete(t.perAddr, addr)
		}
	}
}

func (t *connTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// each calls fn for every connection.
func (t *connTable) each(fn func(*conn)) {
	t.mu.Lock()
	all := make([]*conn, 0, len(t.all))
	for k := range t.all {
		all = append(all, k)
	}
	t.mu.Unlock()
	for _, k := range all {
		fn(k)
	}
}

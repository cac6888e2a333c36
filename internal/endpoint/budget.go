package endpoint

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// budget bounds the memory of requests under way, whatever clients do (I8).
// Small requests count by number. Large ones also count by size, in a budget of
// their own: who begins many 64 KiB messages and never ends them keeps others
// from sending large messages for a while, but not from sending usual ones.
type budget struct {
	requests *semaphore.Weighted
	large    *semaphore.Weighted // octets of messages above keepBuffer
}

func newBudget(requests, largeBytes int) budget {
	return budget{semaphore.NewWeighted(int64(requests)), semaphore.NewWeighted(int64(largeBytes))}
}

// tryAcquire makes room for a datagram, or reports that there is none.
func (b *budget) tryAcquire(size int) bool {
	if !b.requests.TryAcquire(1) {
		return false
	}
	if size > keepBuffer && !b.large.TryAcquire(int64(size)) {
		b.requests.Release(1)
		return false
	}
	return true
}

// acquire waits for room; TCP then slows its senders down.
func (b *budget) acquire(ctx context.Context, size int) error {
	if err := b.requests.Acquire(ctx, 1); err != nil {
		return err
	}
	if size > keepBuffer {
		if err := b.large.Acquire(ctx, int64(size)); err != nil {
			b.requests.Release(1)
			return err
		}
	}
	return nil
}

func (b *budget) release(size int) {
	b.requests.Release(1)
	if size > keepBuffer {
		b.large.Release(int64(size))
	}
}

// shares bounds what is under way in total, and leaves any one client half of it
// at most, so that it can't take everything from the others.
type shares struct {
	total int

	mu   sync.Mutex
	used int
	by   map[sharer]int
}

// sharer is a verified key, or the address of an unsigned client.
type sharer struct {
	key  zone.Name
	addr netip.Addr
}

func newShares(total int) *shares { return &shares{total: total, by: map[sharer]int{}} }

func (s *shares) acquire(who sharer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.total || s.by[who] >= max(1, s.total/2) {
		return false
	}
	s.used++
	s.by[who]++
	return true
}

func (s *shares) release(who sharer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.by[who]--; s.by[who] == 0 {
		delete(s.by, who)
	}
}

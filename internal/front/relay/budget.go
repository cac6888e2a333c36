package relay

import (
	"sync"
	"time"
)

// budget is what may be spent on asking again. It is safe for concurrent use.
type budget struct {
	share, perSecond float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// savings is how many seconds of perSecond, and how many requests' shares at most, are kept for later.
const (
	savings       = 5
	savedRequests = 10_000
)

func newBudget(c Retry, now time.Time) *budget {
	return &budget{share: c.Budget, perSecond: c.PerSecond, tokens: savings * c.PerSecond, last: now}
}

// earn adds the share of n requests.
func (b *budget) earn(n int) {
	b.mu.Lock()
	b.add(b.share * float64(n))
	b.mu.Unlock()
}

func (b *budget) add(tokens float64) {
	b.tokens = min(b.tokens+tokens, savings*b.perSecond+b.share*savedRequests)
}

// spend takes one repetition, or reports that there is nothing left.
func (b *budget) spend(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.last); d > 0 {
		b.add(b.perSecond * d.Seconds())
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

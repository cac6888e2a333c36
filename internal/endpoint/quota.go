package endpoint

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// quotas bound the updates a second of groups of keys: a token bucket for each, which holds a second's worth. Every primary has one of its own and charges it for what
// it takes itself and, as it sees them in the log, for what the others took: so together they let through what one alone would, wherever clients go, but
// for what is on its way through the log.
type quotas struct {
	refused *prometheus.CounterVec

	mu     sync.Mutex
	groups map[string]*bucket // at most one for each group of the cluster: signers are verified
}

type bucket struct {
	perSecond float64
	tokens    float64
	at        time.Time
}

// refill makes the bucket that of now. A bound that has changed counts from here on; the bucket is not emptied by it, nor filled.
func (b *bucket) refill(perSecond int, now time.Time) {
	r := float64(perSecond)
	b.tokens = min(b.tokens+max(0, now.Sub(b.at).Seconds())*r, r)
	b.perSecond, b.at = r, now
}

// take reports whether one more update of a group may be proposed now.
func (q *quotas) take(group string, perSecond int, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.groups[group]
	if b == nil {
		b = &bucket{tokens: float64(perSecond), at: now}
		q.groups[group] = b
	}
	b.refill(perSecond, now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// charge counts updates that others took. The debt is a second's worth at most: who was over the bound at several primaries at once waits, and not for long.
func (q *quotas) charge(group string, n int, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.groups[group]
	if b == nil {
		return // nobody has asked here yet: it begins full
	}
	b.refill(int(b.perSecond), now)
	b.tokens = max(b.tokens-float64(n), -b.perSecond)
}

// Charge tells of updates of a group that other primaries took and that were applied. It does not block.
func (s *Server) Charge(group string, n int) { s.quotas.charge(group, n, s.cfg.Now()) }

// withinQuota takes a place for the update, unless the keys of its group have signed too many already.
func (r *request) withinQuota() bool {
	if !r.signed {
		return true
	}
	group, perSecond := r.srv.cfg.Settings().Rate(r.sig.Key.Name)
	return group == "" || r.srv.quotas.take(group, perSecond, r.srv.cfg.Now())
}

// overQuota ends a signed update beyond its group's bound. One that was carried out before gets that answer (I4).
func (r *request) overQuota() {
	if r.sig.FullMAC != nil && r.srv.cfg.Answered != nil {
		if res, ok := r.srv.cfg.Answered(r.sig.TimeSigned, r.sig.Fudge, r.update.Fingerprint); ok {
			r.conclude(outcomeKnown, func(r *request) { r.answered(res) })
			return
		}
	}
	group, perSecond := r.srv.cfg.Settings().Rate(r.sig.Key.Name)
	reason := fmt.Errorf("quota of %q: more than %d updates a second with its keys", group, perSecond)
	r.conclude(outcomeRefused, func(r *request) {
		r.srv.quotas.refused.WithLabelValues(group).Inc()
		r.srv.metrics.drop(dropQuota)
		r.srv.refused(r, rcodeServFail, reason)
		r.reply(answer{rcode: rcodeServFail, ede: edeOther, text: reason.Error() + ", the update was not applied: retry later"})
	})
}

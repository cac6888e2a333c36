package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// pusher sends steps, one message at a time: each after the answer to the one before. So a zone's steps are in order on
// whatever stream they travel, and a stream needs no more than one message in flight.
func (p *Publisher) pusher(ctx context.Context, n Named) {
	var st *named.Stream
	var of *named.Session
	for {
		z, s, ok := p.next(&p.fast)
		if st != nil && (!ok || of != s) {
			st.Close()
		}
		if !ok {
			return
		}
		if of != s {
			of, st = s, s.NewStream()
		}
		p.release(z, p.push(ctx, n, s, st, z))
	}
}

// push sends the zone's next message and deals with its answer.
func (p *Publisher) push(ctx context.Context, n Named, s *named.Session, st *named.Stream, z *zoneState) error {
	p.mu.Lock()
	if p.session != s || !z.serving || len(z.queue) == 0 {
		p.mu.Unlock()
		return nil
	}
	epoch := z.epoch
	steps := z.queue
	late := len(steps) > p.cfg.MergeSteps || time.Since(z.waiting[0].arrived) > p.cfg.MergeAfter
	l := p.limits(z)
	p.mu.Unlock()

	count, diff := l.take(steps, late)
	if count == 0 {
		p.replace(z, epoch, reasonOf(l, steps[0]), nil)
		return nil
	}
	steps = steps[:count:count]
	began := time.Now()
	err := p.send(ctx, st, z.name(), diff)
	p.metrics.updateSeconds.Observe(time.Since(began).Seconds())
	if err != nil {
		var carried int
		if carried, err = p.settle(ctx, n, s, st, z, steps, epoch, err); err != nil || carried == 0 {
			return err
		}
		count = carried
	}
	p.metrics.steps.Add(float64(count))
	p.metrics.rrs.Add(float64(len(diff.Add) + len(diff.Del)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s && z.epoch == epoch && z.serving {
		z.done(count)
	}
	return nil
}

func reasonOf(l limits, b fsm.Boundary) string {
	switch {
	case l.deaths[b.To] >= l.maxDeaths:
		return "deadly"
	case size(b.Zone.Name, b.Diff) > l.maxUpdate:
		return "size"
	}
	return "serial"
}

// send carries one step to named and waits for the answer.
func (p *Publisher) send(ctx context.Context, st *named.Stream, origin zone.Name, d zone.Diff) error {
	if p.sending != nil {
		p.sending(d)
	}
	u := compose(origin, d)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.UpdateTimeout)
	defer cancel()
	return st.Update(ctx, origin, []zone.RR{u.from}, u.updates)
}

// stuckAfter is how many attempts in a row may stay without any answer before named is taken to hang.
const stuckAfter = 4

// settle finds out what became of steps whose UPDATE was not answered with NOERROR, and returns how many of them named
// has. It may gate the zone for replacement.
func (p *Publisher) settle(ctx context.Context, n Named, s *named.Session, st *named.Stream, z *zoneState, steps []fsm.Boundary, epoch uint64, cause error) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	select {
	case <-s.Gone():
		p.mu.Lock()
		z.died(steps)
		p.mu.Unlock()
		return 0, cause
	default:
	}
	soa, err := p.soa(ctx, st, z.name())
	if err != nil {
		// named answers neither: it may be dying of what was sent.
		select {
		case <-s.Gone():
			p.mu.Lock()
			z.died(steps)
			p.mu.Unlock()
		case <-ctx.Done():
		default:
			p.mu.Lock()
			stuck := z.failures >= stuckAfter
			p.mu.Unlock()
			if stuck {
				// Its probes are answered, its UPDATEs are not.
				n.Restart(s.Incarnation(), fmt.Sprintf("zone %s: neither UPDATEs nor queries over TCP are answered", z.id))
			}
		}
		return 0, fmt.Errorf("%w; then: %w", cause, err)
	}
	var refused *named.RCodeError
	answered := errors.As(cause, &refused)
	p.mu.Lock()
	doubt := z.doubt
	if !answered {
		z.doubt = true
	}
	p.mu.Unlock()
	v, k := judge(soa, steps)
	if v == after && answered && !doubt {
		// named says that it had another SOA, and no earlier message of ours can have made this one.
		v = foreign
	}
	switch v {
	case after:
		return k, nil
	case before:
		if answered && refused.RCode != named.RCodeServFail {
			// named takes the SOA for the right one and refuses all the same.
			p.replace(z, epoch, "refused", cause)
			return 0, nil
		}
		// Lost on the way, or named could not write its journal: again, after a pause.
		return 0, cause
	default:
		p.replace(z, epoch, "foreign", fmt.Errorf("named has serial %d, expected %d or %d (%w)",
			zone.SOASerial(soa.Data), steps[0].From, steps[len(steps)-1].To, cause))
		return 0, nil
	}
}

func (p *Publisher) soa(ctx context.Context, st *named.Stream, origin zone.Name) (zone.RR, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.UpdateTimeout)
	defer cancel()
	return st.SOA(ctx, origin)
}

// replace gates the zone; a syncer replaces its content as a whole.
func (p *Publisher) replace(z *zoneState, epoch uint64, reason string, cause error) {
	p.metrics.replacements.WithLabelValues(reason).Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	if z.epoch != epoch || !z.serving {
		return
	}
	args := []any{"zone", z.id, "reason", reason, "serial", z.serial}
	if cause != nil {
		args = append(args, "err", cause)
	}
	if reason == "size" {
		p.log.Info("replacing the zone in named as a whole", args...)
	} else {
		p.log.Error("replacing the zone in named as a whole", args...)
	}
	z.lastErr = cause
	z.reload = true
	z.stopServing()
	z.clearQueue()
}

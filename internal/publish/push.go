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
		w := worker{Publisher: p, named: n, s: s, st: st, z: z}
		p.release(z, w.push(ctx))
	}
}

// worker has one zone for itself, and a stream to the incarnation of named that was running when it took the zone.
type worker struct {
	*Publisher
	named Named
	s     *named.Session
	st    *named.Stream
	z     *zoneState
	epoch uint64 // of the zone while it was serving
}

// push sends the zone's next message and deals with its answer.
func (w *worker) push(ctx context.Context) error {
	p, z := w.Publisher, w.z
	p.mu.Lock()
	if p.session != w.s || !z.serving || len(z.queue) == 0 {
		p.mu.Unlock()
		return nil
	}
	w.epoch = z.epoch
	steps := z.queue
	late := len(steps) > p.cfg.MergeSteps || time.Since(z.waiting[0].arrived) > p.cfg.MergeAfter
	l := p.limits(z)
	p.mu.Unlock()

	count, diff := l.take(steps, late)
	if count == 0 {
		w.replace(l.obstacle(steps[0]), nil)
		return nil
	}
	steps = steps[:count:count]
	if err := w.send(ctx, steps, diff); err != nil {
		if count, err = w.settle(ctx, steps, err); err != nil || count == 0 {
			return err
		}
	}
	p.metrics.steps.Add(float64(count))
	p.metrics.rrs.Add(float64(len(diff.Add) + len(diff.Del)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == w.s && z.epoch == w.epoch && z.serving {
		z.done(count)
	}
	return nil
}

// send carries steps to named as one UPDATE and waits for the answer. Until what became of them is known they count as in
// flight: see follow.
func (w *worker) send(ctx context.Context, steps []fsm.Boundary, d zone.Diff) error {
	p, z := w.Publisher, w.z
	p.mu.Lock()
	if p.session != w.s {
		p.mu.Unlock()
		return named.ErrGone
	}
	z.inFlight = steps
	p.mu.Unlock()
	if p.sending != nil {
		p.sending(d)
	}
	u := compose(z.name(), d)
	tctx, cancel := context.WithTimeout(ctx, p.cfg.UpdateTimeout)
	defer cancel()
	began := time.Now()
	err := w.st.Update(tctx, z.name(), []zone.RR{u.from}, u.updates)
	p.metrics.updateSeconds.Observe(time.Since(began).Seconds())
	var refused *named.RCodeError
	if err == nil || errors.As(err, &refused) {
		w.landed()
	}
	return err
}

// landed: named has survived what was in flight.
func (w *worker) landed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.z.inFlight = nil
}

// After so many attempts in a row without success, something about this named, and not about a message, is at fault.
const (
	replaceAfter = 3 // the zone's file or journal
	restartAfter = 5 // the process
)

// settle finds out what became of steps whose UPDATE was not answered with NOERROR, and returns how many of them named
// has. It may gate the zone for replacement.
func (w *worker) settle(ctx context.Context, steps []fsm.Boundary, cause error) (int, error) {
	if ctx.Err() != nil || gone(w.s) {
		return 0, cause
	}
	w.mu.Lock()
	failures := w.z.failures
	w.mu.Unlock()
	var refused *named.RCodeError
	answered := errors.As(cause, &refused)
	doubt := w.inDoubt(!answered) // noted first: when the SOA does not come either, there is no other time for it
	soa, err := w.soa(ctx)
	if err != nil {
		if failures >= restartAfter {
			// Its probes are answered, its UPDATEs are not.
			w.named.Restart(w.s.Incarnation(), fmt.Sprintf("zone %s: neither UPDATEs nor queries over TCP are answered", w.z.id))
		}
		return 0, fmt.Errorf("%w; then: %w", cause, err)
	}
	w.landed()
	v, k := judge(soa, steps)
	if v == after && !doubt {
		// named says that it had another SOA, and no earlier message of ours can have made this one.
		v = foreign
	}
	switch {
	case v == after:
		return k, nil
	case v == foreign:
		w.replace("foreign", fmt.Errorf("named has serial %d, expected %d or %d (%w)",
			zone.SOASerial(soa.Data), steps[0].From, steps[len(steps)-1].To, cause))
		return 0, nil
	case answered && (refused.RCode != named.RCodeServFail || failures >= replaceAfter):
		// named takes the SOA for the right one and refuses all the same.
		w.replace("refused", cause)
		return 0, nil
	default:
		// Lost on the way, or named could not write its journal: again, after a pause.
		return 0, cause
	}
}

// inDoubt reports whether an UPDATE of the zone stayed without an answer, and notes whether this one did.
func (w *worker) inDoubt(now bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.z.doubt = w.z.doubt || now
	return w.z.doubt
}

func (w *worker) soa(ctx context.Context) (zone.RR, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.UpdateTimeout)
	defer cancel()
	return w.st.SOA(ctx, w.z.name())
}

func (w *worker) replace(reason string, cause error) { w.gate(w.z, w.epoch, reason, cause) }

// gate stops the serving of a zone; a syncer replaces its content as a whole.
func (p *Publisher) gate(z *zoneState, epoch uint64, reason string, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if z.epoch != epoch || !z.serving {
		return
	}
	p.metrics.replacements.WithLabelValues(reason).Inc()
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
	z.reload, z.excused = true, reason == "size"
	z.stopServing()
	z.clearQueue()
}

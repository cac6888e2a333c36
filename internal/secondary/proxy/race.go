package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// race does what a contest decides: it asks primaries a question until one has
// given a good answer. It belongs to one goroutine.
type race struct {
	p         *Proxy
	q         *question
	ctx       context.Context //nolint:containedctx // of the question
	primaries []Primary
	contest   *contest
	runners   []runner
	events    chan event
	wg        sync.WaitGroup

	deadline time.Time // until the first octet of the answer
	bad      []byte    // the first message that reported an error
}

// runner is the attempt at one primary.
type runner struct {
	cancel context.CancelCauseFunc // nil when there is none
	since  time.Time               // when it was begun, or something came last
	answer *answer                 // good, and not released
}

// event is what an attempt tells.
type event struct {
	i      int
	form   xfr.Form // of the answer so far
	answer *answer  // set with the last event of a good attempt
	bad    []byte   // the message that reported the error
	err    error    // set with the last event of a failed attempt
}

func (p *Proxy) newRace(ctx context.Context, q *question) *race {
	r := &race{
		p: p, q: q, ctx: ctx, primaries: p.cfg.Choose(q.name),
		events: make(chan event), deadline: time.Now().Add(p.cfg.Total),
	}
	live := make([]bool, len(r.primaries))
	for i, pr := range r.primaries {
		live[i] = pr.Gone != nil
	}
	r.contest = newContest(live)
	r.runners = make([]runner, len(r.primaries))
	return r
}

// close stops all attempts that are left and waits for their end.
func (r *race) close() {
	r.stop(func(phase) bool { return true })
	r.wg.Wait()
}

// run finds a good answer. The error says why there is none. The caller closes the
// race, at once so that nobody sends in vain, and releases the answer.
func (r *race) run() (*answer, error) {
	total := time.NewTimer(time.Until(r.deadline))
	defer total.Stop()
	hedge := time.NewTimer(r.p.cfg.HedgeAfter)
	defer hedge.Stop()
	for next := r.contest.begin(); ; {
		switch {
		case next.take >= 0:
			a := r.runners[next.take].answer
			r.runners[next.take] = runner{} // the answer has its own end
			return a, nil
		case next.over:
			return nil, errNobody
		case next.ask >= 0:
			r.ask(next.ask)
			hedge.Reset(r.p.cfg.HedgeAfter)
		}
		select {
		case ev := <-r.events:
			next = r.event(ev, hedge)
		case <-hedge.C:
			hedge.Reset(r.p.cfg.HedgeAfter)
			next = r.contest.late()
		case <-total.C:
			r.stop(func(ph phase) bool { return ph == asked })
			if next = r.contest.expire(); next.over {
				return nil, fmt.Errorf("%w within %v", errNobody, r.p.cfg.Total)
			}
		case <-r.ctx.Done():
			return nil, context.Cause(r.ctx)
		}
	}
}

// event takes what an attempt tells.
func (r *race) event(ev event, hedge *time.Timer) move {
	run := &r.runners[ev.i]
	run.since = time.Now()
	switch {
	case r.ctx.Err() != nil:
		if ev.answer != nil {
			ev.answer.release(r.p.pool)
		}
		return stay() // run ends
	case ev.err != nil:
		run.cancel = nil
		if ev.bad != nil && r.bad == nil {
			r.bad = ev.bad
		}
		r.p.failed(r.q, r.primaries[ev.i].Name, ev.err)
		return r.contest.fail(ev.i)
	case ev.answer != nil:
		run.answer = ev.answer
		hedge.Reset(r.p.cfg.HedgeAfter) // if it is kept: how long a better one may take
		return r.contest.good(ev.i, r.value(ev.answer.form))
	}
	hedge.Reset(r.p.stall())
	return r.contest.hear(ev.i, r.value(ev.form) == whole)
}

// value of an answer of that form to the question.
func (r *race) value(f xfr.Form) value {
	switch {
	case r.q.qtype == zone.TypeIXFR && f == xfr.Whole:
		return whole
	case f == xfr.UpToDate:
		return noNews
	}
	return best
}

// stall is how long a primary that sends may pause before the next one is asked as
// well. It is longer than HedgeAfter: over a slow line a second transfer would only
// slow down the first.
func (p *Proxy) stall() time.Duration { return max(p.cfg.HedgeAfter, p.cfg.IdleTimeout/2) }

// ask starts an attempt.
func (r *race) ask(i int) {
	pr := r.primaries[i]
	wanted, cancel := context.WithCancelCause(r.ctx)
	r.runners[i] = runner{cancel: cancel, since: time.Now()}
	tell := func(ev event) bool {
		ev.i = i
		select {
		case r.events <- ev:
			return true
		case <-wanted.Done():
			return false
		}
	}
	r.wg.Go(func() {
		ctx := alive(wanted, pr.Gone)
		a, bad, err := r.p.attempt(ctx, r.q, pr, r.deadline, func(f xfr.Form) { tell(event{form: f}) })
		if a != nil {
			a.cancel = cancel
		}
		if !tell(event{answer: a, bad: bad, err: err}) && a != nil {
			a.release(r.p.pool)
		}
		if err != nil {
			cancel(nil)
		}
	})
}

// alive returns a context that ends with ctx or when gone is closed.
func alive(ctx context.Context, gone <-chan struct{}) context.Context {
	if gone == nil {
		return ctx
	}
	alive, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-gone:
			cancel(ErrGone)
		case <-ctx.Done():
			cancel(nil)
		}
	}()
	return alive
}

// stop ends the attempts in certain phases. Those that were silent for so long that
// they were hedged are slow.
func (r *race) stop(which func(phase) bool) {
	for i := range r.runners {
		run, ph := &r.runners[i], r.contest.phases[i]
		if run.cancel == nil || !which(ph) {
			continue
		}
		silent := time.Since(run.since)
		if r.ctx.Err() == nil && (ph == asked && silent >= r.p.cfg.HedgeAfter || ph == heard && silent >= r.p.stall()) {
			r.p.failed(r.q, r.primaries[i].Name, ErrSlow)
		}
		run.cancel(errNotNeeded)
		if run.answer != nil {
			run.answer.release(r.p.pool)
		}
		*run = runner{}
	}
}

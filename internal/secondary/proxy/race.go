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
	cancel context.CancelCauseFunc // nil when none is under way
	since  time.Time
	answer *answer // good, and not released
}

// event is what an attempt tells.
type event struct {
	i      int
	heard  bool // the first octet is here; more events follow
	answer *answer
	bad    []byte
	err    error
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

// close stops all attempts and waits for their end.
func (r *race) close() { r.stopExcept(-1) }

// run finds a good answer: at first, or again after the answer of lost broke off.
// The error says why there is none. The caller releases the answer.
func (r *race) run(lost int) (i int, a *answer, err error) {
	total := time.NewTimer(time.Until(r.deadline))
	defer total.Stop()
	hedge := time.NewTimer(r.p.cfg.HedgeAfter)
	defer hedge.Stop()
	var next move
	if lost < 0 {
		next = r.contest.begin()
	} else {
		next = r.contest.lose(lost)
	}
	for {
		switch {
		case next.take >= 0:
			a := r.runners[next.take].answer
			r.runners[next.take].answer = nil
			r.stopExcept(next.take)
			return next.take, a, nil
		case next.over:
			return -1, nil, errNobody
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
			if spare := r.contest.spare; spare >= 0 {
				next = take(spare)
				continue
			}
			return -1, nil, fmt.Errorf("%w within %v", errNobody, r.p.cfg.Total)
		case <-r.ctx.Done():
			return -1, nil, context.Cause(r.ctx)
		}
	}
}

// event takes what an attempt tells.
func (r *race) event(ev event, hedge *time.Timer) move {
	run := &r.runners[ev.i]
	switch {
	case ev.heard:
		r.contest.hear(ev.i)
		return stay
	case r.ctx.Err() != nil:
		if ev.answer != nil {
			ev.answer.release(r.p.pool)
		}
		return stay // run ends
	case ev.err != nil:
		run.cancel = nil
		if ev.bad != nil && r.bad == nil {
			r.bad = ev.bad
		}
		r.p.failed(r.q, r.primaries[ev.i].Name, ev.err)
		return r.contest.fail(ev.i)
	}
	run.answer = ev.answer
	a := ev.answer
	m := r.contest.good(ev.i, r.q.qtype == zone.TypeIXFR && a.form == xfr.Whole, a.form != xfr.UpToDate)
	if m.take < 0 { // it is the spare: the others have as long as one that is asked anew
		hedge.Reset(r.p.cfg.HedgeAfter)
	}
	return m
}

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
		a, bad, err := r.p.attempt(ctx, r.q, pr, func() { tell(event{heard: true}) })
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

// stopExcept ends all attempts but the one at winner, which is over, and waits for
// them. Those that have not sent an octet for so long that they were hedged are slow.
func (r *race) stopExcept(winner int) {
	for i := range r.runners {
		run := &r.runners[i]
		if i == winner || run.cancel == nil {
			continue
		}
		if r.contest.phases[i] == asked && time.Since(run.since) >= r.p.cfg.HedgeAfter && r.ctx.Err() == nil {
			r.p.failed(r.q, r.primaries[i].Name, ErrSlow)
		}
		run.cancel(errNotNeeded)
		if run.answer != nil {
			run.answer.release(r.p.pool)
		}
		*run = runner{}
	}
	r.wg.Wait()
}

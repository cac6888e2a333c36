package relay

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// pool knows which primaries are live and which flows go to each, so that the
// flows of one that dies move at once.
type pool struct {
	cfg      Config
	log      *slog.Logger
	backends []*backend

	mu     sync.Mutex
	next   int
	closed bool
}

// flow is what a backend's death must interrupt: a UDP session moves, a TCP
// connection closes. Called without the pool's lock.
type flow interface{ lost(b *backend) }

type backend struct {
	Backend
	check chan struct{}

	// Guarded by pool.mu.
	live  bool
	flows map[flow]struct{}
}

func newPool(cfg Config) *pool {
	p := &pool{cfg: cfg, log: cfg.Logger}
	for _, b := range cfg.Backends {
		p.backends = append(p.backends, &backend{Backend: b, check: make(chan struct{}, 1), flows: map[flow]struct{}{}})
	}
	return p
}

// watch keeps one backend's state current until ctx ends.
func (p *pool) watch(ctx context.Context, b *backend) {
	t := time.NewTicker(p.cfg.CheckEvery)
	defer t.Stop()
	for {
		cctx, cancel := context.WithTimeout(ctx, p.cfg.CheckTimeout)
		err := b.Check(cctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		p.set(b, err)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-b.check:
		}
	}
}

func (p *pool) checkNow(name string) {
	for _, b := range p.backends {
		if b.Name == name {
			select {
			case b.check <- struct{}{}:
			default: // one is pending already
			}
		}
	}
}

// set records a check's outcome. The flows of a backend that is not live are
// interrupted when it has just died, or when there is a better one to move to.
func (p *pool) set(b *backend, err error) {
	p.mu.Lock()
	was := b.live
	b.live = err == nil
	var lost []flow
	if !b.live && (was || p.anyLive()) {
		lost = b.takeFlows()
	}
	p.mu.Unlock()
	switch {
	case was && err != nil:
		p.log.Warn("primary left the relay", "primary", b.Name, "err", err)
	case !was && err == nil:
		p.log.Info("primary entered the relay", "primary", b.Name)
	}
	for _, f := range lost {
		f.lost(b)
	}
}

// pick chooses the next live backend in turn. When none is live any is chosen: a
// primary without a quorum still answers SERVFAIL with its reason, which is better
// than silence. not is excluded while there is another choice.
func (p *pool) pick(not *backend) *backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *backend
	n := len(p.backends)
	for i := range n {
		b := p.backends[(p.next+i)%n]
		if b == not && n > 1 {
			continue
		}
		if best == nil || (b.live && !best.live) {
			best = b
		}
	}
	p.next = (p.next + 1) % n
	return best
}

func (p *pool) anyLive() bool {
	return slices.ContainsFunc(p.backends, func(b *backend) bool { return b.live })
}

// takeFlows empties the backend's set; p.mu is held.
func (b *backend) takeFlows() []flow {
	l := slices.Collect(maps.Keys(b.flows))
	clear(b.flows)
	return l
}

// join registers a flow; false when the pool is closed and the flow must end. Of a
// backend that was found dead meanwhile it hears at the next failing check.
func (p *pool) join(b *backend, f flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	b.flows[f] = struct{}{}
	return true
}

// drop forgets a flow.
func (p *pool) drop(b *backend, f flow) {
	p.mu.Lock()
	delete(b.flows, f)
	p.mu.Unlock()
}

// closeAll interrupts every flow at the end.
func (p *pool) closeAll() {
	p.mu.Lock()
	p.closed = true
	var all []flow
	for _, b := range p.backends {
		all = append(all, b.takeFlows()...)
	}
	p.mu.Unlock()
	for _, f := range all {
		f.lost(nil)
	}
}

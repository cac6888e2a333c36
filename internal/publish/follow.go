package publish

import (
	"context"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
)

// Run drives n until ctx is done. n's content must be p.Content.
func (p *Publisher) Run(ctx context.Context, n Named) error {
	var wg sync.WaitGroup
	for range p.cfg.Pushers {
		wg.Go(func() { p.pusher(ctx, n) })
	}
	for range p.cfg.Syncers {
		wg.Go(func() { p.syncer(ctx, n) })
	}
	wg.Go(func() { p.keeper(ctx) })
	wg.Go(func() { p.verifier(ctx) })
	wg.Go(func() { p.watchSerials(ctx) })
	for ctx.Err() == nil {
		_, changed := n.Watch()
		s, _ := n.Session()
		p.follow(s)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	p.stopped = true
	p.work.Broadcast()
	for _, z := range p.zones {
		z.stopServing()
	}
	p.wakeLocked()
	p.mu.Unlock()
	wg.Wait()
	return nil
}

// follow makes another incarnation of named, or none, the one that is driven.
func (p *Publisher) follow(s *named.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == s {
		return
	}
	var last uint64
	if p.session != nil {
		last = p.session.Incarnation()
	}
	p.session = s
	for _, z := range p.zones {
		z.died()
		// All that was known about the last incarnation is void (C5).
		z.stopServing()
		z.clearQueue()
		// The next incarnation may have been given its zones already.
		if s == nil && z.heldBy <= last || s != nil && z.heldBy != s.Incarnation() {
			z.heldBy, z.heldConf = 0, nil
		}
		z.failures, z.notYet, z.excused, z.overrun = 0, time.Time{}, false, false
		if !p.forgotten(z) {
			p.schedule(z)
		}
	}
	p.wakeLocked()
}

// wakeLocked wakes those who wait for a change of session or keys.
func (p *Publisher) wakeLocked() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *Publisher) waitLocked() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

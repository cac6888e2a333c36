package publish

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// compare transfers the zone from named and compares it with a view that named has reached.
func (w *worker) compare(ctx context.Context, v view) error {
	z := v.content
	ctx, cancel := context.WithTimeout(ctx, w.cfg.VerifyTimeout+perRecord(z.Records()))
	defer cancel()
	soa, sum, n, err := w.st.Digest(ctx, z.Origin())
	if err != nil {
		return err
	}
	return w.matches(soa, sum, n, z)
}

func (p *Publisher) matches(soa zone.RR, sum zone.Digest, n int, z *zone.Zone) error {
	if sum == z.Digest() {
		p.metrics.verified.WithLabelValues("same").Inc()
		return nil
	}
	p.metrics.verified.WithLabelValues("different").Inc()
	return fmt.Errorf("zone %s: named serves %d RRs with digest %s at serial %d, the state machine has %d with %s at %d",
		z.Origin(), n, sum, zone.SOASerial(soa.Data), z.Records(), z.Digest(), z.Serial())
}

// verifier compares all zones at intervals (D7).
func (p *Publisher) verifier(ctx context.Context) {
	for {
		select {
		case <-time.After(p.cfg.VerifyEvery):
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		ids := make([]fsm.ZoneID, 0, len(p.zones))
		for id := range p.zones {
			ids = append(ids, id)
		}
		p.mu.Unlock()
		slices.SortFunc(ids, compareIDs)
		for _, id := range ids {
			if err := p.Verify(ctx, id); err != nil && ctx.Err() == nil {
				p.log.Warn("verification", "zone", id, "err", err)
			}
			select {
			case <-time.After(p.cfg.VerifyPause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// Verify compares one zone in named with the state machine at the same serial, while publishing goes on. nil: they are
// the same. A difference gates and replaces the zone. A zone that is not served is not compared: an error says so.
func (p *Publisher) Verify(ctx context.Context, id fsm.ZoneID) error {
	p.mu.Lock()
	z, s, m := p.zones[id], p.session, p.machine
	if z == nil || s == nil || !z.serving || z.trail != nil {
		p.mu.Unlock()
		return fmt.Errorf("zone %s can't be verified now: %w", id, p.Serving(id))
	}
	epoch := z.epoch
	mv, ok := m.Zone(id)
	if !ok || mv.Config.Incarnation != z.incarnation {
		p.mu.Unlock()
		return fmt.Errorf("zone %s: %w", id, errMoved)
	}
	t := &trail{after: mv.Index}
	z.trail = t
	queue := z.queue
	p.mu.Unlock()
	v := newView(mv)
	complete := v.extend(queue)

	st := s.NewStream()
	defer st.Close()
	tctx, cancel := context.WithTimeout(ctx, p.cfg.VerifyTimeout+perRecord(v.content.Records()))
	defer cancel()
	soa, sum, n, err := st.Digest(tctx, id.Name)

	p.mu.Lock()
	// A step that named has was here before: the trail is complete for what the transfer shows.
	steps := t.steps
	if z.trail == t {
		z.trail = nil
	}
	same := z.epoch == epoch && z.serving
	p.mu.Unlock()
	if err == nil && !same {
		err = fmt.Errorf("zone %s was replaced in named while it was compared", id)
	}
	if err != nil {
		return err
	}
	want, known := v.at(soa, steps)
	switch {
	case !known && !complete:
		p.metrics.verified.WithLabelValues("unknown").Inc()
		return fmt.Errorf("zone %s: named is too far behind to tell whether it differs", id)
	case !known:
		err = fmt.Errorf("zone %s: named serves serial %d, which is none of ours", id, zone.SOASerial(soa.Data))
		p.metrics.verified.WithLabelValues("different").Inc()
	default:
		err = p.matches(soa, sum, n, want)
	}
	if err != nil {
		p.gate(z, epoch, "different", err)
		p.mu.Lock()
		p.schedule(z)
		p.mu.Unlock()
	}
	return err
}

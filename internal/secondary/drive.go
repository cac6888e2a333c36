package secondary

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// inFlight bounds the NOTIFYs that wait for named's answer.
const inFlight = 64

// drive tells named what the tracker says, when it says so.
func (s *secondary) drive(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(inFlight)
	defer func() { _ = g.Wait() }() // they return no errors
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-t.C:
		}
		now := time.Now()
		s.mu.Lock()
		orders, wake := s.t.next(now)
		s.mu.Unlock()
		for _, o := range orders {
			g.Go(func() error {
				s.carryOut(ctx, o)
				return nil
			})
		}
		if !wake.IsZero() {
			t.Reset(time.Until(wake))
		}
	}
}

func (s *secondary) carryOut(ctx context.Context, o order) {
	sess, ok := s.named.Session()
	if !ok {
		return // the tracker repeats it
	}
	if o.compare {
		_ = s.compareZone(ctx, o.zone) // the tracker asks again
		return
	}
	if o.retransfer {
		s.log.Warn("named does not serve a zone of the catalog; it is transferred anew", "zone", o.zone)
		if err := sess.Retransfer(ctx, o.zone); err != nil {
			s.log.Warn("retransfer", "zone", o.zone, "err", err)
		}
		return
	}
	result := "accepted"
	if err := sess.Notify(ctx, s.proxy.Addr().Addr(), o.zone, o.serial); err != nil {
		result = "failed"
		s.log.Debug("NOTIFY", "zone", o.zone, "serial", o.serial, "err", err)
	}
	s.metrics.notifies.WithLabelValues(result).Inc()
}

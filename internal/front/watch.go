package front

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// How often this node looks at its own parts, and how long one may take to answer.
const (
	watchEvery   = 200 * time.Millisecond
	watchTimeout = time.Second
	// conflictEvery is how often the network is asked who else has the addresses, while this node holds them or somebody does.
	conflictEvery = 5 * time.Second
)

// watch looks at HAProxy and the relay until ctx ends.
func (f *front) watch(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() {
		var s silence
		f.every(ctx, f.kick, f.haproxy.Alive, func(err error) {
			certain, restart := s.heard(err, f.haproxy.PID() != 0)
			if certain {
				f.fault(faultHAProxy, err)
			}
			if restart {
				f.haproxy.Restart(err.Error())
			}
		})
	})
	wg.Go(func() {
		f.every(ctx, nil, f.relay.Probe, func(err error) { f.fault(faultRelay, err) })
	})
	wg.Wait()
	return nil
}

// every asks a part now, when kicked, and once in a while, until ctx ends, and passes what came of it on.
func (f *front) every(ctx context.Context, kick <-chan struct{}, ask func(context.Context) error, then func(error)) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		actx, cancel := context.WithTimeout(ctx, watchTimeout)
		err := ask(actx)
		cancel()
		if ctx.Err() == nil { // else it is our stop that it failed of
			then(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-kick:
		}
	}
}

// fault notes that a part of this node works (nil) or does not.
func (f *front) fault(part string, err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	f.mu.Lock()
	was := f.m.faults[part]
	news := f.m.fault(part, reason)
	f.mu.Unlock()
	if !news {
		return
	}
	switch {
	case reason == "":
		f.log.Info("this node is whole again", "part", part)
	case was == "" || was == notAsked:
		f.log.Error("this node can't hold the addresses", "part", part, "reason", reason)
	}
	signal(f.changed)
}

// observe hears of HAProxy's process. Its end counts at once; that it works is for watch to see.
func (f *front) observe(e haproxy.Event) {
	switch e.Kind {
	case haproxy.Ended:
		f.metrics.restarts.WithLabelValues("haproxy").Inc()
		f.ends.Add(1)
		if f.haproxy.PID() == 0 {
			f.fault(faultHAProxy, fmt.Errorf("it ended: %w", e.Err))
		}
	case haproxy.Reloaded:
		f.metrics.reloads.WithLabelValues("done").Inc()
	case haproxy.Rejected:
		f.metrics.reloads.WithLabelValues("rejected").Inc()
	case haproxy.Started, haproxy.Left:
	}
	signal(f.kick)
}

// move is mode vip: the filter, and keepalived, until ctx ends. It does not get the addresses before join has asked who has them. keepalived has given the
// addresses away when it returns.
func (f *front) move(ctx context.Context) error {
	remove, err := vip.Filter(ctx, f.cfg.VIP.Interface, f.peers())
	if err != nil {
		f.log.Warn("VRRP of strangers is kept out by keepalived alone, which they can disturb", "err", err)
	} else {
		defer func() {
			if err := remove(); err != nil {
				f.log.Warn("a filter was left behind", "err", err)
			}
		}()
	}
	hearing, deaf := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { f.hear(hearing) })
	wg.Go(func() { f.watchConflict(hearing) })
	wg.Go(func() { f.watchPeers(hearing, remove != nil) })
	wg.Go(func() { f.join(hearing) })
	wg.Go(func() { f.watchStrangers(hearing, remove != nil) })
	err = f.keepalived.Run(ctx)
	deaf()
	wg.Wait()
	return err
}

// hear takes keepalived's states.
func (f *front) hear(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-f.keepalived.State():
			f.mu.Lock()
			was := f.m.vip
			f.m.moved(s, time.Now())
			f.mu.Unlock()
			if s != was {
				f.log.Info("the addresses", "state", s, "was", was)
				f.metrics.transitions.WithLabelValues(s.String()).Inc()
			}
			signal(f.changed)
		}
	}
}

// watchConflict asks again while this node holds the addresses, and while somebody else was found to.
func (f *front) watchConflict(ctx context.Context) {
	t := time.NewTicker(conflictEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		f.mu.Lock()
		ask := f.m.vip == keepalived.Master || f.m.faults[faultConflict] != ""
		f.mu.Unlock()
		if ask {
			f.askWhoElse(ctx)
		}
	}
}

// askWhoElse asks the network who else has the addresses, and returns what it learned. Without an answer to that question nobody has.
func (f *front) askWhoElse(ctx context.Context) vip.Holders {
	h, err := vip.Others(ctx, f.cfg.VIP.Interface, f.set.vipAddrs, f.peers())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		f.log.Warn("nobody could be asked who else has the addresses", "err", err)
		f.fault(faultConflict, nil)
	case h.Stranger.Addr.IsValid():
		f.fault(faultConflict, fmt.Errorf("%s, which is no front node; take the address away from it, or use another one in vip.addresses", h.Stranger))
	default:
		f.fault(faultConflict, nil)
	}
	return h
}

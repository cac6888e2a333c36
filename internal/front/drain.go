package front

import (
	"context"
	"errors"
	"os"
	ossignal "os/signal"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

const (
	// heldEvery is how often a drain looks whether connections have ended, and whether the addresses have gone.
	heldEvery = 10 * time.Millisecond
	// lastConnections is how long a drain waits for connections that were opened while it lasted. New ones wait meanwhile.
	lastConnections = 300 * time.Millisecond
)

// drain takes this node out of service: clients' TCP connections end between two messages, new ones are kept waiting, then the addresses move. It lasts until
// the process ends. Whoever calls it later waits for the first.
func (f *front) drain() {
	f.mu.Lock()
	first := !f.m.draining
	f.m.draining = true
	f.mu.Unlock()
	if !first {
		<-f.drained
		return
	}
	defer close(f.drained)
	f.log.Info("this node is drained")
	if f.keepalived == nil {
		// A load balancer learns it first, so that nothing new comes.
		f.fault(faultDrain, errDrained)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(f.cfg.DrainTimeout))
	if err := f.haproxy.Drain(ctx); err != nil {
		f.log.Warn("connections are cut", "err", err)
	}
	cancel()
	if f.keepalived != nil {
		f.holdBack()
	}
	f.fault(faultDrain, errDrained)
	if f.keepalived != nil && !f.gone() {
		f.log.Warn("the addresses are still here", "after", time.Duration(f.cfg.DrainTimeout))
	}
	f.log.Info("this node has been drained")
}

// holdBack keeps new connections from this node and waits until the last ones have ended: one that is open when the addresses move
// breaks.
func (f *front) holdBack() {
	ctx, cancel := context.WithTimeout(context.Background(), lastConnections)
	defer cancel()
	if err := vip.HoldBack(ctx, f.set.vipAddrs, uint16(f.cfg.Listen.Port)); err != nil { //nolint:gosec // validated
		f.log.Warn("new connections may break when the addresses move", "err", err)
		return
	}
	look := time.NewTicker(heldEvery)
	defer look.Stop()
	// Twice: a connection may be on its way from the kernel to HAProxy.
	for none := 0; none < 2; {
		select {
		case <-ctx.Done():
			f.log.Info("connections that are in use break when the addresses move")
			return
		case <-look.C:
		}
		servers, err := f.haproxy.Stat(ctx)
		if err != nil {
			f.log.Warn("connections may break when the addresses move", "err", err)
			return
		}
		none++
		for _, s := range servers {
			if s.Backend == haproxy.Frontend && s.Connections > 0 {
				none = 0
			}
		}
	}
}

// errDrained is the fault of a drained node.
var errDrained = errors.New("it was drained; start it again to bring it back")

// gone waits until this node holds no address.
func (f *front) gone() bool {
	late := time.NewTimer(time.Duration(f.cfg.DrainTimeout))
	defer late.Stop()
	look := time.NewTicker(heldEvery)
	defer look.Stop()
	for {
		f.mu.Lock()
		master := f.m.vip == keepalived.Master
		f.mu.Unlock()
		if held, err := vip.Held(f.cfg.VIP.Interface, f.set.vips); err == nil && len(held) == 0 && !master {
			return true
		}
		select {
		case <-late.C:
			return false
		case <-look.C:
		}
	}
}

// drainOnSignal drains at SIGUSR1 until ctx ends; until the returned function is called the signal does no harm.
func (f *front) drainOnSignal(ctx context.Context) (stop func()) {
	usr1 := make(chan os.Signal, 1)
	ossignal.Notify(usr1, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-usr1:
				f.drain()
			}
		}
	}()
	return func() { ossignal.Stop(usr1) }
}

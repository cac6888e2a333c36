package front

import (
	"context"
	"errors"
	"os"
	ossignal "os/signal"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// heldEvery is how often a drain looks whether the addresses have gone.
const heldEvery = 10 * time.Millisecond

// drain takes this node out of service: clients' TCP connections end between two messages, then the addresses move. It lasts until
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
	f.fault(faultDrain, errDrained)
	if f.keepalived != nil && !f.gone() {
		f.log.Warn("the addresses are still here", "after", time.Duration(f.cfg.DrainTimeout))
	}
	f.log.Info("this node has been drained")
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

package front

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// peers are the other front nodes at this moment.
func (f *front) peers() []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m.peers
}

// watchPeers follows vip.peers of the configuration file until ctx ends: nodes come and go while this one serves. filtered: the packet
// filter was made.
func (f *front) watchPeers(ctx context.Context, filtered bool) {
	t := time.NewTicker(rereadEvery)
	defer t.Stop()
	var said string // of a file that is no configuration
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		list, err := f.file.vrrpPeers()
		if err == nil {
			err = f.setPeers(ctx, list, filtered)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			f.log.Warn("vip.peers are as before", "peers", f.peers(), "err", err)
		}
	}
}

// setPeers makes others the peers. Whoever is new is let in before keepalived hears of it; keepalived keeps its state and the
// addresses when its configuration changes.
func (f *front) setPeers(ctx context.Context, list []netip.Addr, filtered bool) error {
	was := f.peers()
	if slices.Equal(list, was) {
		return nil
	}
	if filtered {
		if err := vip.SetPeers(ctx, list); err != nil {
			return err
		}
	}
	if err := f.keepalived.SetPeers(list); err != nil {
		return err
	}
	f.mu.Lock()
	f.m.peers = list
	f.mu.Unlock()
	f.log.Info("the peers are replaced", "peers", list, "were", was)
	return nil
}

// How long a node that starts waits for a holder to advertise to it before it asks the network again, and after which time a holder
// that was never heard counts as dead.
const (
	joinEvery = time.Second
	joinLimit = 3 * time.Minute
)

// join ends faultUnheard. A peer that has the addresses and does not know this node yet sends it nothing, and keepalived would take that
// for the peer's death: two nodes would have the addresses. So this node may have them once it has heard a peer, or once no peer
// answers for them.
func (f *front) join(ctx context.Context) {
	began := time.Now()
	for ctx.Err() == nil {
		peers := f.peers()
		h := f.askWhoElse(ctx)
		if len(h.Peers) == 0 {
			break
		}
		hctx, cancel := context.WithTimeout(ctx, joinEvery)
		from, err := vip.Advertised(hctx, f.set.node, peers)
		cancel()
		if err == nil {
			f.log.Debug("a peer was heard", "peer", from)
			break
		}
		if waited := time.Since(began); waited > joinLimit {
			f.log.Warn("a peer has the addresses and was not heard; it counts as dead", "peers", h.Peers, "waited", waited.Round(time.Second))
			break
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%s has the addresses and sends this node no advertisements; put %s into vip.peers there", h.Peers[0], f.set.node)
		}
		if ctx.Err() == nil {
			f.fault(faultUnheard, err)
		}
	}
	if ctx.Err() == nil {
		f.fault(faultUnheard, nil)
	}
}

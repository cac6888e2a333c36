package primary

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A primary that clients still reach, but that does not reach a quorum, can't take updates: each would wait for its deadline
// and be refused. It says so itself, by a linearizable read every probeEvery. One that fails is no reason yet, because at an
// election all survivors are without a leader for a moment, and a front must not lose them all at once.
const (
	probeEvery   = 500 * time.Millisecond
	probeTimeout = time.Second
	quorumLost   = 2 * time.Second // without a successful probe: longer than an election takes
)

// watchQuorum keeps p.quorum current until ctx ends.
func (p *Primary) watchQuorum(ctx context.Context) {
	last := time.Now()
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		_, err := p.elog.Barrier(pctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		p.noteQuorum(err, &last, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// noteQuorum takes the outcome of a probe; last is when the last one succeeded.
func (p *Primary) noteQuorum(err error, last *time.Time, now time.Time) {
	if err == nil {
		*last = now
		if p.quorum.Swap(nil) != nil {
			p.log.Info("a quorum of the log's members is reached again")
		}
		return
	}
	if now.Sub(*last) < quorumLost {
		return
	}
	why := fmt.Sprintf("no quorum of the log's members was reached for %s: %v", now.Sub(*last).Round(100*time.Millisecond), err)
	if p.quorum.Swap(&why) == nil {
		p.log.Error("not ready", "reason", why)
	}
}

// registerQuorum shows the probe's verdict.
func (p *Primary) registerQuorum(r prometheus.Registerer) error {
	return r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_primary_quorum_reached",
		Help: "1 while linearizable reads of the log succeed, 0 after two seconds without."}, func() float64 {
		if p.quorum.Load() != nil {
			return 0
		}
		return 1
	}))
}

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
	q := quorumWatch{last: time.Now()}
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		_, err := p.elog.Barrier(pctx)
		cancel()
		if ctx.Err() != nil {
			return
		}
		p.noteQuorum(q.probed(err, time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// quorumWatch adds up for how long no probe has succeeded.
type quorumWatch struct {
	last time.Time     // the end of the last probe
	lost time.Duration // until then
}

// probed takes the outcome of a probe, and returns why there is no quorum, nil while there may be one. A process that was
// stopped for a while finds all its connections silent and nothing else wrong: that time counts as one failed probe, or it
// would refuse the requests that waited for it.
func (q *quorumWatch) probed(err error, now time.Time) error {
	q.lost += min(now.Sub(q.last), probeEvery+probeTimeout)
	q.last = now
	switch {
	case err == nil:
		q.lost = 0
	case q.lost >= quorumLost:
		return fmt.Errorf("no quorum of the log's members was reached for %s: %w", q.lost.Round(100*time.Millisecond), err)
	}
	return nil
}

// noteQuorum carries the outcome of a probe out.
func (p *Primary) noteQuorum(err error) {
	if err == nil {
		if p.quorum.Swap(nil) != nil {
			p.log.Info("a quorum of the log's members is reached again")
		}
		return
	}
	why := err.Error()
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

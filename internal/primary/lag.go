package primary

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// lag watches how far publishing is behind, here and at the peers, and holds updates back when a quorum is (C9). The
// replica's LagWatch decides.
type lag struct {
	own     atomic.Pointer[replica.Progress] // nil: nothing is published yet
	verdict atomic.Pointer[replica.LagVerdict]
}

// lagEvery is short beside the limits, and a look costs microseconds; peers are asked every peerEvery.
const lagEvery = 100 * time.Millisecond

// lagPause is a time between two looks after which this process must have been stopped.
const lagPause = time.Second

func newLag(reg prometheus.Registerer) (*lag, error) {
	l := new(lag)
	l.verdict.Store(&replica.LagVerdict{})
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_quorum_lag_seconds",
			Help: "Age of the oldest change that is not published at a majority of the primaries that answer: what updates are slowed down and refused by."},
			func() float64 { return l.verdict.Load().Quorum.Age.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_publish_quorum_queued_bytes",
			Help: "Octets of publish steps that wait at a majority of the primaries that answer."},
			func() float64 { return float64(l.verdict.Load().Quorum.Bytes) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// watchLag looks until ctx ends.
func (p *Primary) watchLag(ctx context.Context) {
	w := replica.NewLagWatch(p.cfg.lagLimits())
	t := time.NewTicker(lagEvery)
	defer t.Stop()
	for last := time.Now(); ; {
		now := time.Now()
		if pause := now.Sub(last); pause > lagPause {
			w.Resume(pause)
		}
		last = now
		p.lookAtLag(ctx, w, now)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (p *Primary) lookAtLag(ctx context.Context, w *replica.LagWatch, now time.Time) {
	own, ok := p.publisher.Progress()
	if !ok {
		return
	}
	mine := replica.Progress{Applied: own.Applied, Published: own.Index, Bytes: own.Bytes, At: now}
	p.lag.own.Store(&mine)
	v := w.Look(now, mine, p.peers.progress())
	old := p.lag.verdict.Swap(&v)
	switch was, is := old.Throttle.Refuse, v.Throttle.Refuse; {
	case is != nil && was == nil:
		p.log.Error("no updates are taken", "reason", is)
	case is == nil && was != nil:
		p.log.Info("publishing has caught up, updates are taken", "lag", v.Quorum.Age)
	}
	switch was, is := old.Leave, v.Leave; {
	case is != nil && was == nil:
		p.log.Error("not ready", "reason", is)
	case is == nil && was != nil:
		p.log.Info("named has caught up", "lag", v.Own.Age)
	}
	if v.Throttle == (replica.Throttle{}) && old.Throttle == (replica.Throttle{}) {
		return
	}
	if err := p.replica.Throttle(ctx, v.Throttle); err != nil && ctx.Err() == nil {
		p.log.Debug("the replica could not be told how far publishing is behind; it has ended", "err", err)
	}
}

// publishing is the last look at this primary's own progress, for its peers.
func (l *lag) publishing() *adminapi.Publishing {
	p := l.own.Load()
	if p == nil {
		return nil
	}
	return &adminapi.Publishing{Applied: p.Applied, Published: p.Published, Bytes: p.Bytes}
}

// lagLimits are the configured ones; see Validate.
func (c Config) lagLimits() replica.LagLimits {
	return replica.LagLimits{Age: time.Duration(c.PublishLagLimit), Bytes: int(c.PublishQueueLimit)}
}

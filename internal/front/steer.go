package front

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
	"github.com/zonekeeper/zonekeeper/internal/front/relay"
)

// certificateEvery is how often the front's certificate is looked at.
const certificateEvery = 5 * time.Second

// told is what the parts were told last, so that they hear news only.
type told struct {
	primaries []backends.Primary
	upstreams []relay.Upstream
	local     string
	score     int
	once      bool // local and score have been told
}

// steer carries out what the model decides: it is the one place from which the relay, the checks, HAProxy and keepalived hear.
func (f *front) steer(ctx context.Context) error {
	damper := checks.NewDamper()
	var last told
	again := time.NewTimer(0)
	defer again.Stop()
	certificate := time.NewTicker(certificateEvery)
	defer certificate.Stop()
	for {
		if next := f.apply(damper, &last); next > 0 {
			again.Reset(next)
		}
		signal(f.news)
		select {
		case <-ctx.Done():
			return nil
		case <-f.changed:
		case <-again.C:
		case pong := <-f.pings:
			close(pong)
		case <-certificate.C:
			switch changed, err := f.identity.refresh(); {
			case err != nil:
				f.log.Warn("the certificate is not replaced", "err", err)
			case changed:
				f.log.Info("the certificate is replaced")
				f.configure(last.primaries)
			}
		}
	}
}

// apply tells the parts what is new. It returns after which time it has to be called again although nothing has happened.
func (f *front) apply(damper *checks.Damper, last *told) (again time.Duration) {
	at := time.Now()
	f.mu.Lock()
	score, again := damper.Next(at, f.m.rawScore(), f.m.vip == keepalived.Master)
	yields, left := f.m.yields(at, score)
	f.m.score = score
	now := told{
		primaries: f.m.primaries, upstreams: f.m.upstreams(uint16(f.cfg.Primaries.Ports.DNS)), //nolint:gosec // validated
		local: cmp.Or(f.m.local(), yields), score: score, once: true,
	}
	if left > 0 && (again == 0 || left < again) {
		again = left
	}
	targets := f.m.targets(uint16(f.cfg.Primaries.Ports.Admin)) //nolint:gosec // validated
	f.mu.Unlock()

	// The address first: everything else takes longer.
	if f.keepalived != nil {
		if err := f.tell(now, *last); err != nil {
			f.log.Error("keepalived could not be told", "local", now.local, "score", now.score, "err", err)
			now.once, again = false, tellAgain
		}
	}
	if !slices.Equal(now.upstreams, last.upstreams) {
		f.relay.Set(now.upstreams)
	}
	if !slices.Equal(now.primaries, last.primaries) {
		f.checker.Set(targets)
		f.configure(now.primaries)
	}
	*last = now
	return again
}

// tellAgain is the pause before keepalived is told what it could not be told.
const tellAgain = 200 * time.Millisecond

// tell tells keepalived what is new.
func (f *front) tell(now, last told) error {
	if now.local != last.local || !last.once {
		if err := f.keepalived.SetLocal(now.local); err != nil {
			return err
		}
		f.log.Debug("keepalived is told", "local", now.local)
	}
	if now.score != last.score || !last.once {
		if err := f.keepalived.SetScore(now.score); err != nil {
			return err
		}
		f.log.Info("keepalived is told", "score", now.score)
	}
	return nil
}

// configure gives HAProxy a configuration for these primaries; the newest counts.
func (f *front) configure(primaries []backends.Primary) {
	if len(primaries) == 0 {
		return
	}
	conf, err := haproxy.Render(haproxyConfig(f.cfg, f.set, f.identity.Identity, primaries))
	if err != nil {
		f.metrics.reloads.WithLabelValues("rejected").Inc()
		f.log.Error("HAProxy's configuration can't be written; the old one stays", "err", err)
		return
	}
	select {
	case <-f.configs: // an older one that nobody has read
	default:
	}
	f.configs <- conf
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// syncer brings zones from any state to serving: adds, loads, replays, verifies, modifies, deletes.
func (p *Publisher) syncer(ctx context.Context) {
	for {
		z, s, ok := p.next(&p.slow)
		if !ok {
			return
		}
		p.release(z, p.sync(ctx, s, z))
	}
}

// target is what a syncer works towards, taken at one moment.
type target struct {
	conf        *fsm.ZoneConfig
	incarnation uint64
	deleted     bool
	held        bool // named has this incarnation of the zone
	stale       bool // named has the name, but another zone or content that is not trusted
	modify      bool // only the settings differ
	limits      limits
	machine     *fsm.Machine
}

func (p *Publisher) target(s *named.Session, z *zoneState) target {
	p.mu.Lock()
	defer p.mu.Unlock()
	here := z.heldBy == s.Incarnation()
	t := target{
		conf: z.conf, incarnation: z.incarnation, deleted: z.deleted, limits: p.limits(z), machine: p.machine,
		held: here && z.heldIncarnation == z.incarnation && !z.reload,
	}
	t.stale = here && !t.held
	t.modify = t.held && z.serving
	return t
}

func (p *Publisher) sync(ctx context.Context, s *named.Session, z *zoneState) error {
	t := p.target(s, z)
	switch {
	case t.deleted:
		if err := s.DeleteZone(ctx, z.name()); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		z.heldBy, z.heldConf = 0, nil
		return nil
	case t.modify:
		return p.modify(ctx, s, z, t.conf)
	}
	st := s.NewStream()
	defer st.Close()
	v, err := p.bring(ctx, s, st, z, t)
	if err != nil {
		return err
	}
	return p.finish(ctx, s, z, t, v)
}

func (p *Publisher) modify(ctx context.Context, s *named.Session, z *zoneState, conf *fsm.ZoneConfig) error {
	if err := s.ModifyZone(ctx, zoneConf(conf)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if z.heldBy == s.Incarnation() {
		z.heldConf = conf
	}
	return nil
}

// errMoved: the state machine has another zone of this name by now; its event is on the way.
var errMoved = errors.New("the zone was replaced or deleted meanwhile")

// bring leads the zone in named to the state machine's content, verified, and returns the view that it now has.
func (p *Publisher) bring(ctx context.Context, s *named.Session, st *named.Stream, z *zoneState, t target) (view, error) {
	fresh := !t.held
	// The first round keeps what named has; the second loads the zone with its history; the third loads the newest content
	// alone, which leaves nothing to go wrong but named.
	var last error
	for round := range 3 {
		v, err := p.view(z, t)
		if err != nil {
			return view{}, err
		}
		var steps []fsm.Boundary
		if fresh || round > 0 {
			budget := replayBudget(p.numZones())
			if round == 2 {
				budget = 0
			}
			var content *zone.Zone
			content, steps = v.load(t.limits, budget)
			if err := p.load(ctx, s, z, t, content, t.stale || round > 0); err != nil {
				return view{}, err
			}
			if err := p.awaitLoad(ctx, s, st, content); err != nil {
				last = err
				continue
			}
		} else {
			soa, err := p.awaitAnswer(ctx, s, st, z.name(), v.content.Records())
			var ok bool
			if err == nil {
				if steps, ok = v.after(soa, t.limits); !ok {
					err = fmt.Errorf("named has serial %d, which no remembered step leads on from", zone.SOASerial(soa.Data))
				}
			}
			if err != nil {
				if ctx.Err() != nil || gone(s) {
					return view{}, err
				}
				last = err
				p.log.Info("loading the zone anew", "zone", z.id, "err", err)
				continue
			}
		}
		err = p.replay(ctx, s, st, z, steps)
		if err == nil {
			err = p.compare(ctx, st, v)
		}
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil || gone(s) {
			return view{}, err
		}
		last = err
		p.log.Error("named differs after it was synchronised; loading the zone anew", "zone", z.id, "err", err)
	}
	return view{}, fmt.Errorf("zone %s can't be brought into named: %w", z.id, last)
}

func gone(s *named.Session) bool {
	select {
	case <-s.Gone():
		return true
	default:
		return false
	}
}

func (p *Publisher) numZones() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.zones)
}

func (p *Publisher) view(z *zoneState, t target) (view, error) {
	v, ok := t.machine.Zone(z.id)
	if !ok || v.Config.Incarnation != t.incarnation {
		return view{}, errMoved
	}
	return newView(v), nil
}

// load puts content into named.
func (p *Publisher) load(ctx context.Context, s *named.Session, z *zoneState, t target, content *zone.Zone, replace bool) error {
	p.mu.Lock()
	z.heldBy, z.heldConf = s.Incarnation(), nil // from here on it may be there
	z.reload = true
	p.mu.Unlock()
	if replace {
		if err := s.DeleteZone(ctx, z.name()); err != nil {
			return err
		}
	}
	err := s.AddZone(ctx, zoneConf(t.conf), content)
	var refused *named.CommandError
	if errors.As(err, &refused) && refused.Exists() {
		// An earlier attempt whose answer was lost.
		if err = s.DeleteZone(ctx, z.name()); err == nil {
			err = s.AddZone(ctx, zoneConf(t.conf), content)
		}
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	z.heldIncarnation, z.heldConf, z.reload = t.incarnation, t.conf, false
	return nil
}

// awaitLoad waits until named serves content.
func (p *Publisher) awaitLoad(ctx context.Context, s *named.Session, st *named.Stream, content *zone.Zone) error {
	soa, err := p.awaitAnswer(ctx, s, st, content.Origin(), content.Records())
	if err != nil {
		return err
	}
	if want := content.SOA().RR(0); !soa.Equal(want) {
		return fmt.Errorf("named loaded serial %d, the file had %d", zone.SOASerial(soa.Data), content.Serial())
	}
	return nil
}

// awaitAnswer asks for the zone's SOA until named has loaded the zone.
func (p *Publisher) awaitAnswer(ctx context.Context, s *named.Session, st *named.Stream, origin zone.Name, records int) (zone.RR, error) {
	limit := p.cfg.LoadTimeout + perRecord(records)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := time.Millisecond
	for {
		soa, err := p.soa(ctx, st, origin)
		var refused *named.RCodeError
		if err == nil || !errors.As(err, &refused) {
			return soa, err
		}
		// SERVFAIL or REFUSED: still loading.
		select {
		case <-time.After(pause):
		case <-s.Gone():
			return zone.RR{}, named.ErrGone
		case <-ctx.Done():
			return zone.RR{}, fmt.Errorf("named did not load zone %s within %s: %w; its log says why", origin, limit, err)
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

func perRecord(n int) time.Duration { return time.Duration(n/50_000) * time.Second }

// replay leads the loaded zone through steps.
func (p *Publisher) replay(ctx context.Context, s *named.Session, st *named.Stream, z *zoneState, steps []fsm.Boundary) error {
	for i := range steps {
		err := p.send(ctx, st, z.name(), steps[i].Diff)
		if err == nil {
			continue
		}
		if gone(s) {
			p.mu.Lock()
			z.died(steps[i : i+1])
			p.mu.Unlock()
			return err
		}
		var refused *named.RCodeError
		if errors.As(err, &refused) {
			return fmt.Errorf("replay of serial %d to %d: %w", steps[i].From, steps[i].To, err)
		}
		// A lost answer: what named says now is what counts.
		soa, serr := p.soa(ctx, st, z.name())
		if serr != nil {
			return errors.Join(err, serr)
		}
		if v, _ := judge(soa, steps[i:i+1]); v != after {
			return fmt.Errorf("replay of serial %d to %d: %w", steps[i].From, steps[i].To, err)
		}
	}
	return nil
}

// finish declares the zone served, unless the world has moved on.
func (p *Publisher) finish(ctx context.Context, s *named.Session, z *zoneState, t target, v view) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != s || p.machine != t.machine || z.deleted || z.incarnation != t.incarnation {
		return nil // release schedules the zone again
	}
	z.drop(v.index)
	z.serving, z.doubt = true, false
	z.published, z.serial = v.index, v.content.Serial()
	p.log.Debug("zone is served", "zone", z.id, "serial", z.serial, "index", z.published, "records", v.content.Records())
	return ctx.Err()
}

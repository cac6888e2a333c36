package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// syncer brings zones from any state to serving: adds, loads, replays, verifies, modifies, deletes.
func (p *Publisher) syncer(ctx context.Context, n Named) {
	for {
		z, s, ok := p.next(&p.slow)
		if !ok {
			return
		}
		w := worker{Publisher: p, named: n, s: s, st: s.NewStream(), z: z}
		err := w.sync(ctx)
		w.st.Close()
		p.release(z, err)
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

func (w *worker) target() target {
	p, z := w.Publisher, w.z
	p.mu.Lock()
	defer p.mu.Unlock()
	here := z.heldBy == w.s.Incarnation()
	t := target{
		conf: z.conf, incarnation: z.incarnation, deleted: z.deleted, limits: p.limits(z), machine: p.machine,
		held: here && z.heldIncarnation == z.incarnation && !z.reload,
	}
	t.stale = here && !t.held
	t.modify = t.held && z.serving
	return t
}

func (w *worker) sync(ctx context.Context) error {
	t := w.target()
	var err error
	switch {
	case t.deleted:
		err = w.remove(ctx)
	case t.modify:
		err = w.modify(ctx, t.conf)
	default:
		var v view
		if v, err = w.bring(ctx, t); err == nil {
			w.finish(t, v)
		}
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		w.mu.Lock()
		hopeless := w.z.failures >= replaceAfter
		w.mu.Unlock()
		if hopeless {
			// A start makes a new directory, and says clearly when it can't.
			w.named.Restart(w.s.Incarnation(), "its directory can't be written: "+file.Error())
		}
	}
	return err
}

func (w *worker) remove(ctx context.Context) error {
	if err := w.s.DeleteZone(ctx, w.z.name()); err != nil {
		return err
	}
	w.note(func() { w.z.heldBy, w.z.heldConf = 0, nil })
	return nil
}

// note writes down what named has, unless another incarnation has taken over.
func (w *worker) note(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session != w.s {
		return false
	}
	f()
	return true
}

func (w *worker) modify(ctx context.Context, conf *fsm.ZoneConfig) error {
	if err := w.s.ModifyZone(ctx, zoneConf(conf)); err != nil {
		return err
	}
	w.note(func() { w.z.heldConf = conf })
	return nil
}

// errMoved: the state machine has another zone of this name by now; its event is on the way.
var errMoved = errors.New("the zone was replaced or deleted meanwhile")

// bring leads the zone in named to the state machine's content, verified, and returns the view that it now has.
//
// The first round keeps what named has, if it has the zone; the second loads the zone with its history; the third loads
// the newest content alone, which leaves nothing to go wrong but named.
func (w *worker) bring(ctx context.Context, t target) (view, error) {
	round := 0
	if !t.held {
		round = 1
	}
	for {
		v, err := w.view(t)
		if err != nil {
			return view{}, err
		}
		var steps []fsm.Boundary
		switch round {
		case 0:
			steps, err = w.adopt(ctx, v, t.limits)
		case 1:
			steps, err = w.load(ctx, t, v, replayBudget(w.numZones()), t.stale || t.held)
		default:
			steps, err = w.load(ctx, t, v, 0, true)
		}
		if err == nil {
			err = w.replay(ctx, steps)
		}
		if err == nil {
			err = w.compare(ctx, v)
		}
		var file *fs.PathError
		switch {
		case err == nil:
			return v, nil
		case ctx.Err() != nil || gone(w.s) || round == 2 || errors.As(err, &file):
			return view{}, fmt.Errorf("bring zone %s into named: %w", w.z.id, err)
		}
		round++
		w.log.Warn("loading the zone anew into named", "zone", w.z.id, "err", err)
	}
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

func (w *worker) view(t target) (view, error) {
	v, ok := t.machine.Zone(w.z.id)
	if !ok || v.Config.Incarnation != t.incarnation {
		return view{}, errMoved
	}
	return newView(v), nil
}

// adopt finds out which state named has, and the steps from there.
func (w *worker) adopt(ctx context.Context, v view, l limits) ([]fsm.Boundary, error) {
	soa, err := w.awaitAnswer(ctx, v.content.Records())
	if err != nil {
		return nil, err
	}
	steps, ok := v.after(soa, l)
	if !ok {
		return nil, fmt.Errorf("named has serial %d, which no remembered step leads on from", zone.SOASerial(soa.Data))
	}
	return steps, nil
}

// load puts the content of at most maxSteps steps ago into named and returns those steps.
func (w *worker) load(ctx context.Context, t target, v view, maxSteps int, replace bool) ([]fsm.Boundary, error) {
	z := w.z
	content, steps := v.load(t.limits, maxSteps)
	// From here on it may be there.
	if !w.note(func() { z.heldBy, z.heldConf, z.reload = w.s.Incarnation(), nil, true }) {
		return nil, named.ErrGone
	}
	if replace {
		if err := w.s.DeleteZone(ctx, z.name()); err != nil {
			return nil, err
		}
	}
	err := w.s.AddZone(ctx, zoneConf(t.conf), content)
	var refused *named.CommandError
	if errors.As(err, &refused) && refused.Exists() {
		// An earlier attempt whose answer was lost.
		if err = w.s.DeleteZone(ctx, z.name()); err == nil {
			err = w.s.AddZone(ctx, zoneConf(t.conf), content)
		}
	}
	if err != nil {
		return nil, err
	}
	w.note(func() { z.heldIncarnation, z.heldConf, z.reload = t.incarnation, t.conf, false })
	soa, err := w.awaitAnswer(ctx, content.Records())
	if err == nil && !soa.Equal(content.SOA().RR(0)) {
		err = fmt.Errorf("named loaded serial %d, the file had %d", zone.SOASerial(soa.Data), content.Serial())
	}
	return steps, err
}

// awaitAnswer asks for the zone's SOA until named has loaded the zone.
func (w *worker) awaitAnswer(ctx context.Context, records int) (zone.RR, error) {
	limit := w.cfg.LoadTimeout + perRecord(records)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := time.Millisecond
	for {
		soa, err := w.soa(ctx)
		var refused *named.RCodeError
		if err == nil || !errors.As(err, &refused) {
			return soa, err
		}
		// SERVFAIL or REFUSED: still loading.
		select {
		case <-time.After(pause):
		case <-w.s.Gone():
			return zone.RR{}, named.ErrGone
		case <-ctx.Done():
			return zone.RR{}, fmt.Errorf("named did not load the zone within %s: %w; its log says why", limit, err)
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

func perRecord(n int) time.Duration { return time.Duration(n/50_000) * time.Second }

// replay leads the loaded zone through steps.
func (w *worker) replay(ctx context.Context, steps []fsm.Boundary) error {
	for i := range steps {
		err := w.send(ctx, steps[i:i+1:i+1], steps[i].Diff)
		var refused *named.RCodeError
		switch {
		case err == nil:
			continue
		case errors.As(err, &refused) || gone(w.s):
			return fmt.Errorf("replay of serial %d to %d: %w", steps[i].From, steps[i].To, err)
		}
		// A lost answer: what named says now is what counts.
		soa, serr := w.soa(ctx)
		if serr != nil {
			return fmt.Errorf("replay of serial %d to %d: %w; then: %w", steps[i].From, steps[i].To, err, serr)
		}
		w.landed()
		if v, _ := judge(soa, steps[i:i+1]); v != after {
			return fmt.Errorf("replay of serial %d to %d: %w", steps[i].From, steps[i].To, err)
		}
	}
	return nil
}

// finish declares the zone served, unless the world has moved on; then release schedules the zone again.
func (w *worker) finish(t target, v view) {
	p, z := w.Publisher, w.z
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != w.s || p.machine != t.machine || z.deleted || z.incarnation != t.incarnation {
		return
	}
	if z.overrun {
		z.overrun = false
		return // release has it synchronised again
	}
	z.drop(v.index)
	z.missing, z.excused = waiting{}, false
	z.serving, z.doubt = true, false
	z.published, z.serial = v.index, v.content.Serial()
	p.cfg.Observer.Served(z.id, z.serial)
	p.log.Debug("zone is served", "zone", z.id, "serial", z.serial, "index", z.published, "records", v.content.Records())
}

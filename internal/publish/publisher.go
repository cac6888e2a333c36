package publish

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Named is the process that is driven; *named.Server is one.
type Named interface {
	// Session is the conversation with the running incarnation, false while there is none.
	Session() (*named.Session, bool)
	// Watch returns the state and a channel that is closed when it changes.
	Watch() (named.State, <-chan struct{})
	// Restart kills an incarnation, so that a fresh one takes its place.
	Restart(incarnation uint64, reason string)
}

// Publisher drives one named. It implements replica.Sink. Its exported methods are safe for concurrent use.
type Publisher struct {
	cfg     Config
	log     *slog.Logger
	metrics metrics
	started chan struct{}   // closed by Start
	sending func(zone.Diff) // set by tests before Run: what is about to be sent

	mu      sync.Mutex // guards what follows; held for microseconds, never while waiting
	work    *sync.Cond // a run queue got work, or the publisher stops
	stopped bool
	machine *fsm.Machine
	applied uint64 // log index up to which effects were taken
	awaited bool   // a reader waits for applied to grow
	zones   map[fsm.ZoneID]*zoneState
	leaving map[fsm.ZoneID]*zoneState // of zones: deleted, and named may still have them
	keys    keyState
	session *named.Session // of the running incarnation, nil while there is none
	fast    []*zoneState   // to be pushed
	slow    []*zoneState   // to be synchronised
	changed chan struct{}  // closed when session or keys change; nil while nobody waits
}

// New checks the configuration. registerer may be nil.
func New(cfg Config, registerer prometheus.Registerer) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Publisher{cfg: cfg, log: cfg.Logger, started: make(chan struct{}),
		zones: map[fsm.ZoneID]*zoneState{}, leaving: map[fsm.ZoneID]*zoneState{}}
	p.work = sync.NewCond(&p.mu)
	p.metrics = newMetrics(registerer, p)
	return p, nil
}

// Start permits publishing of a state machine's state. The caller has passed a read barrier since this process started:
// an older state machine would roll named back (C5). Calling it again does nothing.
func (p *Publisher) Start(m *fsm.Machine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine != nil {
		return
	}
	p.resetLocked(m)
	close(p.started)
}

// Applied implements replica.Sink. It does not wait.
func (p *Publisher) Applied(effects []fsm.Effects) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine == nil {
		return // Start looks at the state machine itself
	}
	now := time.Now()
	for i := range effects {
		e := &effects[i]
		// Zones first: a step of an entry belongs to the incarnation that the same entry made.
		for _, ev := range e.Zones {
			p.reconcile(ev.Zone, e.Index)
		}
		if e.Settings {
			p.keysChanged(e.Index)
		}
		p.keysExpire(e.TimeMS, e.Index)
		for _, id := range e.Pending {
			if z := p.zones[id]; z != nil && z.pendingSince == 0 {
				z.pendingSince = e.Index
			}
		}
		for _, b := range e.Boundaries {
			p.boundary(b, now)
		}
		p.applied = e.Index
	}
	if p.awaited {
		p.awaited = false
		p.wakeLocked()
	}
}

// boundary takes one step.
func (p *Publisher) boundary(b fsm.Boundary, now time.Time) {
	z := p.zones[b.Zone]
	if z == nil || z.incarnation != b.Incarnation {
		return
	}
	since := b.Index
	if z.pendingSince != 0 {
		since, z.pendingSince = z.pendingSince, 0
	}
	if b.Diff.Empty() {
		z.notify()
		return
	}
	if z.trail != nil && b.Index > z.trail.after {
		z.trail.steps = append(z.trail.steps, b)
	}
	switch {
	case !z.serving && !z.busy:
		// Whoever synchronises the zone looks at the state machine, which has this step.
		z.lacks(since, now)
		z.notify()
		return
	case b.Index <= z.published:
		return // the zone was synchronised with a state machine that had it
	}
	z.enqueue(b, since, now)
	z.notify()
	switch {
	case z.queueBytes <= p.cfg.MaxQueue:
	case z.busy && !z.serving:
		// It takes longer to load than memory lasts: the state machine has what comes after, see finish.
		z.overrun = true
		z.clearQueue()
	case z.serving:
		p.log.Warn("named is too far behind; synchronising the zone as a whole", "zone", z.id, "steps", len(z.queue), "octets", z.queueBytes)
		z.stopServing()
		z.clearQueue()
	}
	p.schedule(z)
}

// Reset implements replica.Sink: the state machine was replaced by a newer one.
func (p *Publisher) Reset(m *fsm.Machine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine == nil {
		return
	}
	p.resetLocked(m)
}

func (p *Publisher) resetLocked(m *fsm.Machine) {
	p.machine, p.applied = m, m.Index()
	settings := m.Settings()
	for _, z := range p.zones {
		z.stopServing()
		z.clearQueue()
		p.reconcile(z.id, settings.Index)
	}
	settings.Zones(func(c *fsm.ZoneConfig) bool {
		p.reconcile(c.ID, settings.Index)
		return true
	})
	p.keysChanged(settings.Index)
}

// reconcile compares a zone with the settings, whatever event made somebody look.
func (p *Publisher) reconcile(id fsm.ZoneID, index uint64) {
	conf := p.machine.Settings().Zone(id)
	z := p.zones[id]
	switch {
	case conf == nil && z == nil:
		return
	case conf == nil:
		z.stopServing()
		z.clearQueue()
		z.deleted = true
		p.leaving[id] = z
		if p.forgotten(z) {
			return
		}
	case z == nil:
		z = &zoneState{id: id, incarnation: conf.Incarnation, conf: conf, confIndex: index, excused: true, observer: p.cfg.Observer}
		p.zones[id] = z
		p.notePending(z)
	case z.deleted || z.incarnation != conf.Incarnation:
		z.stopServing()
		z.clearQueue()
		delete(p.leaving, id)
		z.deleted, z.incarnation, z.conf, z.confIndex, z.deaths, z.trail = false, conf.Incarnation, conf, index, nil, nil
		z.published, z.missing, z.excused = 0, waiting{}, true
		p.notePending(z)
	default:
		if z.conf != conf {
			z.conf, z.confIndex = conf, index
		}
		if !z.serving {
			p.notePending(z)
		}
	}
	z.notify()
	p.schedule(z)
}

// notePending finds out whether the zone has changes without a boundary, which only later effects would tell.
func (p *Publisher) notePending(z *zoneState) {
	z.pendingSince = 0
	if v, ok := p.machine.Zone(z.id); ok && v.Zone.Serial() != v.PublishedSerial {
		z.pendingSince = 1
	}
}

// forgotten drops a zone that neither the state machine nor named has, and reports whether it did. Without a session
// nobody knows what named has: it may be starting with the zone.
func (p *Publisher) forgotten(z *zoneState) bool {
	if !z.deleted || z.heldBy != 0 || z.busy || p.session == nil {
		return false
	}
	z.notify()
	if p.zones[z.id] == z {
		delete(p.zones, z.id)
		delete(p.leaving, z.id)
		p.wakeLocked()
	}
	return true
}

// Content is the named.Content of this publisher's named: an incarnation starts with every zone, at the oldest boundary
// that the state machine remembers. It waits for Start.
func (p *Publisher) Content(ctx context.Context, incarnation uint64) (named.Initial, error) {
	select {
	case <-p.started:
	case <-ctx.Done():
		return named.Initial{}, ctx.Err()
	}
	p.mu.Lock()
	zones := make([]*zoneState, 0, len(p.zones))
	for _, z := range p.zones {
		zones = append(zones, z)
	}
	p.mu.Unlock()
	keys, err := p.takeKeys(incarnation)
	if err != nil {
		return named.Initial{}, err
	}
	return named.Initial{Keys: keys, Zones: p.initialZones(incarnation, zones)}, nil
}

func (p *Publisher) initialZones(incarnation uint64, zones []*zoneState) iter.Seq2[named.ZoneConf, *zone.Zone] {
	return func(yield func(named.ZoneConf, *zone.Zone) bool) {
		for _, z := range zones {
			p.mu.Lock()
			machine, conf, want, deleted, l := p.machine, z.conf, z.incarnation, z.deleted, p.limits(z)
			p.mu.Unlock()
			v, ok := machine.Zone(z.id)
			if deleted || !ok || v.Config.Incarnation != want {
				continue // its event is on the way; a syncer adds the zone
			}
			content, _ := newView(v).load(l, replayBudget(len(zones)))
			if !yield(zoneConf(conf), content) {
				return
			}
			p.mu.Lock()
			z.heldBy, z.heldIncarnation, z.heldConf, z.reload = incarnation, want, conf, false
			p.mu.Unlock()
		}
	}
}

func (p *Publisher) limits(z *zoneState) limits {
	deaths := make(map[uint32]int, len(z.deaths))
	for k, v := range z.deaths {
		deaths[k] = v
	}
	return limits{maxUpdate: p.cfg.MaxUpdate, maxDeaths: p.cfg.Deaths, deaths: deaths}
}

// schedule puts the zone into the run queue that its next work belongs to.
func (p *Publisher) schedule(z *zoneState) {
	if z.busy || z.queued || p.session == nil || p.stopped {
		return
	}
	slow := z.deleted || !z.serving || z.heldConf != z.conf
	if !slow && len(z.queue) == 0 {
		return
	}
	if pause := time.Until(z.notYet); pause > 0 {
		z.queued = true // by the timer
		time.AfterFunc(pause, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			z.queued = false
			p.schedule(z)
		})
		return
	}
	z.queued = true
	if slow {
		p.slow = append(p.slow, z)
	} else {
		p.fast = append(p.fast, z)
	}
	p.work.Broadcast()
}

// next waits for work in a run queue. False: the publisher stops.
func (p *Publisher) next(queue *[]*zoneState) (*zoneState, *named.Session, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(*queue) > 0 {
			z := (*queue)[0]
			(*queue)[0] = nil
			*queue = (*queue)[1:]
			z.queued = false
			if p.session != nil && !z.busy {
				z.busy = true
				return z, p.session, true
			}
		}
		if p.stopped {
			return nil, nil, false
		}
		p.work.Wait()
	}
}

// release ends a worker's hold of a zone. A failure postpones the next attempt.
func (p *Publisher) release(z *zoneState, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	z.busy = false
	if !z.serving {
		// The next synchronisation looks at the state machine, which has these steps.
		z.clearQueue()
	}
	switch {
	case err == nil && z.serving:
		z.failures, z.lastErr, z.notYet = 0, nil, time.Time{}
	case err == nil: // gated for replacement; lastErr says why
	case errors.Is(err, errMoved), p.stopped || errors.Is(err, context.Canceled):
		z.notYet = time.Now().Add(p.cfg.RetryMin)
	default:
		z.lastErr = err
		pause := p.cfg.RetryMax
		if z.failures < 16 {
			pause = min(pause, p.cfg.RetryMin<<z.failures)
		}
		z.failures++
		z.notYet = time.Now().Add(pause)
		p.metrics.failures.Inc()
		p.log.Warn("publishing failed; trying again", "zone", z.id, "err", err, "pause", pause, "failures", z.failures)
	}
	if p.forgotten(z) {
		return
	}
	z.notify()
	p.schedule(z)
}

// zoneConf is what named is told of a zone's settings.
func zoneConf(c *fsm.ZoneConfig) named.ZoneConf {
	conf := named.ZoneConf{Name: c.ID.Name}
	if c.AllowQuery != nil {
		conf.AllowQuery = c.AllowQuery.String()
	}
	if c.AllowTransfer != nil {
		conf.AllowTransfer = c.AllowTransfer.String()
	}
	return conf
}

package primary

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/notify"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// hub passes on what the local named serves: to the streams of our own secondaries, to the tracker of their reports, and, as
// NOTIFY, to all other servers that are to be told. It implements publish.Observer.
//
// Secondaries serve the members of the catalog, so streams and tracker see these zones and the catalog, and no other.
type hub struct {
	log      *slog.Logger
	machine  func() *fsm.Machine // the replica's; called from run on
	now      func() time.Time
	tracker  *propagation.Tracker
	notifier announcer
	caughtUp func(context.Context) error // waits until the machine has all that the quorum had

	// What came from the publisher and was not looked at yet. It has a lock of its own, because it is taken with the
	// publisher's held.
	in       sync.Mutex
	incoming map[fsm.ZoneID]served
	wake     chan struct{}

	mu     sync.Mutex
	served map[fsm.ZoneID]uint32 // by named
	shown  map[zone.Name]uint32  // of these, what secondaries are to serve
	// As of one generation of the settings: who is told of every change.
	generation uint64
	targets    []notify.Target
	// told has who was told of a zone last; reconciled is the generation with which all zones were compared.
	told       map[fsm.ZoneID][]notify.Target
	reconciled uint64
	streams    map[string]*stream
	reports    map[string]report
}

// announcer sends NOTIFY; *notify.Sender is one.
type announcer interface {
	Announce(z zone.Name, soa zone.RR, to []notify.Target)
	Withdraw(z zone.Name, from []notify.Target)
	Forget(z zone.Name)
}

// served is what named serves of a zone.
type served struct {
	serial uint32
	gone   bool
}

// report is what a secondary said last of itself.
type report struct {
	at     time.Time
	status adminapi.SecondaryStatus
}

func newHub(machine func() *fsm.Machine, tracker *propagation.Tracker, notifier announcer, log *slog.Logger) *hub {
	return &hub{
		log: log, machine: machine, now: time.Now, tracker: tracker, notifier: notifier,
		incoming: map[fsm.ZoneID]served{}, wake: make(chan struct{}, 1),
		served: map[fsm.ZoneID]uint32{}, shown: map[zone.Name]uint32{}, told: map[fsm.ZoneID][]notify.Target{},
		streams: map[string]*stream{}, reports: map[string]report{},
	}
}

// Served implements publish.Observer.
func (h *hub) Served(id fsm.ZoneID, serial uint32) { h.observe(id, served{serial: serial}) }

// Gone implements publish.Observer.
func (h *hub) Gone(id fsm.ZoneID) { h.observe(id, served{gone: true}) }

func (h *hub) observe(id fsm.ZoneID, s served) {
	h.in.Lock()
	h.incoming[id] = s
	h.in.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// leaderEvery is how often the notifier is told whether this primary leads.
const leaderEvery = 500 * time.Millisecond

// startHub runs the hub and the notifier until ctx ends.
func (p *Primary) startHub(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error {
		p.hub.run(ctx)
		return nil
	})
	g.Go(func() error { return p.notifier.Run(ctx) })
	g.Go(func() error {
		p.tellLeader(ctx)
		return nil
	})
}

// tellLeader tells the notifier whether this primary leads the log. With an external etcd nobody among the primaries does; there
// the one whose name comes first of those that are heard speaks.
func (p *Primary) tellLeader(ctx context.Context) {
	t := time.NewTicker(leaderEvery)
	defer t.Stop()
	for {
		p.notifier.Lead(p.leads(ctx))
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Primary) leads(ctx context.Context) bool {
	if p.notReady() != nil {
		return false // another one will be asked for what this one announces
	}
	if p.member == nil {
		return p.peers.first(p.cfg.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, leaderEvery)
	defer cancel()
	st, err := p.elog.Status(ctx)
	return err == nil && st.IsLeader
}

// reconcileEvery is how soon a change of settings, which no step of a zone goes with, is noticed.
const reconcileEvery = 200 * time.Millisecond

// run passes changes on until ctx ends.
func (h *hub) run(ctx context.Context) {
	t := time.NewTicker(reconcileEvery)
	defer t.Stop()
	for {
		select {
		case <-h.wake:
			h.passOn()
		case <-t.C:
			h.reconcile()
			h.dropSilent()
		case <-ctx.Done():
			return
		}
	}
}

// passOn takes what came from the publisher.
func (h *hub) passOn() {
	h.in.Lock()
	changes := h.incoming
	h.incoming = make(map[fsm.ZoneID]served, len(changes))
	h.in.Unlock()
	m := h.machine()
	settings := m.Settings()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.learn(settings)
	for id, s := range changes {
		if s.gone {
			delete(h.served, id)
		} else {
			h.served[id] = s.serial
		}
		conf := settings.Zone(id)
		h.show(id, conf)
		switch {
		case conf == nil:
			delete(h.told, id)
			h.notifier.Forget(id.Name)
		case !s.gone:
			to, _ := h.retarget(conf)
			h.announce(m, conf, s.serial, to)
		}
	}
}

// learn notes who is registered, when the settings have changed.
func (h *hub) learn(s *fsm.Settings) {
	if s.Generation == h.generation {
		return
	}
	h.generation, h.targets = s.Generation, nil
	var ours []string
	s.Secondaries(func(x *fsm.Secondary) bool {
		for _, addr := range x.Notify {
			h.targets = append(h.targets, notify.Target{Addr: addr, Key: x.Key})
		}
		if !x.Foreign {
			ours = append(ours, x.Name)
		}
		return true
	})
	h.tracker.Register(ours)
	for name := range h.reports {
		if !slices.Contains(ours, name) {
			delete(h.reports, name)
		}
	}
}

// show makes known what secondaries are to serve of a zone.
func (h *hub) show(id fsm.ZoneID, conf *fsm.ZoneConfig) {
	serial, ok := h.served[id]
	ok = ok && conf != nil && (conf.IsMember() || conf.IsCatalog())
	old, shown := h.shown[id.Name]
	switch {
	case ok && (!shown || old != serial):
		h.shown[id.Name] = serial
		h.tracker.Published(id.Name, serial)
	case !ok && shown:
		delete(h.shown, id.Name)
		h.tracker.Gone(id.Name)
	default:
		return
	}
	for _, s := range h.streams {
		s.add(id.Name, served{serial: serial, gone: !ok})
	}
}

// targetsOf are the servers that are told of a zone's changes: the registered secondaries', unless the zone is hidden, and its
// own also-notify.
func (h *hub) targetsOf(conf *fsm.ZoneConfig) []notify.Target {
	own := alsoNotify(conf)
	if !conf.IsMember() && !conf.IsCatalog() {
		return own
	}
	if len(own) == 0 {
		return h.targets
	}
	return append(slices.Clip(h.targets), own...)
}

// alsoNotify parses a zone's own targets, which the state machine has checked.
func alsoNotify(conf *fsm.ZoneConfig) []notify.Target {
	var out []notify.Target
	for _, text := range conf.Settings.AlsoNotify {
		if addr, key, err := fsm.ParseNotifyTarget(text); err == nil {
			out = append(out, notify.Target{Addr: addr, Key: key})
		}
	}
	return out
}

// retarget notes who is told of a zone from now on, and who of them is new. Who is told no more hears nothing of what was still
// to be said.
func (h *hub) retarget(conf *fsm.ZoneConfig) (to, fresh []notify.Target) {
	old := h.told[conf.ID]
	to = h.targetsOf(conf)
	h.told[conf.ID] = to
	if gone := without(old, to); len(gone) > 0 {
		h.notifier.Withdraw(conf.ID.Name, gone)
	}
	return to, without(to, old)
}

// without gives what is in one list and not in the other.
func without(list, other []notify.Target) []notify.Target {
	var out []notify.Target
	for _, t := range list {
		if !slices.Contains(other, t) {
			out = append(out, t)
		}
	}
	return out
}

func (h *hub) announce(m *fsm.Machine, conf *fsm.ZoneConfig, serial uint32, to []notify.Target) {
	if len(to) == 0 {
		return
	}
	v, ok := m.Zone(conf.ID)
	if !ok || v.Zone.SOA() == nil {
		return // deleted meanwhile
	}
	soa := v.Zone.SOA().RR(0)
	soa.Data = zone.WithSOASerial(soa.Data, serial) // named may not have the newest one yet
	h.notifier.Announce(conf.ID.Name, soa, to)
}

// reconcile compares all zones with the settings when these have changed: a zone may be hidden or shown now, and a server that
// is new among those to be told learns of the zone's serial at once, and one that is among them no more of nothing else.
func (h *hub) reconcile() {
	m := h.machine()
	settings := m.Settings()
	h.mu.Lock()
	defer h.mu.Unlock()
	if settings.Generation == h.reconciled {
		return
	}
	h.reconciled = settings.Generation
	h.learn(settings)
	for id, serial := range h.served {
		conf := settings.Zone(id)
		h.show(id, conf)
		if conf == nil {
			continue // the publisher says so as well
		}
		_, fresh := h.retarget(conf)
		h.announce(m, conf, serial, fresh)
	}
}

// reportSilence is how long a secondary may report nothing: it does so every second.
const reportSilence = 5 * time.Second

// dropSilent no longer counts the secondaries whose stream is open but who report nothing: they hang.
func (h *hub) dropSilent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.streams {
		if last, ok := h.reports[name]; ok && h.now().Sub(last.at) > reportSilence {
			h.tracker.Lost(name)
		}
	}
}

// maxBehind is how many zones of a secondary a status lists.
const maxBehind = 10

// describe adds what is known of registered secondaries.
func (h *hub) describe(list []adminapi.Secondary) []adminapi.Secondary {
	for i := range list {
		s := &list[i]
		if s.Foreign {
			continue
		}
		h.mu.Lock()
		last, seen := h.reports[s.Name]
		h.mu.Unlock()
		if seen {
			s.LastSeen, s.Status = last.at, &last.status
		}
		s.Connected = h.tracker.Connected(s.Name)
		for _, z := range h.tracker.Behind(s.Name, maxBehind) {
			s.Behind = append(s.Behind, describeStanding(z))
		}
	}
	return list
}

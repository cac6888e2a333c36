package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
)

// ErrNotServing is wrapped by every error that says why named must not be asked about a zone.
var ErrNotServing = errors.New("named does not serve the zone")

// Ticket says which served state a reader was admitted to. Check it with Valid after named's answer has arrived and before
// it is passed on.
type Ticket struct {
	id          fsm.ZoneID
	incarnation uint64 // of named
	epoch       uint64
}

// WaitPublished waits until named serves every change of the zone up to a log index, with the settings and keys of that
// index. The caller has applied that index here (a read barrier). The error tells what was missing when ctx ended; it
// wraps ErrNotServing.
func (p *Publisher) WaitPublished(ctx context.Context, id fsm.ZoneID, index uint64) (Ticket, error) {
	cut := false
	for {
		p.mu.Lock()
		t, err := p.admit(id, index)
		if err == nil {
			p.mu.Unlock()
			return t, nil
		}
		z := p.zones[id]
		all := p.waitLocked()
		var changed <-chan struct{}
		wantCut := false
		if z != nil {
			changed = z.wait()
			wantCut = z.pendingSince != 0 && z.pendingSince <= index && !cut
		}
		absent := z == nil && p.machine != nil
		p.mu.Unlock()
		if absent {
			return Ticket{}, err
		}
		if wantCut && p.cfg.Cutter != nil {
			cut = true // once: the proposal is in the log's hands
			if cerr := p.cfg.Cutter(ctx, id); cerr != nil {
				return Ticket{}, fmt.Errorf("%w: zone %s has changes that are not published: %w", ErrNotServing, id, cerr)
			}
		}
		select {
		case <-changed:
		case <-all:
		case <-ctx.Done():
			return Ticket{}, fmt.Errorf("%w (waited: %w)", err, ctx.Err())
		}
	}
}

// admit gives a ticket when named serves everything up to a log index.
func (p *Publisher) admit(id fsm.ZoneID, index uint64) (Ticket, error) {
	t, err := p.serving(id)
	if err != nil {
		return Ticket{}, err
	}
	z := p.zones[id]
	for _, below := range p.leaving {
		// named would answer from it what belongs to this zone now.
		if below.id.View == id.View && below.id.Name.IsSubdomainOf(id.Name) {
			return Ticket{}, fmt.Errorf("%w %s: it still has the deleted zone %s below it", ErrNotServing, id, below.id)
		}
	}
	switch {
	case p.applied < index:
		// The reader passed its barrier before the state machine was replaced by one that is behind it.
		p.awaited = true
		return Ticket{}, fmt.Errorf("%w %s up to log index %d yet: the state was reloaded and is at %d", ErrNotServing, id, index, p.applied)
	case p.keys.since != 0 && p.keys.since <= index:
		return Ticket{}, fmt.Errorf("%w %s: it does not have the keys of log index %d yet", ErrNotServing, id, p.keys.since)
	case !z.covers(index):
		return Ticket{}, fmt.Errorf("%w %s up to log index %d yet: %d steps wait, it has serial %d", ErrNotServing, id, index, len(z.queue), z.serial)
	}
	return t, nil
}

// Ticket admits a reader who takes named's state as it is, without a barrier.
func (p *Publisher) Ticket(id fsm.ZoneID) (Ticket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving(id)
}

// Serving says why named must not be asked about a zone; nil when it may.
func (p *Publisher) Serving(id fsm.ZoneID) error {
	_, err := p.Ticket(id)
	return err
}

func (p *Publisher) serving(id fsm.ZoneID) (Ticket, error) {
	z := p.zones[id]
	switch {
	case p.machine == nil:
		return Ticket{}, fmt.Errorf("%w %s: nothing is published before the first barrier", ErrNotServing, id)
	case z == nil:
		return Ticket{}, fmt.Errorf("%w %s: there is no such zone", ErrNotServing, id)
	case p.session == nil:
		return Ticket{}, fmt.Errorf("%w %s: named is not running", ErrNotServing, id)
	case !z.serving && z.lastErr != nil:
		return Ticket{}, fmt.Errorf("%w %s: %w", ErrNotServing, id, z.lastErr)
	case !z.serving:
		return Ticket{}, fmt.Errorf("%w %s: it is being loaded", ErrNotServing, id)
	}
	return Ticket{id: id, incarnation: p.session.Incarnation(), epoch: z.epoch}, nil
}

// Valid reports whether what was served when the ticket was given is served without a break until now.
func (p *Publisher) Valid(t Ticket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, err := p.serving(t.id)
	return err == nil && now == t
}

// WaitSettings waits until named has all keys and zone settings up to a log index. A revocation is acknowledged after
// this (C6).
func (p *Publisher) WaitSettings(ctx context.Context, index uint64) error {
	for {
		p.mu.Lock()
		ok := p.machine != nil && p.session != nil && (p.keys.since == 0 || p.keys.since > index)
		err := p.keys.lastErr
		var changed <-chan struct{}
		if ok {
			for _, z := range p.zones {
				if z.confIndex <= index && (z.deleted && z.heldBy != 0 || !z.deleted && z.serving && z.heldConf != z.conf) {
					ok, err, changed = false, z.lastErr, z.wait()
					break
				}
			}
		}
		all := p.waitLocked()
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-all:
		case <-ctx.Done():
			return fmt.Errorf("named does not have the settings of log index %d: %w", index, errors.Join(ctx.Err(), err))
		}
	}
}

// ZoneStatus is one zone as named has it.
type ZoneStatus struct {
	Zone      fsm.ZoneID
	State     string // "serving", "loading", "repairing", "waiting" (for named)
	Serial    uint32 // that named has
	Index     uint64 // log index of the last step that named has
	Queued    int    // steps that named has not got
	Lag       time.Duration
	LastError string
}

// Status returns one zone's status; false when there is no such zone.
func (p *Publisher) Status(id fsm.ZoneID) (ZoneStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	z := p.zones[id]
	if z == nil {
		return ZoneStatus{}, false
	}
	return p.status(z), true
}

func (p *Publisher) status(z *zoneState) ZoneStatus {
	s := ZoneStatus{Zone: z.id, Serial: z.serial, Index: z.published, Queued: len(z.queue), State: "loading"}
	switch {
	case z.serving:
		s.State = "serving"
	case p.session == nil:
		s.State = "waiting"
	case z.lastErr != nil:
		s.State = "repairing"
	}
	if z.lastErr != nil {
		s.LastError = z.lastErr.Error()
	}
	if len(z.waiting) > 0 {
		s.Lag = time.Since(z.waiting[0].arrived)
	}
	return s
}

// Lag is how far named is behind.
type Lag struct {
	Age        time.Duration // of the oldest step that named has not got
	Steps      int           // that named has not got
	Bytes      int           // octets of those
	NotServing int           // zones that named does not serve
}

// Lag looks at all zones.
func (p *Publisher) Lag() Lag {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l Lag
	now := time.Now()
	for _, z := range p.zones {
		if !z.serving && !z.deleted {
			l.NotServing++
		}
		l.Steps += len(z.queue)
		l.Bytes += z.queueBytes
		if w, ok := z.oldest(); ok {
			l.Age = max(l.Age, now.Sub(w.arrived))
		}
	}
	return l
}

// Session returns the conversation with the incarnation of named that is driven now; false while there is none. It is for
// reading, such as a transfer for a verification on demand.
func (p *Publisher) Session() (*named.Session, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session, p.session != nil
}

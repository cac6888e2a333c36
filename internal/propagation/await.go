package propagation

import (
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// waits are the updates that wait for secondaries.
type waits struct {
	byZone map[zone.Name][]*wait
	byKey  map[zone.Name]int
	n      int
}

// wait is one of them.
type wait struct {
	zone   zone.Name
	serial uint32
	key    zone.Name
	k      int
	by     []string // secondaries that serve it
	stop   func() bool
	done   func(served int)
}

func newWaits() waits {
	return waits{byZone: map[zone.Name][]*wait{}, byKey: map[zone.Name]int{}}
}

// remove ends a wait, and reports whether it had not ended before.
func (w *waits) remove(x *wait) bool {
	list := w.byZone[x.zone]
	i := slices.Index(list, x)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(w.byZone, x.zone)
	} else {
		w.byZone[x.zone] = list
	}
	if w.byKey[x.key]--; w.byKey[x.key] == 0 {
		delete(w.byKey, x.key)
	}
	w.n--
	return true
}

// served counts a secondary for the waits that its new serial satisfies, and appends those that have enough: they have ended,
// and done is to be called without the lock.
func (w *waits) served(s Serial, by string, enough []*wait) []*wait {
	for _, x := range slices.Clone(w.byZone[s.Zone]) {
		if !zone.SerialGE(s.Serial, x.serial) || slices.Contains(x.by, by) {
			continue
		}
		x.by = append(x.by, by)
		if len(x.by) >= x.k && w.remove(x) {
			x.stop()
			enough = append(enough, x)
		}
	}
	return enough
}

// Await calls done once: when k connected secondaries serve the zone with the serial or a later one, or after limit, with the
// number that do. At once, and maybe before it returns, when they do already, or when too many wait: see Config. key is whose
// update it is, "" for an unsigned one. done must not block.
func (t *Tracker) Await(z zone.Name, serial uint32, key zone.Name, k int, limit time.Duration, done func(served int)) {
	t.mu.Lock()
	x := &wait{zone: z, serial: serial, key: key, k: k, by: t.servingLocked(z, serial), done: done}
	now := len(x.by)
	switch {
	case now >= k:
		t.mu.Unlock()
		t.metrics.served.Inc()
		done(now)
		return
	case t.waits.n >= t.cfg.MaxWaiting || t.waits.byKey[key] >= t.cfg.MaxWaitingPerKey || limit <= 0:
		t.mu.Unlock()
		t.metrics.skipped.Inc()
		done(now)
		return
	}
	t.waits.byZone[z] = append(t.waits.byZone[z], x)
	t.waits.byKey[key]++
	t.waits.n++
	x.stop = t.cfg.After(limit, func() {
		t.mu.Lock()
		ended, served := t.waits.remove(x), len(x.by)
		t.mu.Unlock()
		if ended {
			t.metrics.limit.Inc()
			done(served)
		}
	})
	t.mu.Unlock()
}

// servingLocked lists the connected secondaries that serve a serial or a later one.
func (t *Tracker) servingLocked(z zone.Name, serial uint32) []string {
	var out []string
	for _, s := range t.secondaries {
		if have, ok := s.served[z]; ok && s.connected && zone.SerialGE(have.serial, serial) {
			out = append(out, s.name)
		}
	}
	return out
}

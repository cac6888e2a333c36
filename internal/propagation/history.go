package propagation

import (
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// maxSteps is how many publish times of a zone are remembered.
const maxSteps = 64

// history says when a zone's serials were published. When there are too many, every second one is forgotten: of what is left
// the oldest stays, so that a lag is never understated, whatever the rate and however long it lasts. It can be overstated by
// one part in 32.
type history struct {
	steps []step // oldest first, serials rising; never empty after add
}

type step struct {
	serial uint32
	at     time.Time
}

// add notes the newest serial, and reports whether it is new. One that does not rise begins another history: the zone was
// replaced.
func (h *history) add(serial uint32, at time.Time) bool {
	switch n := len(h.steps); {
	case n == 0:
	case h.current() == serial:
		return false
	case !zone.SerialGT(serial, h.current()) || !zone.SerialGT(serial, h.steps[0].serial):
		h.steps = h.steps[:0]
	case n == maxSteps:
		kept := h.steps[:0]
		for i := 0; i < n; i += 2 {
			kept = append(kept, h.steps[i])
		}
		h.steps = kept
	}
	h.steps = append(h.steps, step{serial, at})
	return true
}

// current is the newest serial.
func (h *history) current() uint32 { return h.steps[len(h.steps)-1].serial }

// since is when the oldest serial after the served one was published.
func (h *history) since(served uint32, ok bool) time.Time {
	for _, s := range h.steps {
		if !ok || zone.SerialGT(s.serial, served) {
			return s.at
		}
	}
	return h.steps[len(h.steps)-1].at
}

// between returns when the serials after old and up to served were published.
func (h *history) between(old, served uint32) []time.Time {
	var out []time.Time
	for _, s := range h.steps {
		if zone.SerialGT(s.serial, old) && !zone.SerialGT(s.serial, served) {
			out = append(out, s.at)
		}
	}
	return out
}

package propagation

import (
	"math"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// maxSteps is how many publish times of a zone are remembered.
const maxSteps = 64

// history says when a zone's serials were published. When there are too many, two that are old for how near they are to each
// other become one: the later serial with the earlier time. So a lag is never understated, whatever the rate and however long it
// lasts, and overstated by a third at most.
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
		h.thin(at)
	}
	h.steps = append(h.steps, step{serial, at})
	return true
}

// thin makes two steps one: those whose serials' times become least wrong, compared with their age.
func (h *history) thin(now time.Time) {
	best, least := 0, math.Inf(1)
	for i := range len(h.steps) - 2 {
		// What the step that results holds was published between these two times.
		from, to := h.steps[i].at, h.steps[i+2].at
		if wrong := float64(to.Sub(from)) / float64(1+now.Sub(to)); wrong < least {
			best, least = i, wrong
		}
	}
	h.steps[best].serial = h.steps[best+1].serial
	h.steps = slices.Delete(h.steps, best+1, best+2)
}

// current is the newest serial.
func (h *history) current() uint32 { return h.steps[len(h.steps)-1].serial }

// since is when the oldest serial after the served one was published, or a little before.
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

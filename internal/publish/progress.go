package publish

import "time"

// Progress is how far the local named has come: what the cluster's writes are held back by when a quorum of the primaries
// is behind (C9).
type Progress struct {
	Applied uint64 // log index that was handed to the publisher
	Index   uint64 // log index up to which named has every publish step
	Bytes   int    // octets of steps that wait for named
}

// Progress looks at all zones. False: nothing is published before Start, so there is nothing to say.
func (p *Publisher) Progress() (Progress, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine == nil {
		return Progress{}, false
	}
	out := Progress{Applied: p.applied, Index: p.applied}
	for _, z := range p.zones {
		out.Bytes += z.queueBytes
		if w, ok := z.oldest(); ok {
			out.Index = min(out.Index, w.since-1)
		}
	}
	return out, true
}

// oldest is the oldest change that named lacks; false when it lacks none, or when that is no reason to hold updates back: a
// zone that is new, or that one large step replaces, takes named its time, and only the octets that gather meanwhile count.
// That ends with the first failure.
func (z *zoneState) oldest() (waiting, bool) {
	switch {
	case z.deleted, z.excused && !z.serving && z.failures == 0:
		return waiting{}, false
	case z.missing.since != 0:
		return z.missing, true
	case len(z.waiting) > 0:
		return z.waiting[0], true
	}
	return waiting{}, false
}

// lacks notes a change that does not wait in the queue: whoever synchronises the zone will find it in the state machine.
func (z *zoneState) lacks(since uint64, now time.Time) {
	if z.missing.since == 0 {
		z.missing = waiting{since, now}
	}
}

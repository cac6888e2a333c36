package endpoint

import (
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

const (
	// maxCopies is how many copies of one request wait for its answer at places of their own.
	maxCopies = 16
	// maxDoubts bounds the memory for updates that ended in doubt: some 6 MB.
	maxDoubts = 1 << 16
)

// copies knows the signed updates that are under way here, by fingerprint. A client that sends a request again, because it
// waited too long for an answer, must not be told that it was not applied while the first copy is on its way into the log: all
// copies share one proposal and its outcome. One that ended in doubt stays known until its signature can no longer verify, so
// that no copy is called refused that comes after it (D6). Copies that go to other primaries meet in the log only (I4).
type copies struct {
	mu     sync.Mutex
	firsts map[fsm.Fingerprint]*request // proposed, or waiting for that; their copies hang on request.copies
	doubts map[fsm.Fingerprint]time.Time
}

func newCopies() copies {
	return copies{firsts: map[fsm.Fingerprint]*request{}, doubts: map[fsm.Fingerprint]time.Time{}}
}

// joined says what became of a request that asked to be proposed.
type joined uint8

const (
	joinedNone  joined = iota // it is the first: propose it
	joinedFirst               // it waits for the first one's outcome
	joinedNot                 // the first one's answer goes to the same place, or too many wait
)

// join takes a signed update that is to be proposed.
func (c *copies) join(r *request) joined {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, ok := c.firsts[r.update.Fingerprint]
	if !ok {
		c.firsts[r.update.Fingerprint] = r
		return joinedNone
	}
	n := 0
	for w := first; w != nil; w = w.copies {
		if n++; n > maxCopies || w.sameReply(r) {
			return joinedNot
		}
	}
	r.copies, first.copies = first.copies, r
	return joinedFirst
}

// end forgets a request that was proposed, and returns the copies that wait for its outcome.
func (c *copies) end(r *request, o outcome) (waiting *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fp := r.update.Fingerprint
	delete(c.firsts, fp)
	waiting, r.copies = r.copies, nil
	switch {
	case o == outcomeDoubt:
		for old := range c.doubts {
			if len(c.doubts) < maxDoubts {
				break
			}
			delete(c.doubts, old)
		}
		c.doubts[fp] = time.Unix(int64(r.update.TimeSigned), 0).Add(time.Duration(r.update.Fudge) * time.Second)
	case o == outcomeKnown && len(c.doubts) > 0:
		delete(c.doubts, fp)
	}
	return waiting
}

// doubtful reports whether an earlier copy may have been applied.
func (c *copies) doubtful(fp fsm.Fingerprint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.doubts[fp]
	return ok
}

// sweep forgets what can't be sent again.
func (c *copies) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for fp, end := range c.doubts {
		if now.After(end) {
			delete(c.doubts, fp)
		}
	}
}

// outcome is what is known of a proposal that ended.
type outcome uint8

const (
	outcomeKnown   outcome = iota // the log decided
	outcomeRefused                // it is not in the log and never will be
	outcomeDoubt                  // it may be
)

// conclude ends a proposed update, and the copies that wait for it, in the same way.
func (r *request) conclude(o outcome, end func(*request)) {
	if !r.signed {
		end(r)
		return
	}
	copies := &r.srv.copies
	if o == outcomeRefused && copies.doubtful(r.update.Fingerprint) {
		// Of this copy it is proven; of the one before it is not.
		o, end = outcomeDoubt, inDoubt
	}
	for w := copies.end(r, o); w != nil; {
		next := w.copies
		w.copies = nil
		end(w)
		w = next
	}
	end(r)
}

// inDoubt ends an update that may be in the log. Only the same signed request, sent again, can tell (I4); SERVFAIL would make
// the client believe that it was not done (D6).
func inDoubt(r *request) { r.drop(dropInDoubt) }

// sameReply reports whether the answers to both go to one place, where nobody can tell them apart.
func (r *request) sameReply(other *request) bool {
	return r.to == other.to && r.client == other.client && r.peer == other.peer && r.message.id == other.message.id
}

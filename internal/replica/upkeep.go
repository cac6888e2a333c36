package replica

import (
	"errors"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// upkeep is the core's view of checkpoints and compaction (D5).
type upkeep struct {
	tailBytes  int       // log applied since the last checkpoint
	lastSize   int       // octets of our last checkpoint
	checkpoint uint64    // index of our newest durable one
	askAt      time.Time // when we ask for a checkpoint that is due; zero: none is
	saving     bool
	saveErr    error     // of the last save
	failed     uint64    // the index that it was for
	retryAt    time.Time // when to try again if that is still needed; zero: it is not
	floor      uint64    // what the newest marks permit to forget
	compacted  uint64    // what we asked to forget
}

// orphanPatience is how long a replica leaves a checkpoint to the one whose entry made it due, and how long it waits before
// it asks again.
const orphanPatience = 5 * time.Second

// checkpointRetry is how long after a failed save another checkpoint is asked for, if a quorum has none either. Waiting for
// the log to grow would not do: when it is nearly full, nothing but a checkpoint makes it shorter.
const checkpointRetry = 5 * time.Second

// tick does what is due. The driver calls it at the time that nextTick gave, or later.
func (c *core) tick(now time.Time) {
	c.now = now
	if c.reload == nil {
		c.cutDue()
		if u := &c.upkeep; !u.askAt.IsZero() && !now.Before(u.askAt) {
			u.askAt = now.Add(orphanPatience) // again only if this one is lost
			c.internal(&fsm.Checkpoint{}, func(error) {})
		}
		if u := &c.upkeep; !u.retryAt.IsZero() && !now.Before(u.retryAt) {
			u.retryAt = time.Time{}
			if c.owesCheckpoint() {
				u.retryAt = now.Add(checkpointRetry) // again if the log does not take this one
				c.internal(&fsm.Checkpoint{}, func(error) {})
			}
		}
		c.endDisputes()
	}
	c.flush(now)
}

// owesCheckpoint says whether a save that failed still keeps the log long: a quorum has no checkpoint as new; or it has, and the
// log is forgotten one checkpoint later. A minority that can't save makes the others write nothing more than they do anyway.
func (c *core) owesCheckpoint() bool {
	u := &c.upkeep
	return u.compacted < u.failed && (u.saveErr == nil || c.machine.CompactionFloor(c.cfg.members) < u.failed)
}

// nextTick is when tick has something to do next; false: not before another event.
func (c *core) nextTick() (time.Time, bool) {
	var at earliest
	if c.reload == nil {
		if t, ok := c.cuts.next(); ok && c.halt == nil {
			at.note(t)
		}
		if !c.upkeep.askAt.IsZero() {
			at.note(c.upkeep.askAt)
		}
		if !c.upkeep.retryAt.IsZero() {
			at.note(c.upkeep.retryAt)
		}
		if t, ok := c.disputes.next(); ok {
			at.note(t)
		}
	}
	if len(c.queue) > 0 {
		if !c.queueDue.IsZero() {
			at.note(c.queueDue.Add(time.Nanosecond)) // a deadline itself is still in time
		}
		switch {
		case c.busy:
		case c.held():
			at.note(c.gatherEnd)
		case c.paced():
			at.note(c.paceEnd)
		default:
			at.note(c.retryAt)
		}
	}
	return at.time, at.ok
}

// noteGrowth follows the log's growth. When the tail since the last checkpoint is large, somebody asks for the next one: the
// proposer of the entry that made it so, at once, or another after a while. All replicas then save the same state, so that
// their digests can be compared (C4).
func (c *core) noteGrowth(own bool, size int, eff fsm.Effects) {
	u := &c.upkeep
	u.tailBytes += size
	if eff.Checkpoint {
		u.tailBytes = 0
		u.askAt, u.retryAt = time.Time{}, time.Time{}
		if c.owesCheckpoint() {
			u.retryAt = c.now.Add(checkpointRetry)
		}
		// While a save is under way the disk is slower than the log grows; the next one will do.
		if !u.saving {
			u.saving = true
			c.actions = append(c.actions, action{kind: actSave, snap: c.machine.Snapshot(), index: c.lastIndex, keep: c.halt != nil})
			if c.cfg.omit.durableMark {
				c.mark(c.lastIndex, c.machine.Snapshot().Digest())
			}
		}
	}
	due := max(c.cfg.checkpointBytes, u.lastSize) // a checkpoint that costs more than the log it saves has time
	if m := c.cfg.maxTailBytes; m > 0 {
		due = min(due, m)
	}
	if u.askAt.IsZero() && u.tailBytes >= due {
		u.askAt = c.now
		if !own {
			u.askAt = c.now.Add(orphanPatience)
		}
	}
	if !u.askAt.IsZero() && own {
		c.askNow()
	}
}

// askNow asks for a checkpoint that is due already, without waiting for a tick.
func (c *core) askNow() {
	if u := &c.upkeep; !c.now.Before(u.askAt) {
		u.askAt = c.now.Add(orphanPatience)
		c.internal(&fsm.Checkpoint{}, func(error) {})
	}
}

// saved reports the outcome of actSave: the checkpoint's digest and size, which the others get to see as a mark.
func (c *core) saved(now time.Time, index uint64, digest fsm.Digest, size int, err error) {
	c.now = now
	u := &c.upkeep
	u.saving, u.saveErr = false, err
	if err == nil {
		u.lastSize = size
		u.checkpoint = max(u.checkpoint, index)
		if c.reload == nil && !c.cfg.omit.durableMark {
			c.mark(index, digest)
		}
	} else { // the driver reports it, and the log keeps its tail until a later checkpoint succeeds
		u.failed, u.retryAt = index, now.Add(checkpointRetry)
	}
	if c.reload != nil {
		c.startReload()
	}
	c.flush(now)
}

func (c *core) mark(index uint64, digest fsm.Digest) {
	c.internal(&fsm.Mark{Replica: c.cfg.name, Index: index, Digest: digest}, func(error) {})
}

// noteFloor forgets the log that a quorum has checkpoints of, one checkpoint late: the log still leads from each
// replica's last checkpoint but one, so that a damaged newest file costs time and not the state.
func (c *core) noteFloor(eff fsm.Effects) {
	u := &c.upkeep
	if len(eff.Verdicts) == 0 {
		return
	}
	if c.cfg.omit.ownFloor {
		c.compact(u.checkpoint)
		return
	}
	if floor := c.machine.CompactionFloor(c.cfg.members); floor > u.floor {
		c.compact(u.floor)
		u.floor = floor
	}
}

func (c *core) compact(index uint64) {
	if u := &c.upkeep; index > u.compacted {
		u.compacted = index
		c.actions = append(c.actions, action{kind: actCompact, index: index})
	}
}

// makeSpace forgets all that may be forgotten when the log is full: a full log takes no marks, so it would stay full.
func (c *core) makeSpace() { c.compact(c.upkeep.floor) }

var errCatchingUp = errors.New("it has loaded a peer's checkpoint and catches up with the log")

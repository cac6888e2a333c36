package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// This file is the core's housekeeping: publish boundaries that no entry cuts by itself, checkpoints, compaction.

// noteCuts remembers which zones have changes that are not yet in a publish boundary. Mostly the next entry cuts them; the
// last change of a burst needs a Cut command, which the replica that made the change proposes, or another if it died.
func (c *core) noteCuts(now time.Time, own bool, eff fsm.Effects) {
	for _, b := range eff.Boundaries {
		delete(c.cuts, b.Zone)
	}
	for _, id := range eff.Pending {
		cut := c.cuts[id]
		if cut == nil {
			cut = &pendingCut{since: now}
			c.cuts[id] = cut
		}
		cut.own = own
	}
}

// tick proposes what is due. The driver calls it every few milliseconds while dueSoon.
func (c *core) tick(now time.Time) {
	for id, cut := range c.cuts {
		after := c.cfg.cutOrphansAfter
		if cut.own {
			after = c.cfg.cutAfter
		}
		if now.Sub(cut.since) >= after {
			c.cut(now, id)
		}
	}
	if c.wantCheckpoint && now.Sub(c.crossedAt) >= c.checkpointPatience() {
		c.crossedAt = now // asked again only if this one is lost
		c.internal(now, &fsm.Checkpoint{})
	}
	c.flush(now)
}

// dueSoon says that tick has work in the next milliseconds.
func (c *core) dueSoon() bool { return len(c.cuts) > 0 || len(c.queue) > 0 || c.wantCheckpoint }

// cut proposes the boundary of a zone's pending changes, once.
func (c *core) cut(now time.Time, id fsm.ZoneID) {
	if c.cuts[id] == nil {
		return
	}
	delete(c.cuts, id) // a change that follows makes it pending again
	c.internal(now, &fsm.Cut{Zone: id})
}

// internal queues a command of the replica's own, which no limit holds back: without it the queue would not drain.
func (c *core) internal(now time.Time, cmd fsm.Command) {
	p := &proposal{cmd: cmd, size: fsm.CommandSize(cmd), done: func(fsm.Result, error) {}}
	c.queue = append(c.queue, p)
	c.queueBytes += p.size
	c.queueCount++
	c.flush(now)
}

// orphanPatience is how long a replica leaves a checkpoint to the one whose entry made it due.
const orphanPatience = 5 * time.Second

func (c *core) checkpointPatience() time.Duration {
	if c.crossedByUs {
		return 0
	}
	return orphanPatience
}

// maintain follows the log's growth: when the tail since the last checkpoint is large, somebody asks for the next one;
// when a quorum has it durably, the log below it is forgotten (D5).
func (c *core) maintain(now time.Time, own bool, size int, eff fsm.Effects) {
	c.tailBytes += size
	if eff.Checkpoint {
		c.tailBytes = 0
		c.wantCheckpoint = false
		if !c.saving { // else the disk is slower than the log grows; the next one will do
			c.saving = true
			c.actions = append(c.actions, action{kind: actSave, snap: c.machine.Snapshot(), index: c.lastIndex})
		}
	}
	if !c.wantCheckpoint && c.tailBytes >= max(c.cfg.checkpointBytes, c.lastSize) {
		c.wantCheckpoint, c.crossedByUs, c.crossedAt = true, own, now
		if own {
			c.tick(now)
		}
	}
	for _, v := range eff.Verdicts {
		c.judge(v)
	}
	if len(eff.Verdicts) > 0 {
		if floor := c.machine.CompactionFloor(c.cfg.members); floor > c.compacted {
			c.compacted = floor
			c.actions = append(c.actions, action{kind: actCompact, index: floor})
		}
	}
}

// ErrDiverged: the replicas' digests of one log index differ, and this replica's is not the majority's.
var ErrDiverged = errors.New("replica: its state differs from the majority's")

// judge compares digests of one log index (C4). A replica that a strict majority contradicts reloads; where there is no
// majority everyone stops, because nobody can tell who is right.
func (c *core) judge(v fsm.Verdict) {
	switch v.Judge(c.cfg.name, c.cfg.members) {
	case fsm.StandingMinority:
		if !c.reloading {
			c.lag(fmt.Errorf("%w at log index %d", ErrDiverged, v.Index), v.Index)
		}
	case fsm.StandingNone:
		c.stopForGood(fmt.Errorf("%w at log index %d, and no digest has a majority: keep all data, compare the checkpoints", ErrDiverged, v.Index))
	}
}

// saved reports the outcome of actSave: the checkpoint's digest and size, which the others get to see as a mark.
func (c *core) saved(now time.Time, index uint64, digest fsm.Digest, size int, err error) {
	c.saving = false
	if err != nil {
		return // the driver reports it; the log keeps its tail until a later checkpoint succeeds
	}
	c.lastSize = size
	c.checkpoint = max(c.checkpoint, index)
	c.internal(now, &fsm.Mark{Replica: c.cfg.name, Index: index, Digest: digest})
}

// lag stops service until a peer's checkpoint at or above index has replaced the state machine (I7).
func (c *core) lag(reason error, index uint64) {
	c.reloading = true
	c.abandon(reason)
	c.actions = append(c.actions, action{kind: actReload, index: index})
}

// reset continues from another state machine. The owner decides when to serve again.
func (c *core) reset(m *fsm.Machine) {
	c.machine = m
	c.lastIndex = m.Index()
	c.checkpoint = m.Index()
	c.tailBytes = 0
	c.wantCheckpoint = false
	clear(c.cuts)
	c.reloading = false
	c.resettle()
}

// stopForGood ends service until a person has looked. The replica keeps following the log.
func (c *core) stopForGood(reason error) {
	c.halted = reason
	c.abandon(reason)
}

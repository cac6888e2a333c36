package replica

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// This file is what a replica does about digests that differ (C4), and how it takes another state.

// ErrDiverged: the replicas' digests of one log index differ. Either this replica's is not the majority's and it reloads, or
// no digest has a majority and everyone stops.
var ErrDiverged = errors.New("replica: the replicas' states differ")

// disputeGrace is how long replicas may disagree, without a majority for any, because the others have not reported: they
// may be slow to write their checkpoint. A replica that is down for longer does not excuse two that serve different data.
const disputeGrace = 15 * time.Second

// halt is why a replica serves nothing until a person has looked: no digest of an index has a majority. It follows the log
// meanwhile, and a later mark that decides the matter ends it.
type halt struct {
	index  uint64
	reason error
}

// disputes are the indexes that digests differ on while it is open whether a majority will be found, with the time by
// which it has to be.
type disputes map[uint64]time.Time

func (d disputes) next() (time.Time, bool) {
	var at earliest
	for _, t := range d {
		at.note(t)
	}
	return at.time, at.ok
}

// base is the peer's checkpoint that this replica's state descends from, zero when it has none from a peer. Marks of this
// replica's for earlier indexes tell of the state that the checkpoint replaced.
type base struct {
	index  uint64
	digest fsm.Digest
}

// reload is a peer's checkpoint on its way.
type reload struct {
	want    reloadWant
	reason  error
	started bool
}

// reloadWant says which checkpoint will do.
type reloadWant struct {
	atLeast  uint64 // index
	diverged bool   // our own checkpoints from that index on are evidence, not to be loaded again
	digest   *fsm.Digest
}

// accepts refuses a checkpoint that is too old, or that the majority contradicts.
func (w reloadWant) accepts(index uint64, digest fsm.Digest) error {
	switch {
	case index < w.atLeast:
		return fmt.Errorf("it has index %d, at least %d is needed", index, w.atLeast)
	case index == w.atLeast && w.digest != nil && digest != *w.digest:
		return fmt.Errorf("its digest %s is not the majority's %s at log index %d: its replica has diverged too", digest, *w.digest, index)
	}
	return nil
}

// catchUp is the way from a loaded checkpoint to the log's end.
type catchUp struct {
	known bool // whether index is
	index uint64
}

// judge compares digests of one log index. A replica that a strict majority of all members contradicts reloads. That needs
// no lease to go one at a time: those that reload at once are a strict minority, and the majority, which has one digest,
// stays in service. Where there is no majority everyone stops, because nobody can tell who is right.
func (c *core) judge(v fsm.Verdict) {
	digest, majority := majorityOf(v, c.cfg.members)
	standing := v.Judge(c.cfg.name, c.cfg.members)
	if copied := v.Index <= c.base.index; copied {
		// This replica's mark, if there is one, tells of the state that a peer's checkpoint has replaced.
		switch {
		case majority && v.Index == c.base.index && digest != c.base.digest:
			standing = fsm.StandingMinority
		case majority || agree(v, c.cfg.members):
			standing = fsm.StandingUnknown
		default:
			standing = fsm.StandingNone // it has copied one side of a dispute, and can't be a witness in it
		}
	}
	switch {
	case standing == fsm.StandingMinority:
		if !c.cfg.omit.minority {
			c.leave(fmt.Errorf("%w: a majority has another digest of log index %d", ErrDiverged, v.Index),
				reloadWant{atLeast: v.Index, diverged: true, digest: &digest})
		}
	case standing == fsm.StandingNone:
		if !c.cfg.omit.noMajority {
			c.stop(v.Index)
		}
	case standing == fsm.StandingMajority:
		c.decided(v.Index)
	case majority || agree(v, c.cfg.members):
		delete(c.disputes, v.Index)
		if c.halt != nil && c.halt.index == v.Index {
			c.halt = nil
		}
	case c.disputes[v.Index].IsZero():
		c.dispute(v.Index)
	}
}

// dispute notes that digests differ and no majority has reported. Whoever was too busy to write that checkpoint gets the
// chance to report the next one.
func (c *core) dispute(index uint64) {
	if c.halt != nil {
		return
	}
	if c.disputes == nil {
		c.disputes = make(disputes)
	}
	c.disputes[index] = c.now.Add(disputeGrace)
	if u := &c.upkeep; u.askAt.IsZero() {
		u.askAt = c.now.Add(orphanPatience)
	}
}

// decided ends the disputes up to an index: this replica's whole state was the majority's then.
func (c *core) decided(index uint64) {
	for i := range c.disputes {
		if i <= index {
			delete(c.disputes, i)
		}
	}
	if c.halt != nil && c.halt.index <= index {
		c.halt = nil
	}
}

// majorityOf finds the digest that a strict majority of members reported.
func majorityOf(v fsm.Verdict, members []string) (fsm.Digest, bool) {
	votes := make(map[fsm.Digest]int)
	for _, m := range members {
		if d, ok := v.Digests[m]; ok {
			votes[d]++
			if votes[d] > len(members)/2 {
				return d, true
			}
		}
	}
	return fsm.Digest{}, false
}

func agree(v fsm.Verdict, members []string) bool {
	seen := make(map[fsm.Digest]bool)
	for _, m := range members {
		if d, ok := v.Digests[m]; ok {
			seen[d] = true
		}
	}
	return len(seen) < 2
}

// endDisputes stops the replica when a disagreement has lasted too long.
func (c *core) endDisputes() {
	for _, index := range slices.Sorted(maps.Keys(c.disputes)) {
		if !c.now.Before(c.disputes[index]) {
			delete(c.disputes, index)
			if !c.cfg.omit.undecided {
				c.stop(index)
			}
		}
	}
}

// stop ends service until a person has looked, or another mark decides.
func (c *core) stop(index uint64) {
	if c.halt != nil && c.halt.index >= index {
		return
	}
	delete(c.disputes, index)
	c.halt = &halt{index: index, reason: fmt.Errorf("%w at log index %d, and no digest has a majority: keep a copy of every replica's "+
		"checkpoint directory; then on all replicas move %s away and start them again: each computes that state anew from the "+
		"checkpoint before it and the log", ErrDiverged, index, checkpointName(index))}
	c.abandon(c.halt.reason)
}

// behind reports that the log no longer has what follows the state.
func (c *core) behind(now time.Time, gone *log.CompactedError) {
	c.now = now
	c.leave(fmt.Errorf("it is behind the log's beginning: it has index %d, the log begins at %d", gone.From, gone.Compacted),
		reloadWant{atLeast: gone.Compacted - 1})
}

// leave stops service until a peer's checkpoint has replaced the state (I7).
func (c *core) leave(reason error, want reloadWant) {
	if c.reload != nil {
		return
	}
	c.reload = &reload{want: want, reason: reason}
	c.abandon(reason)
	c.startReload()
}

// startReload waits for a save that is under way: the checkpoint of a state that is to be replaced must not appear after
// the one that replaces it.
func (c *core) startReload() {
	if r := c.reload; !r.started && !c.upkeep.saving {
		r.started = true
		c.actions = append(c.actions, action{kind: actReload, want: r.want})
	}
}

// reset reports the outcome of actReload: the state to continue from, with its digest. Service resumes when the log's end
// of this moment has been applied.
func (c *core) reset(now time.Time, m *fsm.Machine, digest fsm.Digest, stored bool) {
	c.now = now
	want := c.reload.want
	c.reload, c.halt, c.disputes = nil, nil, nil
	c.adopt(m)
	c.dropReloaded()
	c.base = base{m.Index(), digest}
	c.upkeep = upkeep{lastSize: c.upkeep.lastSize, compacted: c.upkeep.compacted}
	if stored {
		c.upkeep.checkpoint = m.Index()
	}
	if want.digest != nil && want.atLeast == m.Index() {
		// Takes back the mark of the state that was replaced. Otherwise a state that was copied has no vote of its own:
		// two replicas with one mistake are not a majority.
		c.mark(m.Index(), digest)
	}
	if !c.cfg.omit.catchUp {
		c.catchUp = &catchUp{}
		c.actions = append(c.actions, action{kind: actBarrier})
	}
	c.flush(now)
}

// barrier reports the outcome of actBarrier: the log's end.
func (c *core) barrier(now time.Time, index uint64) {
	c.now = now
	if c.catchUp != nil {
		c.catchUp.known, c.catchUp.index = true, index
		c.checkCaughtUp()
	}
	c.flush(now)
}

func (c *core) checkCaughtUp() {
	if u := c.catchUp; u != nil && u.known && c.reload == nil && c.lastIndex >= u.index {
		c.catchUp = nil
	}
}

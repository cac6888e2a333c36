package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// Errors that answer a proposal. Match with errors.Is.
var (
	// ErrOverloaded: the queue is full; the proposal was not appended.
	ErrOverloaded = errors.New("replica: the queue of updates is full")
	// ErrNotApplied: the proposal is proven not to be in the log, and never will be.
	ErrNotApplied = errors.New("replica: the update was not applied")
	// ErrInDoubt: the proposal may be in the log; stay silent and let the client retry.
	ErrInDoubt = errors.New("replica: the update is in doubt")
	// ErrStopped: the replica takes no proposals: it stops, has not caught up, or differs from the majority.
	ErrStopped = errors.New("replica: out of service")
	// ErrNoSpace: the log has no space left; the proposal was not appended.
	ErrNoSpace = errors.New("replica: the log is out of space")
)

// proposal is one command on its way into the log.
type proposal struct {
	cmd      fsm.Command
	size     int       // estimated octets in the entry
	deadline time.Time // after this the proposal is not appended (again); zero: none
	taken    time.Time // when the core took it; zero for housekeeping
	internal bool      // the replica's own housekeeping: no limit holds it back, no client waits for it
	done     func(fsm.Result, error)
}

// batch is one log entry: the proposals appended together.
type batch struct {
	epoch, seq uint64
	props      []*proposal // nil once answered
	data       []byte      // the entry
	applied    bool        // its record was applied here before the log confirmed it
	began      time.Time   // when it was appended
}

// action is something the driver does outside the core, in the order in which the core asks for it. The driver reports the
// outcome of each action exactly once with the method that is named beside its kind.
type action struct {
	kind  actionKind
	batch *batch        // of actAppend
	index uint64        // of actSave and actCompact
	snap  *fsm.Snapshot // of actSave
	keep  bool          // of actSave: the older checkpoints are evidence, so they stay
	want  reloadWant    // of actReload
}

type actionKind uint8

const (
	actAppend  actionKind = iota + 1 // append batch.data to the log; report with core.appended
	actSettle                        // fence the epoch, find what is in the log; report with core.settled
	actSave                          // write snap durably; report with core.saved
	actCompact                       // forget the log below index; nothing to report
	actReload                        // replace the state machine by a peer's checkpoint; report with core.reset
	actBarrier                       // read the log's end linearizably; report with core.barrier
)

// coreConfig bounds the core. All fields but omit are required.
type coreConfig struct {
	name            string
	maxBatchBytes   int           // an entry's commands stay below this, a single larger command excepted
	maxBatchCount   int           // commands an entry
	maxQueueBytes   int           // clients' proposals waiting or in flight, octets
	maxQueueCount   int           // clients' proposals waiting or in flight
	gatherFor       time.Duration // how long a batch waits at the most for the clients that are just being answered
	cutAfter        time.Duration // a replica cuts what it changed itself after this much quiet
	cutOrphansAfter time.Duration // ... and what others changed after this much: the proposer died
	checkpointBytes int           // log tail that makes a checkpoint due
	maxTailBytes    int           // a tail that is too large whatever a checkpoint costs; 0: none is
	members         []string      // all replicas: a quorum must have a checkpoint before the log below it is forgotten

	omit omit
}

// core decides what a replica does. It is not safe for concurrent use, never blocks and never looks at a clock: every event
// brings the time with it.
type core struct {
	cfg     coreConfig
	machine *fsm.Machine
	now     time.Time // of the event being handled

	// The way into the log. One append or settle is under way at a time, which keeps each caller's order through
	// failures: while it is, the next batch gathers.
	busy       bool
	epoch, seq uint64 // what the next append carries; epoch 0: a settle comes first
	inflight   *batch // appended, outcome not yet known
	// committed batches are in the log, and are answered when their records are applied here.
	committed []*batch
	ownSeq    uint64 // sequence number of this replica's newest record in the state machine
	// retryAt holds appends back after the log said that it takes none.
	retryAt time.Time
	// throttle is the back-pressure of publishing; paceEnd is when clients' proposals may go into the log again, and refused
	// counts those that were not taken.
	throttle Throttle
	paceEnd  time.Time
	refused  uint64
	// expected is how many proposals the next batch waits for, at the longest until gatherEnd; see held.
	expected   int
	gatherEnd  time.Time
	lastAppend time.Duration // how long the newest append took

	queue      []*proposal
	spare      []*proposal // memory of an answered batch, for the next queue
	cmds       []fsm.Command
	queueDue   time.Time // no proposal of the queue has an earlier deadline; zero: none has one
	queueBytes int       // of clients' proposals not yet answered
	queueCount int

	// Service: proposals are taken while the owner wants it and nothing of the replica's own is against it.
	wanted    bool
	notWanted error // the owner's reason
	reload    *reload
	catchUp   *catchUp
	halt      *halt

	lastIndex uint64 // of the newest record applied
	cuts      cutList
	cutEach   bool // see Replica.CutEach
	upkeep    upkeep
	disputes  disputes
	base      base

	actions []action
	effects []fsm.Effects // since the driver last took them
}

// unavailablePause is how long appends rest after the log refused one.
const unavailablePause = 20 * time.Millisecond

func newCore(cfg coreConfig, m *fsm.Machine) *core {
	c := &core{cfg: cfg, cuts: newCutList(cfg.cutAfter, cfg.cutOrphansAfter)}
	c.adopt(m)
	return c
}

// adopt makes a machine the replica's state.
func (c *core) adopt(m *fsm.Machine) {
	c.machine = m
	c.lastIndex = m.Index()
	_, c.ownSeq = m.LastSeq(c.cfg.name)
	c.cuts.clear()
	if m.Stats().DirtyZones > 0 {
		// Whoever changed those zones may have asked for their cut in the log that we no longer see.
		c.cuts.note(c.now, fsm.ZoneID{}, false)
	}
}

// start asks for the first settle: a former life of this replica may have left an append on its way (C2).
func (c *core) start(now time.Time) {
	c.now = now
	c.settle()
}

// serve takes proposals, or with a reason stops taking them. Those taken before go on.
func (c *core) serve(ok bool, reason error) { c.wanted, c.notWanted = ok, reason }

// blocked is why the replica itself can't serve, whatever its owner wants; nil when it can.
func (c *core) blocked() error {
	switch {
	case c.reload != nil:
		return c.reload.reason
	case c.halt != nil:
		return c.halt.reason
	case c.catchUp != nil:
		return errCatchingUp
	}
	return nil
}

// outOfService is why proposals are not taken; nil when they are.
func (c *core) outOfService() error {
	if err := c.blocked(); err != nil {
		return err
	}
	switch {
	case c.wanted:
		return nil
	case c.notWanted != nil:
		return c.notWanted
	}
	return errNotOpen
}

// class is the kind of reason that outOfService gives.
func (c *core) class() string {
	switch {
	case c.reload != nil && c.reload.want.diverged:
		return OutMinority
	case c.reload != nil:
		return OutBehind
	case c.halt != nil:
		return OutNoMajority
	case c.catchUp != nil:
		return OutCatchingUp
	}
	return OutOwner
}

var errNotOpen = errors.New("it has not begun to serve")

// propose queues a command and appends it if nothing else is under way.
func (c *core) propose(now time.Time, p *proposal) {
	c.enqueue(now, p)
	c.flush(now)
}

// enqueue queues a client's command. It answers at once with an error when the command can't be taken.
func (c *core) enqueue(now time.Time, p *proposal) {
	if err := c.outOfService(); err != nil {
		p.done(fsm.Result{}, fmt.Errorf("%w: %w", ErrStopped, err))
		return
	}
	full := c.queueCount >= c.cfg.maxQueueCount || c.queueCount > 0 && c.queueBytes+p.size > c.cfg.maxQueueBytes
	if full && !c.cfg.omit.backPressure {
		p.done(fsm.Result{}, fmt.Errorf("%w: %d requests of %d octets wait", ErrOverloaded, c.queueCount, c.queueBytes))
		return
	}
	if err := c.throttle.Refuse; err != nil && p.cmd.Kind() == fsm.KindUpdate && !c.cfg.omit.publishLag {
		c.refused++
		p.done(fsm.Result{}, err)
		return
	}
	p.taken = now
	c.queueBytes += p.size
	c.queueCount++
	c.queue = append(c.queue, p)
	c.noteDeadline(p)
}

// internal queues a command of the replica's own, which no limit holds back: without it the queue would not drain. The
// caller flushes.
func (c *core) internal(cmd fsm.Command, done func(err error)) {
	c.queue = append(c.queue, &proposal{cmd: cmd, size: fsm.CommandSize(cmd), internal: true,
		done: func(_ fsm.Result, err error) { done(err) }})
}

func (c *core) noteDeadline(p *proposal) {
	if !p.deadline.IsZero() && (c.queueDue.IsZero() || p.deadline.Before(c.queueDue)) {
		c.queueDue = p.deadline
	}
}

// expire answers the proposals whose time ran out before the log took them (C2).
func (c *core) expire(now time.Time) {
	if c.queueDue.IsZero() || !now.After(c.queueDue) || c.cfg.omit.deadline {
		return
	}
	c.queueDue = time.Time{}
	kept := c.queue[:0]
	for _, p := range c.queue {
		if !p.deadline.IsZero() && now.After(p.deadline) {
			c.finish(p, fsm.Result{}, fmt.Errorf("%w: its deadline passed before the log took it", ErrNotApplied))
			continue
		}
		kept = append(kept, p)
		c.noteDeadline(p)
	}
	clear(c.queue[len(kept):])
	c.queue = kept
}

// flush forms the next batch when nothing is under way: while one append is, the next batch gathers, so that one fsync on
// a quorum serves many clients and an idle replica adds no delay (group commit, D2).
func (c *core) flush(now time.Time) {
	c.now = now
	c.expire(now)
	if c.busy || c.epoch == 0 || len(c.queue) == 0 || now.Before(c.retryAt) || c.held() {
		return
	}
	props := c.gather()
	if len(props) == 0 {
		return
	}
	b := &batch{epoch: c.epoch, seq: c.seq, props: props, began: now}
	for _, p := range b.props {
		c.cmds = append(c.cmds, p.cmd)
	}
	if c.wantsCut(props) {
		c.cmds = append(c.cmds, &fsm.Cut{}) // behind the proposals: it answers none
	}
	b.data = fsm.EncodeEntry(fsm.Entry{
		Header:   fsm.Header{Replica: c.cfg.name, Epoch: b.epoch, Seq: b.seq, TimeMS: c.entryTime(b).UnixMilli()},
		Commands: c.cmds,
	})
	clear(c.cmds)
	c.cmds = c.cmds[:0]
	c.inflight = b
	c.busy = true
	c.actions = append(c.actions, action{kind: actAppend, batch: b})
}

// held says that the next batch should wait a little. The clients of a batch are answered all at once, and those who wait for
// an answer before they ask again come back within a moment. Without the wait the first of them would go into the log
// alone, and the others a whole append later; or the clients would fall into two groups that take turns, with twice the
// entries that the same updates need. A lone client is never held up, because it is the only one expected.
func (c *core) held() bool {
	return len(c.queue) < min(c.expected, c.cfg.maxBatchCount) && c.now.Before(c.gatherEnd)
}

// expect has the next batch wait for the clients of b, which is being answered: no longer than half of what the append took,
// so that the wait costs less than an append of their own would.
func (c *core) expect(b *batch) {
	c.expected, c.gatherEnd = len(c.queue), c.now.Add(min(c.cfg.gatherFor, c.lastAppend/2))
	for _, p := range b.props {
		if !p.internal {
			c.expected++
		}
	}
}

// entryTime is the time that an entry brings into the log (C7). A replica that is out of service does not read its clock,
// which may be why: its entry carries the time at which the clients' proposals were taken, when the clock still counted.
// Log time must reach that, or an older request in doubt could enter the log behind them within its deadline (C2).
// Housekeeping needs no time: the epoch leaves log time where it is.
func (c *core) entryTime(b *batch) time.Time {
	if c.outOfService() == nil || c.cfg.omit.quietClock {
		return c.now
	}
	at := time.UnixMilli(0)
	for _, p := range b.props {
		if p.taken.After(at) {
			at = p.taken
		}
	}
	return at
}

// gather takes the next batch from the queue; none while the queue has only what must wait.
func (c *core) gather() []*proposal {
	if c.paced() {
		return c.housekeeping()
	}
	c.paceEnd = c.now.Add(c.throttle.Pace)
	n, bytes := 0, 0
	for n < len(c.queue) && n < c.cfg.maxBatchCount {
		p := c.queue[n]
		alone := p.cmd.Kind() == fsm.KindActivate // the state machine takes it by itself only (C8)
		if n > 0 && (alone || bytes+p.size > c.cfg.maxBatchBytes) {
			break
		}
		n++
		bytes += p.size
		if alone {
			break
		}
	}
	props := c.queue
	if n < len(props) {
		props = slices.Clone(props[:n])
		c.queue = slices.Delete(c.queue, 0, n)
		return props
	}
	c.queue, c.spare, c.queueDue = c.spare, nil, time.Time{}
	return props
}

// finish answers a proposal and gives its share of the queue back. The proposal is not touched afterwards.
func (c *core) finish(p *proposal, res fsm.Result, err error) {
	if !p.internal {
		c.queueBytes -= p.size
		c.queueCount--
	}
	p.done(res, err)
}

// release ends a batch whose proposals are answered, and keeps its memory for the next queue.
func (c *core) release(b *batch) {
	if c.spare == nil && cap(b.props) <= maxSpare {
		clear(b.props)
		c.spare = b.props[:0]
	}
	b.props = nil
}

// maxSpare bounds the memory that is kept: a burst must not pin its queue for ever.
const maxSpare = 4096

// appended reports the outcome of actAppend. An error is final for the replica.
func (c *core) appended(now time.Time, b *batch, err error) error {
	c.now = now
	c.busy = false
	c.inflight = nil
	c.lastAppend = now.Sub(b.began)
	switch {
	case b.applied && err == nil:
		c.seq = b.seq + 1
	case b.applied:
		c.settle() // the record is in the log; only the log itself has lost count
	case err == nil:
		c.commit(b)
		c.expect(b)
	case errors.Is(err, log.ErrNoSpace):
		c.retryAt = now.Add(unavailablePause)
		c.fail(b, fmt.Errorf("%w: %w", ErrNoSpace, err))
		c.makeSpace()
	case errors.Is(err, log.ErrFenced):
		// Somebody else runs under this replica's name. Two of one name would each answer for the other's batches.
		c.fail(b, fmt.Errorf("%w: %w", ErrNotApplied, err))
		return err
	case errors.Is(err, log.ErrClosed), errors.Is(err, log.ErrTooLarge):
		c.fail(b, fmt.Errorf("%w: %w", ErrNotApplied, err))
	case errors.Is(err, log.ErrUnavailable):
		c.retryAt = now.Add(unavailablePause)
		c.requeue(b)
	case c.cfg.omit.settle:
		c.fail(b, fmt.Errorf("%w: %w", ErrNotApplied, err))
		c.settle()
	default:
		// In doubt, or an error that promises nothing: only a fence can tell (C2).
		c.inflight = b
		c.settle()
	}
	c.flush(now)
	return nil
}

// settle fences this replica's epoch before anything else is appended.
func (c *core) settle() {
	c.epoch = 0
	c.busy = true
	c.actions = append(c.actions, action{kind: actSettle})
}

// settled reports the outcome of actSettle. What was in flight is now known to be in the log, and is answered when its
// record is applied; or never to be, and goes in again under the new epoch if its time has not run out.
func (c *core) settled(now time.Time, s log.Settled) {
	c.now = now
	c.busy = false
	c.epoch, c.seq = s.Epoch, s.LastSeq+1
	if b := c.inflight; b != nil {
		c.inflight = nil
		switch {
		case b.applied:
		case s.Contains(b.seq):
			c.commit(b)
		default:
			c.requeue(b)
		}
	}
	c.flush(now)
}

// commit notes that a batch is in the log.
func (c *core) commit(b *batch) {
	c.seq = b.seq + 1
	c.committed = append(c.committed, b)
	c.dropReloaded()
}

// dropReloaded answers the committed batches whose records a peer's checkpoint has brought here: what became of each command
// is not known. The append may have returned before or after the checkpoint was loaded.
func (c *core) dropReloaded() {
	for len(c.committed) > 0 && c.committed[0].seq <= c.ownSeq {
		c.fail(c.committed[0], fmt.Errorf("%w: the state was reloaded meanwhile", ErrInDoubt))
		c.committed[0] = nil
		c.committed = c.committed[1:]
	}
}

// fail answers a batch with an error.
func (c *core) fail(b *batch, err error) {
	for _, p := range b.props {
		c.finish(p, fsm.Result{}, err)
	}
	c.release(b)
}

// requeue puts a batch that is known not to be in the log back to the front of the queue, in order.
func (c *core) requeue(b *batch) {
	for _, p := range b.props {
		c.noteDeadline(p)
	}
	if c.cfg.omit.order {
		c.queue = append(c.queue, b.props...)
		return
	}
	c.queue = append(slices.Clip(b.props), c.queue...)
	b.props = nil
}

// records applies a run of the log. An error is final for this state machine: a gap, an unknown version, corruption.
func (c *core) records(now time.Time, recs []log.Record) error {
	c.now = now
	for _, rec := range recs {
		if c.reload != nil {
			return nil // what came before the reload is not for the state that follows it
		}
		if rec.Index <= c.lastIndex {
			continue // a follower that was resumed may repeat, never skip
		}
		eff, err := c.machine.Apply(rec.Index, rec.Data)
		if err != nil {
			return fmt.Errorf("apply log index %d of replica %s: %w", rec.Index, rec.Replica, err)
		}
		own := rec.Replica == c.cfg.name
		c.lastIndex = rec.Index
		c.effects = append(c.effects, eff)
		if own {
			c.answer(rec, eff)
		}
		c.noteCuts(own, eff)
		c.noteGrowth(own, len(rec.Data), eff)
		for _, v := range eff.Verdicts {
			c.judge(v)
		}
		c.noteFloor(eff)
	}
	c.checkCaughtUp()
	c.flush(now)
	return nil
}

// answer resolves the proposals of an own record: the answer is what this replica's own state says (D5).
func (c *core) answer(rec log.Record, eff fsm.Effects) {
	c.ownSeq = rec.Seq
	var b *batch
	switch {
	case len(c.committed) > 0 && c.committed[0].is(rec):
		b = c.committed[0]
		c.committed[0] = nil
		c.committed = c.committed[1:]
	case c.inflight != nil && c.inflight.is(rec):
		b = c.inflight
		b.applied = true
		c.lastAppend = c.now.Sub(b.began) // as good as over
	default:
		return // of a former life of this replica, or given up in a reload
	}
	c.expect(b)
	for i, p := range b.props {
		c.finish(p, eff.Results[i], nil)
	}
	c.release(b)
}

func (b *batch) is(rec log.Record) bool { return b.seq == rec.Seq && b.epoch == rec.Epoch }

// abandon answers the clients that wait: what may be in the log is in doubt; the rest is not.
func (c *core) abandon(cause error) {
	c.queue = c.abandonProps(c.queue, fmt.Errorf("%w: %w", ErrNotApplied, cause))
	c.queueDue = time.Time{}
	doubt := fmt.Errorf("%w: %w", ErrInDoubt, cause)
	for _, b := range c.committed {
		c.fail(b, doubt)
	}
	c.committed = nil
	if b := c.inflight; b != nil && !b.applied {
		// Should it turn out not to be in the log, the housekeeping in it goes in again.
		b.props = c.abandonProps(b.props, doubt)
	}
}

// abandonProps answers the clients among props and returns the others.
func (c *core) abandonProps(props []*proposal, err error) []*proposal {
	kept := props[:0]
	for _, p := range props {
		if p.internal {
			kept = append(kept, p)
			continue
		}
		c.finish(p, fsm.Result{}, err)
	}
	clear(props[len(kept):])
	return kept
}

// idle says that no client waits for an answer.
func (c *core) idle() bool { return c.queueCount == 0 }

// take hands out the actions and effects gathered since the last call.
func (c *core) take() ([]action, []fsm.Effects) {
	a, e := c.actions, c.effects
	c.actions, c.effects = nil, nil
	return a, e
}

package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// Errors of Submit. Match with errors.Is.
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
	done     func(fsm.Result, error)
}

// batch is one log entry: the proposals appended together.
type batch struct {
	epoch, seq uint64
	props      []*proposal
	bytes      int
	data       []byte // the entry, encoded when the batch was formed
}

// action is something the driver does outside the core. The driver reports the outcome of append and settle with
// core.appended and core.settled; the others have none.
type action struct {
	kind  actionKind
	batch *batch
	index uint64        // of actCompact
	snap  *fsm.Snapshot // of actSave
}

type actionKind uint8

const (
	actAppend  actionKind = iota + 1 // append batch.data to the log; report with core.appended
	actSettle                        // fence the epoch, find what is in the log; report with core.settled
	actSave                          // write snap durably; report with core.saved
	actCompact                       // forget the log below index; nothing to report
	actReload                        // replace the state machine by a peer's checkpoint; report with core.reset
)

// coreConfig bounds the core. All fields are required.
type coreConfig struct {
	name            string
	maxBatchBytes   int           // an entry's commands stay below this, a single larger command excepted
	maxBatchCount   int           // commands an entry
	maxQueueBytes   int           // proposals waiting or in flight, octets
	maxQueueCount   int           // proposals waiting or in flight
	cutAfter        time.Duration // a replica cuts what it changed itself after this much quiet
	cutOrphansAfter time.Duration // ... and what others changed after this much: the proposer died
	checkpointBytes int           // log tail that makes a checkpoint due
	members         []string      // all replicas: a quorum must have a checkpoint before the log below it is forgotten
}

// core decides what a replica does. It is not safe for concurrent use, never blocks and never looks at a clock.
type core struct {
	cfg     coreConfig
	machine *fsm.Machine

	// epoch and seq are what the next append carries. Epoch 0: a settle is under way or due, nothing is appended.
	epoch, seq uint64

	queue      []*proposal
	queueBytes int // of the queue and of everything appended and not yet answered
	queueCount int

	// inflight is being appended or settled; one at a time keeps each caller's order through failures.
	inflight *batch
	// committed batches are in the log, and are answered when their records are applied here.
	committed []*batch
	// retryAt holds appends back after the log said that it is unavailable.
	retryAt time.Time

	serving   bool // proposals are taken
	stopped   error
	reloading bool  // waiting for a peer's checkpoint
	halted    error // never serves again; see stopForGood

	cuts      map[fsm.ZoneID]*pendingCut
	lastIndex uint64 // of the newest record applied

	// Checkpoints; see upkeep.go.
	tailBytes      int    // log since the last checkpoint
	lastSize       int    // octets of our last checkpoint
	checkpoint     uint64 // index of our newest durable one
	compacted      uint64 // log index that we asked to forget up to
	saving         bool
	wantCheckpoint bool
	crossedByUs    bool // our own record made it due
	crossedAt      time.Time

	actions []action
	effects []fsm.Effects // since the driver last took them
}

// pendingCut is a zone with changes that are not yet in a publish boundary.
type pendingCut struct {
	since time.Time
	own   bool // the last change came from this replica
}

// unavailablePause is how long appends rest after the log refused one.
const unavailablePause = 20 * time.Millisecond

func newCore(cfg coreConfig, m *fsm.Machine) *core {
	return &core{cfg: cfg, machine: m, lastIndex: m.Index(), cuts: make(map[fsm.ZoneID]*pendingCut)}
}

// start asks for the first settle: a former life of this replica may have left an append on its way (C2).
func (c *core) start() { c.actions = append(c.actions, action{kind: actSettle}) }

// serve takes proposals, or with a reason stops taking them.
func (c *core) serve(ok bool, reason error) {
	switch {
	case c.halted != nil:
		ok, reason = false, c.halted
	case c.reloading && ok:
		return
	}
	c.serving, c.stopped = ok, reason
}

// propose queues a command and appends it if nothing else is under way.
func (c *core) propose(now time.Time, p *proposal) {
	c.enqueue(p)
	c.flush(now)
}

// enqueue queues a command. It answers at once with an error when the command can't be taken.
func (c *core) enqueue(p *proposal) {
	switch {
	case !c.serving:
		err := ErrStopped
		if c.stopped != nil {
			err = fmt.Errorf("%w: %w", ErrStopped, c.stopped)
		}
		p.done(fsm.Result{}, err)
		return
	case c.queueCount > 0 && (c.queueCount >= c.cfg.maxQueueCount || c.queueBytes+p.size > c.cfg.maxQueueBytes):
		p.done(fsm.Result{}, fmt.Errorf("%w: %d requests of %d octets wait", ErrOverloaded, c.queueCount, c.queueBytes))
		return
	}
	c.queue = append(c.queue, p)
	c.queueBytes += p.size
	c.queueCount++
}

// flush forms the next batch when none is in flight: while one append is under way the next batch gathers, so that one
// fsync on a quorum serves many clients and an idle replica adds no delay (group commit, D2).
func (c *core) flush(now time.Time) {
	if c.inflight != nil || len(c.queue) == 0 || c.epoch == 0 || now.Before(c.retryAt) {
		return
	}
	b := &batch{epoch: c.epoch, seq: c.seq}
	n := 0
	for _, p := range c.queue {
		if !p.deadline.IsZero() && now.After(p.deadline) {
			n++
			c.finish(p, fsm.Result{}, fmt.Errorf("%w: its deadline passed before the log took it", ErrNotApplied))
			continue
		}
		if len(b.props) > 0 && (b.bytes+p.size > c.cfg.maxBatchBytes || len(b.props) >= c.cfg.maxBatchCount) {
			break
		}
		n++
		b.props = append(b.props, p)
		b.bytes += p.size
	}
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil // a burst must not pin its memory
	}
	if len(b.props) == 0 {
		return
	}
	cmds := make([]fsm.Command, len(b.props))
	for i, p := range b.props {
		cmds[i] = p.cmd
	}
	b.data = fsm.EncodeEntry(fsm.Entry{
		Header:   fsm.Header{Replica: c.cfg.name, Epoch: b.epoch, Seq: b.seq, TimeMS: now.UnixMilli()},
		Commands: cmds,
	})
	c.inflight = b
	c.actions = append(c.actions, action{kind: actAppend, batch: b})
}

// finish answers a proposal and gives its share of the queue back.
func (c *core) finish(p *proposal, res fsm.Result, err error) {
	c.queueBytes -= p.size
	c.queueCount--
	p.done(res, err)
}

// appended reports the outcome of actAppend.
// An error is final for the replica.
func (c *core) appended(now time.Time, b *batch, err error) error {
	if c.inflight != b {
		return nil // the record was applied here before the append returned
	}
	switch {
	case err == nil:
		c.commit(b)
	case errors.Is(err, log.ErrNoSpace):
		c.fail(b, fmt.Errorf("%w: %w", ErrNoSpace, err))
	case errors.Is(err, log.ErrFenced):
		// Somebody else runs under this replica's name. Two of one name would each answer for the other's batches.
		c.fail(b, fmt.Errorf("%w: %w", ErrNotApplied, err))
		return err
	case errors.Is(err, log.ErrClosed), errors.Is(err, log.ErrTooLarge):
		c.fail(b, fmt.Errorf("%w: %w", ErrNotApplied, err))
	case errors.Is(err, log.ErrUnavailable):
		c.retryAt = now.Add(unavailablePause)
		c.requeue(b)
	default:
		// In doubt, or an error that promises nothing: only a fence can tell (C2).
		c.resettle()
	}
	c.flush(now)
	return nil
}

// commit moves the batch in flight to those that wait for their apply.
func (c *core) commit(b *batch) {
	c.inflight = nil
	c.seq = b.seq + 1
	c.committed = append(c.committed, b)
}

// fail answers a batch that is known not to be in the log.
func (c *core) fail(b *batch, err error) {
	c.inflight = nil
	for _, p := range b.props {
		c.finish(p, fsm.Result{}, err)
	}
}

// requeue puts a batch that is known not to be in the log back to the front of the queue, in order.
func (c *core) requeue(b *batch) {
	c.inflight = nil
	c.queue = append(append(make([]*proposal, 0, len(b.props)+len(c.queue)), b.props...), c.queue...)
}

func (c *core) resettle() {
	c.epoch = 0
	c.actions = append(c.actions, action{kind: actSettle})
}

// settled reports the outcome of actSettle. What was in flight is now known to be in the log, and is answered when its
// record is applied; or never to be, and goes in again under the new epoch if its time has not run out.
func (c *core) settled(now time.Time, s log.Settled) {
	c.epoch, c.seq = s.Epoch, s.LastSeq+1
	if b := c.inflight; b != nil {
		if s.Contains(b.seq) {
			c.inflight = nil
			c.committed = append(c.committed, b)
		} else {
			c.requeue(b)
		}
	}
	c.flush(now)
}

// records applies a run of the log. An error is final for this state machine: a gap, an unknown version, corruption.
func (c *core) records(now time.Time, recs []log.Record) error {
	for _, rec := range recs {
		if rec.Index <= c.lastIndex {
			continue // a follower that was resumed may repeat, never skip
		}
		eff, err := c.machine.Apply(rec.Index, rec.Data)
		if err != nil {
			return fmt.Errorf("apply log index %d of replica %s: %w", rec.Index, rec.Replica, err)
		}
		c.lastIndex = rec.Index
		c.effects = append(c.effects, eff)
		if rec.Replica == c.cfg.name {
			c.answer(rec, eff)
		}
		c.noteCuts(now, rec.Replica == c.cfg.name, eff)
		c.maintain(now, rec.Replica == c.cfg.name, len(rec.Data), eff)
	}
	c.flush(now)
	return nil
}

// answer resolves the proposals of an own record: the answer is what this replica's own state says (D5).
func (c *core) answer(rec log.Record, eff fsm.Effects) {
	if b := c.inflight; b != nil && b.epoch == rec.Epoch && b.seq == rec.Seq {
		c.commit(b) // applied before the append returned, or while it was being settled
	}
	if len(c.committed) == 0 || c.committed[0].epoch != rec.Epoch || c.committed[0].seq != rec.Seq {
		return // a record of a former life of this replica
	}
	b := c.committed[0]
	c.committed = c.committed[1:]
	for i, p := range b.props {
		c.finish(p, eff.Results[i], nil)
	}
}

// abandon answers everything that waits when the replica stops. What may be in the log is in doubt; the rest is not.
func (c *core) abandon(cause error) {
	c.serve(false, cause)
	for _, p := range c.queue {
		c.finish(p, fsm.Result{}, fmt.Errorf("%w: %w", ErrNotApplied, cause))
	}
	c.queue = nil
	open := c.committed
	if c.inflight != nil {
		open = append(open, c.inflight)
	}
	for _, b := range open {
		for _, p := range b.props {
			c.finish(p, fsm.Result{}, fmt.Errorf("%w: %w", ErrInDoubt, cause))
		}
	}
	c.inflight, c.committed = nil, nil
}

// idle says that nothing waits for an answer.
func (c *core) idle() bool { return c.queueCount == 0 }

// take hands out the actions and effects gathered since the last call.
func (c *core) take() ([]action, []fsm.Effects) {
	a, e := c.actions, c.effects
	c.actions, c.effects = nil, nil
	return a, e
}

package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// Replica runs a core: one goroutine, started by Run, owns it. All other methods are safe for concurrent use.
type Replica struct {
	cfg   Config
	log   *slog.Logger
	store *checkpointStore
	core  *core // owned by Run

	metrics *metrics

	machine atomic.Pointer[fsm.Machine]
	applied indexWait
	status  atomic.Pointer[Status]

	mu       sync.Mutex
	incoming []*proposal // not yet seen by Run
	taken    []*proposal // memory of the last ones that Run saw
	closed   error       // set when Run has ended: nobody will look at incoming again
	wake     chan struct{}

	calls    chan func() // run in the owner goroutine
	drainers []chan struct{}
	done     chan struct{} // closed when Run has ended
	waits    sync.Pool     // of *submission
}

// Status is what a replica says of itself.
type Status struct {
	Serving bool
	Reason  string // why it does not serve
	// Reloading: it waits for a peer's checkpoint, or catches up from one; it serves again by itself.
	Reloading bool
	// Halted: the replicas' states differ and none has a majority. A person has to look.
	Halted bool
	// Class is the kind of Reason, one of the Out… constants; "" while it serves.
	Class      string
	Applied    uint64 // log index
	Checkpoint uint64 // log index of the newest durable checkpoint
	// CheckpointError is why the last checkpoint could not be written, "" if it could.
	CheckpointError string
	Queue           int // proposals that wait or are in flight
	QueueBytes      int
	// Pace is the pause between two entries with updates because publishing is behind, Refused how many updates were refused
	// for the same reason.
	Pace    time.Duration
	Refused uint64
}

// Why a replica does not serve, for metrics.
const (
	OutNoMajority = "no_majority" // Halted: digests differ and none has a majority. A person has to look
	OutMinority   = "minority"    // its digest is not the majority's; it reloads
	OutBehind     = "behind"      // it is behind the log's beginning; it reloads
	OutCatchingUp = "catching_up" // it has reloaded and follows the log
	OutOwner      = "owner"       // its owner does not want it to serve: start, stop, a wrong clock
)

func outClasses() []string {
	return []string{OutNoMajority, OutMinority, OutBehind, OutCatchingUp, OutOwner}
}

// Open loads the newest checkpoint, if there is one. A damaged one is an error: see ErrCorruptCheckpoint.
func Open(cfg Config) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	store, err := openCheckpointStore(cfg.Dir, cfg.Logger)
	if err != nil {
		return nil, err
	}
	m, size, err := store.load()
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = fsm.New()
	}
	r := &Replica{
		cfg: cfg, log: cfg.Logger, store: store, core: newCore(cfg.core(), m),
		wake: make(chan struct{}, 1), calls: make(chan func()), done: make(chan struct{}),
	}
	r.core.upkeep.checkpoint, r.core.upkeep.lastSize = m.Index(), size
	r.waits.New = func() any { return newSubmission() }
	r.machine.Store(m)
	r.show()
	if r.metrics, err = newMetrics(cfg.Registerer, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Machine is the state machine. It is replaced when the replica reloads: ask again rather than keep it.
func (r *Replica) Machine() *fsm.Machine { return r.machine.Load() }

// Settings are the replicated keys, zones and policies as applied here.
func (r *Replica) Settings() *fsm.Settings { return r.machine.Load().Settings() }

// Status reports the replica's state without waiting.
func (r *Replica) Status() Status { return *r.status.Load() }

// Propose hands over a command and returns without waiting. done is called exactly once, with the result once this replica
// has applied the command, or with one of this package's errors; it must not block. Until then the command belongs to the
// replica. After deadline (zero: none) the command is not appended any more; an Update without a deadline of its own gets
// this one, so that the state machine holds it to it as well (C2) and answers Expired. Commands proposed one after another
// enter the log in that order.
func (r *Replica) Propose(cmd fsm.Command, deadline time.Time, done func(fsm.Result, error)) {
	r.propose(&proposal{cmd: cmd, deadline: deadline, done: done})
}

func (r *Replica) propose(p *proposal) {
	if u, ok := p.cmd.(*fsm.Update); ok && u.DeadlineMS == 0 && !p.deadline.IsZero() {
		u.DeadlineMS = p.deadline.UnixMilli()
	}
	p.size = fsm.CommandSize(p.cmd)
	r.mu.Lock()
	err := r.closed
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrStopped, err)
	case len(r.incoming) >= r.cfg.MaxQueueCount:
		err = fmt.Errorf("%w: %d requests wait for the replica to look at them", ErrOverloaded, len(r.incoming))
	default:
		r.incoming = append(r.incoming, p)
	}
	first := len(r.incoming) == 1
	r.mu.Unlock()
	if err != nil {
		p.done(fsm.Result{}, err)
	} else if first { // else whoever was first has woken Run
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// submission is a proposal whose proposer waits. It is reused once answered.
type submission struct {
	proposal
	answer chan answer
}

type answer struct {
	res fsm.Result
	err error
}

func newSubmission() *submission {
	s := &submission{answer: make(chan answer, 1)}
	s.done = func(res fsm.Result, err error) { s.answer <- answer{res, err} }
	return s
}

// Submit proposes a command and waits for its result. When ctx ends first the outcome is ErrInDoubt, and the command still
// belongs to the replica. See Propose.
func (r *Replica) Submit(ctx context.Context, cmd fsm.Command, deadline time.Time) (fsm.Result, error) {
	s := r.waits.Get().(*submission)
	s.cmd, s.deadline = cmd, deadline
	r.propose(&s.proposal)
	select {
	case a := <-s.answer:
		s.cmd = nil
		r.waits.Put(s)
		return a.res, a.err
	case <-ctx.Done(): // s is left to whoever answers it
		return fsm.Result{}, fmt.Errorf("%w: %w", ErrInDoubt, context.Cause(ctx))
	}
}

// Barrier waits until this replica has applied every entry acknowledged anywhere before the call, and returns the index
// it has at least applied (I3). It fails at once with ErrStopped while the state is not to be read: see Status.
func (r *Replica) Barrier(ctx context.Context) (uint64, error) {
	index, err := r.cfg.Log.Barrier(ctx)
	if err != nil {
		return 0, fmt.Errorf("read barrier: %w", err)
	}
	r.metrics.sawEnd(index)
	if err := r.WaitApplied(ctx, index); err != nil {
		return 0, fmt.Errorf("read barrier: %w", err)
	}
	return index, nil
}

// WaitApplied waits until the replica has applied a log index. It fails with ErrStopped while the state is not to be read.
func (r *Replica) WaitApplied(ctx context.Context, index uint64) error {
	if err := r.applied.wait(ctx, index); err != nil {
		return fmt.Errorf("wait for log index %d to be applied: %w", index, err)
	}
	return nil
}

// Flush asks for a publish boundary of a zone's pending changes, for a reader who waits. It does not wait itself.
func (r *Replica) Flush(ctx context.Context, id fsm.ZoneID) error {
	return r.call(ctx, func() { r.core.cut(r.cfg.Now(), id) })
}

// Serve takes proposals, or stops taking them for a reason. Those taken before are still answered. A replica that reloads
// or is halted serves only when that is over, and then by itself: see Status. While it does not serve, a replica's clock has no
// say in log time (C7), so an owner that finds the clock wrong calls Serve(false).
func (r *Replica) Serve(ctx context.Context, ok bool, reason error) error {
	return r.call(ctx, func() { r.core.serve(ok, reason) })
}

// Throttle slows updates down or refuses them, until it is called again: see LagWatch. What was taken before goes on.
func (r *Replica) Throttle(ctx context.Context, t Throttle) error {
	return r.call(ctx, func() { r.core.slow(r.cfg.Now(), t) })
}

// CutEach has each entry bring the publish boundary of its own changes, until it is called again. Usually a later entry brings
// it, so that one step of a zone has the changes of many; but a log that takes no more entries would never have it, and
// readers would wait for what can't be published. So the owner asks for it while the log is filling up.
func (r *Replica) CutEach(ctx context.Context, on bool) error {
	return r.call(ctx, func() { r.core.cutEach = on })
}

// Drain waits until no proposal waits for its answer. Call Serve(false) first, or new ones keep it waiting.
func (r *Replica) Drain(ctx context.Context) error {
	drained := make(chan struct{})
	if err := r.call(ctx, func() { r.drainers = append(r.drainers, drained) }); err != nil {
		return err
	}
	select {
	case <-drained:
		return nil
	case <-r.done:
		return nil // Run answered them all when it ended
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", context.Cause(ctx))
	}
}

// Checkpoint opens the newest durable checkpoint for a peer. The caller closes it. fs.ErrNotExist: there is none yet.
func (r *Replica) Checkpoint() (io.ReadCloser, uint64, error) { return r.store.open() }

// call runs f in the owner goroutine and waits for it.
func (r *Replica) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case r.calls <- func() { f(); close(ran) }:
	case <-r.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	<-ran
	return nil
}

// Run follows the log until ctx ends, which is no error, or the replica can't go on. It is called once.
func (r *Replica) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	w := newWorker(ctx, r)
	defer func() {
		cause := err
		if cause == nil {
			cause = errors.New("the replica stopped")
		}
		cancel()
		r.end(cause)
		close(r.done)
		w.wg.Wait()
	}()
	r.core.start(r.cfg.Now())
	w.follow(r.core.lastIndex)
	defer w.timer.Stop()
	for {
		w.perform()
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			r.takeIncoming()
		case f := <-r.calls:
			f()
		case f := <-w.events:
			err = f()
		case d := <-w.records:
			if d.life == w.life {
				start := time.Now()
				err = r.core.records(r.cfg.Now(), d.recs)
				r.metrics.ran(d.recs, time.Since(start))
			}
		case <-w.timer.C:
			w.timerAt = time.Time{}
			r.core.tick(r.cfg.Now())
		}
		if err != nil {
			w.perform() // what was applied before an error must reach the sink
			return err
		}
	}
}

// takeIncoming hands the waiting proposals to the core.
func (r *Replica) takeIncoming() {
	r.mu.Lock()
	in := r.incoming
	r.incoming, r.taken = r.taken[:0], nil
	r.mu.Unlock()
	now := r.cfg.Now()
	for _, p := range in {
		r.core.enqueue(now, p)
	}
	clear(in)
	r.mu.Lock()
	if cap(in) <= maxSpare {
		r.taken = in[:0]
	}
	r.mu.Unlock()
	r.core.flush(now)
}

// end answers everything that waits; Run has ended.
func (r *Replica) end(cause error) {
	r.mu.Lock()
	in := r.incoming
	r.incoming, r.closed = nil, cause
	r.mu.Unlock()
	for _, p := range in {
		p.done(fsm.Result{}, fmt.Errorf("%w: %w", ErrStopped, cause))
	}
	r.core.serve(false, cause)
	r.core.abandon(cause)
	r.show()
	r.applied.set(r.core.lastIndex, fmt.Errorf("%w: %w", ErrStopped, cause))
}

// show makes the core's state visible to other goroutines.
func (r *Replica) show() {
	c := r.core
	s := Status{
		Reloading: c.reload != nil || c.catchUp != nil, Halted: c.halt != nil,
		Applied: c.lastIndex, Checkpoint: c.upkeep.checkpoint, Queue: c.queueCount, QueueBytes: c.queueBytes,
		Pace: c.throttle.Pace, Refused: c.refused,
	}
	if err := c.outOfService(); err != nil {
		s.Reason, s.Class = err.Error(), c.class()
	} else {
		s.Serving = true
	}
	if c.upkeep.saveErr != nil {
		s.CheckpointError = c.upkeep.saveErr.Error()
	}
	if old := r.status.Load(); old == nil || *old != s {
		fresh := s // only a change costs memory
		r.status.Store(&fresh)
	}

	var blocked error
	if c.reload != nil || c.halt != nil { // while it catches up, readers wait as they always do
		blocked = fmt.Errorf("%w: %w", ErrStopped, c.blocked())
	}
	r.applied.set(c.lastIndex, blocked)
}

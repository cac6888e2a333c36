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
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// Replica runs a core: one goroutine, started by Run, owns it. All other methods are safe for concurrent use.
type Replica struct {
	cfg   Config
	log   *slog.Logger
	store *checkpointStore
	core  *core // owned by Run

	machine atomic.Pointer[fsm.Machine]
	applied indexWait

	mu       sync.Mutex
	incoming []*proposal // proposals not yet seen by Run
	closed   error       // set when Run has ended: nobody will look at incoming again
	wake     chan struct{}

	calls  chan func() // run in the owner goroutine
	done   chan struct{}
	status atomic.Pointer[Status]
}

// Status is what a replica says of itself.
type Status struct {
	Serving    bool
	Reason     string // why it does not serve
	Applied    uint64 // log index
	Checkpoint uint64 // log index of the newest durable checkpoint
	Queue      int    // proposals that wait or are in flight
	QueueBytes int
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
	m, err := store.load()
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
	r.machine.Store(m)
	r.applied.advance(m.Index())
	if m.Index() > 0 {
		r.core.checkpoint = m.Index()
	}
	r.publishStatus()
	return r, nil
}

// Machine is the state machine. It is replaced when the replica reloads: ask again rather than keep it.
func (r *Replica) Machine() *fsm.Machine { return r.machine.Load() }

// Settings are the replicated keys, zones and policies as applied here.
func (r *Replica) Settings() *fsm.Settings { return r.machine.Load().Settings() }

// Status reports the replica's state without waiting.
func (r *Replica) Status() Status { return *r.status.Load() }

// Propose hands over a command and returns without waiting. done is called exactly once, with the result once this replica
// has applied the command, or with one of this package's errors; it must not block. After deadline (zero: none) the command
// is not appended any more. Commands proposed one after another enter the log in that order.
func (r *Replica) Propose(cmd fsm.Command, deadline time.Time, done func(fsm.Result, error)) {
	p := &proposal{cmd: cmd, size: fsm.CommandSize(cmd), deadline: deadline, done: done}
	r.mu.Lock()
	if err := r.closed; err != nil {
		r.mu.Unlock()
		done(fsm.Result{}, fmt.Errorf("%w: %w", ErrStopped, err))
		return
	}
	r.incoming = append(r.incoming, p)
	r.mu.Unlock()
	r.kick()
}

// Submit proposes a command and waits for its result. When ctx ends first the outcome is ErrInDoubt.
func (r *Replica) Submit(ctx context.Context, cmd fsm.Command, deadline time.Time) (fsm.Result, error) {
	type answer struct {
		res fsm.Result
		err error
	}
	ch := make(chan answer, 1)
	r.Propose(cmd, deadline, func(res fsm.Result, err error) { ch <- answer{res, err} })
	select {
	case a := <-ch:
		return a.res, a.err
	case <-ctx.Done():
		return fsm.Result{}, fmt.Errorf("%w: %w", ErrInDoubt, context.Cause(ctx))
	}
}

func (r *Replica) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Barrier waits until this replica has applied every entry acknowledged anywhere before the call, and returns the index
// it has at least applied (I3).
func (r *Replica) Barrier(ctx context.Context) (uint64, error) {
	index, err := r.cfg.Log.Barrier(ctx)
	if err != nil {
		return 0, fmt.Errorf("read barrier: %w", err)
	}
	if err := r.applied.wait(ctx, index); err != nil {
		return 0, fmt.Errorf("read barrier: log index %d is not applied here yet: %w", index, err)
	}
	return index, nil
}

// WaitApplied waits until the replica has applied a log index.
func (r *Replica) WaitApplied(ctx context.Context, index uint64) error {
	return r.applied.wait(ctx, index)
}

// Flush asks for a publish boundary of a zone's pending changes, for a reader who waits. It does not wait itself.
func (r *Replica) Flush(ctx context.Context, id fsm.ZoneID) error {
	return r.call(ctx, func() { r.core.cut(r.cfg.Now(), id) })
}

// Serve takes proposals, or stops taking them for a reason. Those taken before are still answered.
func (r *Replica) Serve(ctx context.Context, ok bool, reason error) error {
	return r.call(ctx, func() { r.core.serve(ok, reason) })
}

// Drain waits until no proposal waits for its answer. Call Serve(false) first.
func (r *Replica) Drain(ctx context.Context) error {
	for {
		idle := false
		if err := r.call(ctx, func() { idle = r.core.idle() }); err != nil || idle {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
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

// tickEvery is the resolution of cuts and retries while any is due.
const tickEvery = 4 * time.Millisecond

// Run follows the log until ctx ends, which is no error, or the replica can't go on.
func (r *Replica) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &worker{r: r, ctx: ctx, events: make(chan func() error, 4), records: make(chan []log.Record)}
	defer func() {
		cause := err
		if cause == nil {
			cause = errors.New("the replica stopped")
		}
		cancel(cause)
		r.end(cause)
		w.wait()
		close(r.done)
	}()
	r.core.start()
	w.follow(r.core.lastIndex)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.perform()
		if r.core.dueSoon() {
			timer.Reset(tickEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			r.takeIncoming()
		case f := <-r.calls:
			f()
		case f := <-w.events:
			if err := f(); err != nil {
				return err
			}
		case recs := <-w.records:
			err := r.core.records(r.cfg.Now(), recs)
			w.perform() // what was applied before an error must reach the sinks
			w.next <- err == nil
			if err != nil {
				return err
			}
		case <-timer.C:
			r.core.tick(r.cfg.Now())
		}
	}
}

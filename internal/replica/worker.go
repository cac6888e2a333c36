package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// worker performs the core's actions for Run, and brings their outcomes back as events that Run calls. Only perform and
// the events touch the core; what the worker's goroutines do touches the log, the disk and the peers.
type worker struct {
	r       *Replica
	ctx     context.Context
	wg      sync.WaitGroup
	events  chan func() error
	records chan delivery

	life     uint64      // counts followers: what an earlier one still delivers is not for the present state
	unfollow func()      // ends the follower and waits for it
	timer    *time.Timer // fires at timerAt
	timerAt  time.Time   // zero: it does not run
}

// delivery is a run of the log on its way to Run.
type delivery struct {
	life uint64
	recs []log.Record
}

// minTimer keeps a tick from spinning when the clock that the core is told stands still.
const minTimer = 200 * time.Microsecond

func newWorker(ctx context.Context, r *Replica) *worker {
	w := &worker{r: r, ctx: ctx, events: make(chan func() error, 4), records: make(chan delivery, 1), timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// spawn runs f in a goroutine and hands the event that it returns to Run.
func (w *worker) spawn(f func() func() error) {
	w.wg.Go(func() {
		event := f()
		select {
		case w.events <- event:
		case <-w.ctx.Done():
		}
	})
}

// perform does what the core wants done: effects to the sink, actions to goroutines, the next tick to the timer.
func (w *worker) perform() {
	r := w.r
	actions, effects := r.core.take()
	if len(effects) > 0 {
		r.metrics.applied(effects, r.log)
		r.cfg.Sink.Applied(effects)
	}
	for _, a := range actions {
		w.do(a)
	}
	r.show() // readers wake after the sink knows: "applied" implies "handed to the publisher"
	if len(r.drainers) > 0 && r.core.idle() {
		for _, ch := range r.drainers {
			close(ch)
		}
		r.drainers = nil
	}
	w.arm()
}

// arm sets the timer to the core's next tick. An idle core has none.
func (w *worker) arm() {
	at, ok := w.r.core.nextTick()
	switch {
	case !ok && w.timerAt.IsZero():
	case !ok:
		w.timer.Stop()
		w.timerAt = time.Time{}
	case !at.Equal(w.timerAt) || w.timerAt.IsZero():
		w.timerAt = at
		w.timer.Reset(max(at.Sub(w.r.cfg.Now()), minTimer))
	}
}

func (w *worker) do(a action) {
	switch a.kind {
	case actAppend:
		w.append(a.batch)
	case actSettle:
		w.settle()
	case actSave:
		w.save(a)
	case actCompact:
		w.compact(a.index)
	case actReload:
		w.reload(a.want)
	case actBarrier:
		w.barrier()
	}
}

func (w *worker) append(b *batch) {
	commands, octets := len(b.props), len(b.data) // the core takes them back when the record arrives
	w.spawn(func() func() error {
		start := time.Now()
		index, err := w.r.cfg.Log.Append(w.ctx, b.data)
		w.r.metrics.appended(commands, octets, index, time.Since(start), err)
		return func() error {
			if err := w.r.core.appended(w.r.cfg.Now(), b, err); err != nil {
				return fmt.Errorf("append: %w", err)
			}
			return nil
		}
	})
}

// noSpacePause is how long a settle rests that the log has no space for.
const noSpacePause = 500 * time.Millisecond

func (w *worker) settle() {
	w.spawn(func() func() error {
		w.r.metrics.settles.Inc()
		s, err := w.r.cfg.Log.Settle(w.ctx)
		for errors.Is(err, log.ErrNoSpace) && w.ctx.Err() == nil {
			// Somebody has to make room. Until then this replica appends nothing, and follows the log for its readers.
			select {
			case <-time.After(noSpacePause):
				s, err = w.r.cfg.Log.Settle(w.ctx)
			case <-w.ctx.Done():
			}
		}
		return func() error {
			if err != nil {
				return fmt.Errorf("settle: %w", err) // it retries by itself: this is final
			}
			w.r.core.settled(w.r.cfg.Now(), s)
			return nil
		}
	})
}

func (w *worker) save(a action) {
	r, index := w.r, a.index
	w.spawn(func() func() error {
		start := time.Now()
		digest, size, err := r.store.save(index, a.snap.WriteCheckpoint)
		r.metrics.saved(time.Since(start), err)
		if err != nil {
			r.log.Error("checkpoint failed; the log keeps its tail until one succeeds", "index", index, "err", err)
		} else {
			r.log.Info("checkpoint", "index", index, "digest", digest, "bytes", size, "took", time.Since(start))
			if !a.keep {
				r.store.prune()
			}
		}
		return func() error {
			r.core.saved(r.cfg.Now(), index, digest, size, err)
			return nil
		}
	})
}

func (w *worker) compact(index uint64) {
	w.wg.Go(func() {
		if err := w.r.cfg.Log.Compact(w.ctx, index); err != nil && w.ctx.Err() == nil {
			w.r.log.Warn("the log could not be compacted; the next checkpoint tries again", "index", index, "err", err)
		}
	})
}

// barrier tells the core how far the log reaches.
func (w *worker) barrier() {
	w.spawn(func() func() error {
		index, err := w.r.cfg.Log.Barrier(w.ctx)
		return func() error {
			if err != nil {
				return fmt.Errorf("barrier after a reload: %w", err) // it retries by itself: this is final
			}
			w.r.core.barrier(w.r.cfg.Now(), index)
			return nil
		}
	})
}

// maxRun is how many records Run applies before it looks at anything else.
const maxRun = 64

// follow delivers the log from an index on to Run, until the worker's context ends or unfollow is called.
func (w *worker) follow(from uint64) {
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan struct{})
	w.unfollow = func() {
		stop()
		<-ended
	}
	w.life++
	life := w.life
	w.wg.Go(func() {
		err := w.r.cfg.Log.Follow(ctx, from, func(recs []log.Record) error {
			for len(recs) > 0 {
				n := min(len(recs), maxRun)
				select {
				case w.records <- delivery{life, recs[:n]}:
				case <-ctx.Done():
					return ctx.Err()
				}
				recs = recs[n:]
			}
			return nil
		})
		close(ended)
		if ctx.Err() != nil {
			return
		}
		select {
		case w.events <- func() error { return w.unfollowed(life, err) }:
		case <-w.ctx.Done():
		}
	})
}

// unfollowed decides what the end of Follow means.
func (w *worker) unfollowed(life uint64, err error) error {
	if life != w.life {
		return nil
	}
	var gone *log.CompactedError
	if errors.As(err, &gone) {
		w.r.log.Warn("the log has moved on while this replica was away; loading a peer's checkpoint",
			"have", gone.From, "compacted", gone.Compacted)
		w.r.core.behind(w.r.cfg.Now(), gone)
		return nil
	}
	return fmt.Errorf("follow the log: %w", err)
}

const (
	reloadPause    = 200 * time.Millisecond
	maxReloadPause = 5 * time.Second
)

// reload fetches a peer's checkpoint until one that will do is restored, stores it, and continues from there.
func (w *worker) reload(want reloadWant) {
	r, unfollow := w.r, w.unfollow
	w.life++ // what the follower has delivered already is void
	var own *fsm.Snapshot
	if want.diverged {
		own = r.core.machine.Snapshot()
		r.log.Error("this replica's state differs from the majority's; loading a peer's checkpoint", "index", want.atLeast)
	}
	w.spawn(func() func() error {
		unfollow()
		if want.diverged {
			r.keepEvidence(want.atLeast, own)
			own = nil // it pins the memory of the whole state
		}
		for pause := reloadPause; ; pause = min(2*pause, maxReloadPause) {
			got, err := r.fetch(w.ctx, want)
			if err == nil {
				return func() error { return w.reloaded(got) }
			}
			if w.ctx.Err() != nil {
				return func() error { return nil }
			}
			r.log.Warn("no checkpoint could be loaded from a peer; trying again", "at_least", want.atLeast, "in", pause, "err", err)
			select {
			case <-time.After(pause):
			case <-w.ctx.Done():
			}
		}
	})
}

func (w *worker) reloaded(got fetched) error {
	r := w.r
	r.core.reset(r.cfg.Now(), got.machine, got.digest, got.stored)
	r.machine.Store(got.machine)
	r.cfg.Sink.Reset(got.machine)
	r.metrics.reloads.Inc()
	r.log.Info("state loaded from a peer's checkpoint", "index", got.machine.Index(), "digest", got.digest)
	w.follow(got.machine.Index())
	return nil
}

// keepEvidence sets the checkpoints of a diverged state aside, before anything else can happen to them; if there is none, the
// state itself.
func (r *Replica) keepEvidence(from uint64, own *fsm.Snapshot) {
	kept, err := r.store.setAside(from)
	if err == nil && len(kept) == 0 {
		var path string
		if path, err = r.store.saveEvidence(own.Index(), own.WriteCheckpoint); err == nil {
			kept = append(kept, path)
		}
	}
	if err != nil {
		// Without evidence the cause is harder to find; without the reload the replica is of no use.
		r.log.Error("evidence of the divergence could not be kept", "err", err)
	}
	r.log.Error("evidence of the divergence is kept; remove it when the cause is known", "files", kept)
}

// fetched is a peer's state.
type fetched struct {
	machine *fsm.Machine
	digest  fsm.Digest
	stored  bool
}

// fetch restores the state from a peer's checkpoint and keeps it as our own.
func (r *Replica) fetch(ctx context.Context, want reloadWant) (fetched, error) {
	if r.cfg.Peers == nil {
		return fetched{}, errors.New("this replica has no peers to load a checkpoint from: restore a backup")
	}
	src, err := r.cfg.Peers.Checkpoint(ctx, want.atLeast)
	if err != nil {
		return fetched{}, err
	}
	defer src.Close()
	m, err := fsm.Restore(src)
	if err != nil {
		return fetched{}, fmt.Errorf("a peer's checkpoint: %w", err)
	}
	snap := m.Snapshot()
	digest, err := snap.WriteCheckpoint(io.Discard)
	if err == nil {
		err = want.accepts(m.Index(), digest)
	}
	if err != nil {
		return fetched{}, fmt.Errorf("a peer's checkpoint: %w", err)
	}
	_, _, err = r.store.save(m.Index(), snap.WriteCheckpoint)
	if err != nil {
		// The quorum has it durably; a full disk here is no reason to stay away.
		r.log.Error("a peer's checkpoint could not be stored; going on without", "index", m.Index(), "err", err)
	} else {
		r.store.prune()
	}
	return fetched{m, digest, err == nil}, nil
}

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
	events  chan func() error
	records chan []log.Record
	next    chan bool // Run's answer to records: applied, go on
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// spawn runs f in a goroutine and hands the event that it returns to Run.
func (w *worker) spawn(f func() func() error) {
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		event := f()
		select {
		case w.events <- event:
		case <-w.ctx.Done():
		}
	}()
}

func (w *worker) wait() { w.wg.Wait() }

// perform takes what the core wants done: effects to the sink, actions to goroutines.
func (w *worker) perform() {
	r := w.r
	actions, effects := r.core.take()
	if len(effects) > 0 {
		r.cfg.Sink.Applied(effects)
		// Readers wake after the sink knows: "applied" implies "handed to the publisher".
		r.applied.advance(r.core.lastIndex)
	}
	if len(effects) > 0 || len(actions) > 0 {
		r.publishStatus()
	}
	for _, a := range actions {
		w.do(a)
	}
}

func (w *worker) do(a action) {
	r := w.r
	switch a.kind {
	case actAppend:
		w.spawn(func() func() error {
			_, err := r.cfg.Log.Append(w.ctx, a.batch.data)
			return func() error { return r.core.appended(r.cfg.Now(), a.batch, err) }
		})
	case actSettle:
		w.spawn(func() func() error {
			s, err := r.cfg.Log.Settle(w.ctx)
			return func() error {
				if err != nil {
					return fmt.Errorf("settle: %w", err) // it retries by itself until its context ends
				}
				r.core.settled(r.cfg.Now(), s)
				return nil
			}
		})
	case actSave:
		w.spawn(func() func() error {
			start := time.Now()
			var size countingWriter
			digest, err := r.store.save(a.index, func(f io.Writer) (fsm.Digest, error) {
				size.w = f
				return a.snap.WriteCheckpoint(&size)
			})
			return func() error {
				if err != nil {
					r.log.Error("checkpoint failed; the log keeps its tail until one succeeds", "index", a.index, "err", err)
				} else {
					r.log.Info("checkpoint", "index", a.index, "digest", digest, "bytes", size.n, "took", time.Since(start))
				}
				r.core.saved(r.cfg.Now(), a.index, digest, size.n, err)
				return nil
			}
		})
	case actCompact:
		w.spawn(func() func() error {
			if err := r.cfg.Log.Compact(w.ctx, a.index); err != nil && w.ctx.Err() == nil {
				r.log.Warn("the log could not be compacted; the next checkpoint tries again", "index", a.index, "err", err)
			}
			return func() error { return nil }
		})
	case actReload:
		w.reload(a.index)
	}
}

// follow delivers the log from an index on to Run until the worker's context ends or unfollow is called.
func (w *worker) follow(from uint64) {
	ctx, stop := context.WithCancel(w.ctx)
	w.stop = stop
	next := make(chan bool)
	w.next = next
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		err := w.r.cfg.Log.Follow(ctx, from, func(recs []log.Record) error {
			select {
			case w.records <- recs:
			case <-ctx.Done():
				return ctx.Err()
			}
			if !<-next {
				return errStopFollowing
			}
			return nil
		})
		if ctx.Err() != nil || errors.Is(err, errStopFollowing) {
			return
		}
		select {
		case w.events <- func() error { return w.unfollowed(err) }:
		case <-w.ctx.Done():
		}
	}()
}

var errStopFollowing = errors.New("stop following")

// unfollowed decides what the end of Follow means.
func (w *worker) unfollowed(err error) error {
	var gone *log.CompactedError
	if errors.As(err, &gone) {
		w.r.log.Warn("the log has moved on while this replica was away; loading a peer's checkpoint",
			"have", gone.From, "compacted", gone.Compacted)
		w.r.core.lag(fmt.Errorf("behind the log's beginning (have index %d, log begins at %d)", gone.From, gone.Compacted), gone.Compacted)
		return nil
	}
	return fmt.Errorf("follow the log: %w", err)
}

const (
	reloadPause    = 200 * time.Millisecond
	maxReloadPause = 5 * time.Second
)

// reload fetches a peer's checkpoint until one at or above atLeast is restored, stores it, and continues from there.
func (w *worker) reload(atLeast uint64) {
	w.stop()
	r := w.r
	w.spawn(func() func() error {
		for pause := reloadPause; ; pause = min(2*pause, maxReloadPause) {
			m, err := r.fetch(w.ctx, atLeast)
			if err == nil {
				return func() error {
					r.core.reset(m)
					r.machine.Store(m)
					r.cfg.Sink.Reset(m)
					r.applied.advance(m.Index())
					r.publishStatus()
					r.log.Info("state loaded from a peer's checkpoint", "index", m.Index())
					w.follow(m.Index())
					return nil
				}
			}
			if w.ctx.Err() != nil {
				return func() error { return nil }
			}
			r.log.Warn("no checkpoint could be loaded from a peer; trying again", "at_least", atLeast, "in", pause, "err", err)
			select {
			case <-time.After(pause):
			case <-w.ctx.Done():
			}
		}
	})
}

// fetch restores the state from a peer's checkpoint and keeps it as our own.
func (r *Replica) fetch(ctx context.Context, atLeast uint64) (*fsm.Machine, error) {
	if r.cfg.Peers == nil {
		return nil, errors.New("this replica has no peers to load a checkpoint from: restore a backup")
	}
	src, err := r.cfg.Peers.Checkpoint(ctx, atLeast)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	m, err := fsm.Restore(src)
	if err != nil {
		return nil, fmt.Errorf("a peer's checkpoint: %w", err)
	}
	if m.Index() < atLeast {
		return nil, fmt.Errorf("a peer's checkpoint has index %d, at least %d is needed", m.Index(), atLeast)
	}
	if _, err := r.store.save(m.Index(), m.Snapshot().WriteCheckpoint); err != nil {
		return nil, err
	}
	return m, nil
}

func (r *Replica) takeIncoming() {
	r.mu.Lock()
	in := r.incoming
	r.incoming = nil
	r.mu.Unlock()
	now := r.cfg.Now()
	for _, p := range in {
		r.core.enqueue(p)
	}
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
	r.core.abandon(cause)
	r.publishStatus()
}

func (r *Replica) publishStatus() {
	s := Status{Serving: r.core.serving, Applied: r.core.lastIndex, Checkpoint: r.core.checkpoint,
		Queue: r.core.queueCount, QueueBytes: r.core.queueBytes}
	if r.core.stopped != nil {
		s.Reason = r.core.stopped.Error()
	}
	r.status.Store(&s)
}

type countingWriter struct {
	w io.Writer
	n int
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += n
	return n, err
}

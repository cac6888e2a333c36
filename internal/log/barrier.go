package log

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// barrier shares linearizable reads among concurrent callers. A caller joins the read that has not started yet: one
// that has started may have been answered before an append that the caller already knows of.
type barrier struct {
	read func(context.Context) (uint64, error)
	base context.Context // ends the reads

	mu      sync.Mutex
	running bool
	next    *sharedRead // collects callers while another read is running
}

type sharedRead struct {
	done    chan struct{}
	index   uint64
	err     error
	ctx     context.Context // ends when the last caller gives up
	cancel  context.CancelFunc
	callers int
}

func (b *barrier) wait(ctx context.Context) (uint64, error) {
	b.mu.Lock()
	r := b.next
	if r == nil {
		r = &sharedRead{done: make(chan struct{})}
		r.ctx, r.cancel = context.WithCancel(b.base)
		b.next = r
	}
	r.callers++
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()

	select {
	case <-r.done:
		return r.index, r.err
	case <-ctx.Done():
		b.mu.Lock()
		if r.callers--; r.callers == 0 {
			r.cancel()
			if b.next == r {
				b.next = nil // nobody waits for it any more; a later caller must not inherit its ended context
			}
		}
		b.mu.Unlock()
		return 0, ctx.Err()
	}
}

// run performs one read after another while callers wait.
func (b *barrier) run() {
	for {
		b.mu.Lock()
		r := b.next
		b.next = nil
		if r == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		r.index, r.err = b.read(r.ctx)
		r.cancel()
		close(r.done)
	}
}

// Barrier implements Log.
func (l *EtcdLog) Barrier(ctx context.Context) (uint64, error) {
	index, err := l.reads.wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("log: barrier: %w", err)
	}
	return index, nil
}

// readHead reads the index of the newest record, linearizably (etcd's ReadIndex: a quorum confirms the leader).
func (l *EtcdLog) readHead(ctx context.Context) (uint64, error) {
	var index uint64
	err := l.retry(ctx, "read the head", func(ctx context.Context) error {
		resp, err := l.cli.Get(ctx, l.keys.headKey())
		if err != nil {
			return err
		}
		index = headIndex(resp)
		return nil
	})
	return index, err
}

func headIndex(resp *clientv3.GetResponse) uint64 {
	if len(resp.Kvs) == 0 {
		return 0
	}
	return uint64(resp.Kvs[0].ModRevision)
}

package replica

import (
	"container/heap"
	"context"
	"sync"
)

// indexWait lets readers wait until the replica has applied a log index.
type indexWait struct {
	mu      sync.Mutex
	applied uint64
	blocked error // the state is not to be read, whatever its index
	waiters waiterHeap
}

type waiter struct {
	index uint64
	at    int // in the heap; -1: out of it
	err   error
	ch    chan struct{} // closed when it is out of the heap because its index was applied or err is set
}

// set tells the index that the state has, and whether it may be read. The index falls when a checkpoint replaces the state.
func (w *indexWait) set(index uint64, blocked error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied, w.blocked = index, blocked
	for len(w.waiters) > 0 && (blocked != nil || w.waiters[0].index <= index) {
		next := heap.Pop(&w.waiters).(*waiter)
		next.err = blocked
		close(next.ch)
	}
}

// wait blocks until index is applied, the state is not to be read, or ctx ends.
func (w *indexWait) wait(ctx context.Context, index uint64) error {
	w.mu.Lock()
	if w.blocked != nil || index <= w.applied {
		defer w.mu.Unlock()
		return w.blocked
	}
	me := &waiter{index: index, ch: make(chan struct{})}
	heap.Push(&w.waiters, me)
	w.mu.Unlock()
	select {
	case <-me.ch:
		return me.err
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if me.at >= 0 {
			heap.Remove(&w.waiters, me.at)
		}
		return context.Cause(ctx)
	}
}

type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.at = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.at = -1
	return w
}

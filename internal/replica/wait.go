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
	waiters waiterHeap
}

type waiter struct {
	index uint64
	ch    chan struct{}
}

// advance wakes every waiter at or below index.
func (w *indexWait) advance(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = max(w.applied, index)
	for len(w.waiters) > 0 && w.waiters[0].index <= w.applied {
		close(heap.Pop(&w.waiters).(*waiter).ch)
	}
}

// wait blocks until index is applied or ctx ends.
func (w *indexWait) wait(ctx context.Context, index uint64) error {
	w.mu.Lock()
	if index <= w.applied {
		w.mu.Unlock()
		return nil
	}
	me := &waiter{index: index, ch: make(chan struct{})}
	heap.Push(&w.waiters, me)
	w.mu.Unlock()
	select {
	case <-me.ch:
		return nil
	case <-ctx.Done():
		w.remove(me)
		return ctx.Err()
	}
}

func (w *indexWait) remove(me *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, x := range w.waiters {
		if x == me {
			heap.Remove(&w.waiters, i)
			return
		}
	}
}

type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waiterHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waiterHeap) Push(x any)        { *h = append(*h, x.(*waiter)) }
func (h *waiterHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

package secondary

import (
	"container/heap"
	"time"
)

// queue orders zones by when they are due.
type queue struct{ h byDue }

// set puts a zone in, or moves it.
func (q *queue) set(z *tracked, due time.Time) {
	z.due = due
	if z.index == 0 {
		heap.Push(&q.h, z)
		return
	}
	heap.Fix(&q.h, z.index-1)
}

// remove takes a zone out, if it is in.
func (q *queue) remove(z *tracked) {
	if z.index > 0 {
		heap.Remove(&q.h, z.index-1)
	}
}

// first is the zone that is due first; nil when there is none.
func (q *queue) first() *tracked {
	if len(q.h) == 0 {
		return nil
	}
	return q.h[0]
}

// byDue implements heap.Interface.
type byDue []*tracked

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (h *byDue) Push(x any) {
	z := x.(*tracked)
	*h = append(*h, z)
	z.index = len(*h)
}

// Pop implements heap.Interface.
func (h *byDue) Pop() any {
	old := *h
	z := old[len(old)-1]
	*h = old[:len(old)-1]
	z.index = 0
	return z
}

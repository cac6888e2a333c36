package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// sequencer numbers a replica's appends and keeps them in order. It holds what is the same for every implementation:
// which epoch and number an append carries, what becomes of the numbers after a failure, and that Settle and appends
// exclude each other.
type sequencer struct {
	slots    chan struct{} // one per append under way; Settle holds them all
	settling chan struct{} // held by Settle, one at a time
	closed   <-chan struct{}
	maxBytes int

	mu      sync.Mutex
	epoch   uint64  // 0: Settle is due
	claimed uint64  // the last epoch this process held; 0: none yet
	next    uint64  // sequence number of the next append
	newest  *flight // the append that carries next-1, while it is under way
}

// flight is an append under way.
type flight struct {
	done chan struct{} // closed when it has returned
	err  error         // valid after done
}

func newSequencer(maxInFlight, maxBytes int, closed <-chan struct{}) *sequencer {
	return &sequencer{
		slots:    make(chan struct{}, maxInFlight),
		settling: make(chan struct{}, 1),
		closed:   closed,
		maxBytes: maxBytes,
	}
}

// Next implements Log.
func (s *sequencer) Next() (epoch, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.next
}

// attempt sends one record. before is the append ahead of it if that was still under way; it may be overtaken. An error
// that wraps ErrInDoubt means that the record may be in the log, any other one that it never will be.
type attempt func(ctx context.Context, before *flight, epoch, seq uint64) (index uint64, err error)

// append numbers a record of size octets and has it sent.
func (s *sequencer) append(ctx context.Context, size int, send attempt) (uint64, error) {
	if size > s.maxBytes {
		return 0, fmt.Errorf("log: append of %d octets, limit %d: %w", size, s.maxBytes, ErrTooLarge)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return 0, fmt.Errorf("log: append: waiting for the appends before it: %w", ctx.Err())
	case <-s.closed:
		return 0, fmt.Errorf("log: append: %w", ErrClosed)
	}
	select {
	case <-s.closed: // a free slot and Close may come together
		return 0, fmt.Errorf("log: append: %w", ErrClosed)
	default:
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("log: append: %w", err)
	}

	s.mu.Lock()
	if s.epoch == 0 {
		s.mu.Unlock()
		return 0, fmt.Errorf("log: append: %w: call Settle first", ErrUnsettled)
	}
	epoch, seq, before := s.epoch, s.next, s.newest
	f := &flight{done: make(chan struct{})}
	s.newest = f
	s.next++
	s.mu.Unlock()

	index, err := send(ctx, before, epoch, seq)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == f {
		s.newest = nil
	}
	if err != nil {
		err = fmt.Errorf("log: append %d of epoch %d: %w", seq, epoch, err)
		if s.next == seq+1 && keepsNumber(err) {
			s.next = seq // nothing was appended and nothing was numbered since: the number is free again
		} else {
			s.epoch = 0 // numbers after a hole can't enter the log: Settle counts anew
		}
	}
	f.err = err
	close(f.done)
	return index, err
}

// keepsNumber says whether an append that failed with err leaves the epoch usable.
func keepsNumber(err error) bool {
	return !errors.Is(err, ErrInDoubt) && !errors.Is(err, ErrFenced) && !errors.Is(err, ErrUnsettled)
}

// raise raises the epoch. claimed is the epoch that this process held last, 0 for none.
type raise func(ctx context.Context, claimed uint64) (replicaState, error)

// replicaState is what the log knows of one replica.
type replicaState struct {
	process     string // who holds the epoch
	epoch       uint64
	seq, index  uint64 // of the newest record; 0: none
	recordEpoch uint64 // of the newest record, when its value was read
}

// settle waits for the appends under way, has the epoch raised, and counts anew from what the log holds.
func (s *sequencer) settle(ctx context.Context, fence raise) (Settled, error) {
	select {
	case s.settling <- struct{}{}:
		defer func() { <-s.settling }()
	case <-ctx.Done():
		return Settled{}, fmt.Errorf("log: settle: another one is under way: %w", ctx.Err())
	}
	s.mu.Lock()
	s.epoch = 0 // appends that wait for a slot fail now instead of going first
	claimed := s.claimed
	s.mu.Unlock()
	taken := 0
	defer func() {
		for range taken {
			<-s.slots
		}
	}()
	for range cap(s.slots) {
		select {
		case s.slots <- struct{}{}:
			taken++
		case <-ctx.Done():
			return Settled{}, fmt.Errorf("log: settle: waiting for appends to return: %w", ctx.Err())
		}
	}
	state, err := fence(ctx, claimed)
	if err != nil {
		return Settled{}, fmt.Errorf("log: settle: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.claimed, s.next, s.newest = state.epoch, state.epoch, state.seq+1, nil
	return Settled{Epoch: state.epoch, LastSeq: state.seq, LastIndex: state.index}, nil
}

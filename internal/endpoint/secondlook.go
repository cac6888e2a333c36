package endpoint

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// secondLook shares refreshes of the settings among those who are about to
// refuse something (C6). A caller joins only a refresh that begins after its
// call, because an earlier one proves nothing for it. Refreshes begin at least
// interval apart, so that garbage can't turn into load on the log.
type secondLook struct {
	refresh  func(context.Context) error
	interval time.Duration
	timeout  time.Duration

	mu      sync.Mutex
	next    *lookRound // not begun yet; nil when nobody waits
	running bool
}

type lookRound struct {
	done chan struct{}
	err  error // set before done is closed
}

// wait returns nil once settings are as new as a barrier that began after the
// call.
func (l *secondLook) wait(ctx context.Context) error {
	l.mu.Lock()
	if l.next == nil {
		l.next = &lookRound{done: make(chan struct{})}
	}
	round := l.next
	if !l.running {
		l.running = true
		go l.run(ctx)
	}
	l.mu.Unlock()
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return fmt.Errorf("endpoint: second look at keys and zones: %w", context.Cause(ctx))
	}
}

// run does rounds until nobody waits.
func (l *secondLook) run(ctx context.Context) {
	for {
		l.mu.Lock()
		round := l.next
		l.next = nil
		if round == nil {
			l.running = false
		}
		l.mu.Unlock()
		if round == nil {
			return
		}
		pause := time.NewTimer(l.interval)
		attempt, cancel := context.WithTimeout(ctx, l.timeout)
		if err := l.refresh(attempt); err != nil {
			round.err = fmt.Errorf("endpoint: second look at keys and zones: %w", err)
		}
		cancel()
		close(round.done)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

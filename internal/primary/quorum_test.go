package primary

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// TestQuorumLost: a primary is not ready after two seconds without a quorum, not during an election, and ready at the first
// probe that succeeds.
func TestQuorumLost(t *testing.T) {
	p := &Primary{log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	last := now
	for _, step := range []struct {
		after time.Duration
		err   error
		lost  bool
	}{
		{500 * time.Millisecond, nil, false},
		{time.Second, errors.New("no leader"), false},
		{900 * time.Millisecond, errors.New("no leader"), false},
		{time.Second, errors.New("no leader"), true},
		{time.Second, errors.New("no leader"), true},
		{time.Second, nil, false},
		{1900 * time.Millisecond, errors.New("no leader"), false},
	} {
		now = now.Add(step.after)
		p.noteQuorum(step.err, &last, now)
		if got := p.quorum.Load() != nil; got != step.lost {
			t.Fatalf("after a probe with %v: lost %v, want %v", step.err, got, step.lost)
		}
	}
}

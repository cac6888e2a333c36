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
	q := quorumWatch{last: now}
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
		{10 * time.Second, errors.New("no leader"), false}, // the process was stopped
		{400 * time.Millisecond, errors.New("no leader"), false},
		{time.Second, errors.New("no leader"), true},
	} {
		now = now.Add(step.after)
		p.noteQuorum(q.probed(step.err, now))
		if got := p.quorum.Load() != nil; got != step.lost {
			t.Fatalf("after a probe with %v: lost %v, want %v", step.err, got, step.lost)
		}
	}
}

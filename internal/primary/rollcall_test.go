package primary

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// fakeServer counts what it is asked.
type fakeServer struct {
	ready, copy func(ctx context.Context) error

	mu     sync.Mutex
	calls  int
	copies int
}

func (f *fakeServer) Ready(ctx context.Context) error {
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	return f.ready(ctx)
}

func (f *fakeServer) Copy(ctx context.Context, _ string) (*adminapi.VerifyCopy, error) {
	f.mu.Lock()
	f.copies++
	f.mu.Unlock()
	if err := f.copy(ctx); err != nil {
		return nil, err
	}
	return &adminapi.VerifyCopy{Digest: "aa"}, nil
}

func TestRollCall(t *testing.T) {
	fine := func(context.Context) error { return nil }
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	refuses := func(context.Context) error {
		return &adminapi.Error{Code: adminapi.CodeUnavailable, Message: "not ready"}
	}
	for name, c := range map[string]struct {
		ready, copy func(ctx context.Context) error
		copies      int // that it is asked for
		away        bool
	}{
		"it answers":                    {fine, fine, 100, false},
		"it is not ready":               {refuses, fine, 100, false},
		"it is ready and has no copy":   {fine, refuses, 100, false},
		"it never answers":              {silent, silent, 0, true},
		"it goes away after a question": {fine, silent, 4, true}, // at most those that are under way together
	} {
		t.Run(name, func(t *testing.T) {
			r := newRollCall()
			r.presence, r.copy = 50*time.Millisecond, 50*time.Millisecond
			s := &fakeServer{ready: c.ready, copy: c.copy}
			var wg sync.WaitGroup
			sem := make(chan struct{}, 4)
			began := time.Now()
			for range 100 {
				sem <- struct{}{}
				wg.Go(func() {
					defer func() { <-sem }()
					_, err := r.copyFrom(t.Context(), "s", s, "a.test.")
					if c.away && err == nil {
						t.Error("a copy came from one that is away")
					}
				})
			}
			wg.Wait()
			if s.calls != 1 {
				t.Errorf("it was called %d times", s.calls)
			}
			if s.copies > c.copies || !c.away && s.copies != c.copies {
				t.Errorf("it was asked for %d copies, want %d", s.copies, c.copies)
			}
			if r.away("s") != c.away || r.away("another") {
				t.Errorf("away: %v", r.away("s"))
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("that took %v", took)
			}
			if c.away {
				if _, err := r.copyFrom(t.Context(), "s", s, "a.test."); err == nil || !strings.Contains(err.Error(), "not asked again") || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the reason: %v", err)
				}
			}
		})
	}
	t.Run("it is not connected", func(t *testing.T) {
		r := newRollCall()
		s := &fakeServer{ready: fine, copy: fine}
		missing := errors.New("it is not connected")
		r.missing("s", missing)
		if _, err := r.copyFrom(t.Context(), "s", s, "a.test."); !errors.Is(err, missing) || !r.away("s") || s.calls+s.copies != 0 {
			t.Errorf("%v, away: %v, asked %d times", err, r.away("s"), s.calls+s.copies)
		}
	})
	t.Run("who asks goes away", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := newRollCall()
		s := &fakeServer{ready: silent, copy: silent}
		if _, err := r.copyFrom(ctx, "s", s, "a.test."); err == nil || r.away("s") {
			t.Errorf("%v, away: %v", err, r.away("s"))
		}
	})
}

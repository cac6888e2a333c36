package backends

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Primary is one primary.
type Primary struct {
	Name string // unique in a list
	Addr netip.Addr
}

// Source says where the primaries are.
type Source interface {
	// Run calls set with the whole list, sorted by name, at first and whenever it changes: from one goroutine, and never with an empty
	// list. It returns nil when ctx is done; an error is a mistake in the configuration, and comes before the first list.
	Run(ctx context.Context, set func([]Primary)) error
	// Stale says since when the list could not be confirmed, and why. With the zero time it is current. It may be called at any time.
	Stale() (since time.Time, reason error)
}

// Static is a list that never changes. Run fails when it is empty, or has a name twice.
func Static(list []Primary) Source { return static(sorted(list)) }

type static []Primary

func (s static) Run(ctx context.Context, set func([]Primary)) error {
	if err := s.check(); err != nil {
		return err
	}
	set(slices.Clone(s))
	<-ctx.Done()
	return nil
}

func (s static) check() error {
	if len(s) == 0 {
		return errors.New("backends: the list of primaries is empty; name at least one")
	}
	for i, p := range s {
		if p.Name == "" || !p.Addr.IsValid() {
			return fmt.Errorf("backends: primary %q at %q: give each a name and an address", p.Name, p.Addr)
		}
		if i > 0 && s[i-1].Name == p.Name {
			return fmt.Errorf("backends: primary %q is in the list twice; give each a name of its own", p.Name)
		}
	}
	return nil
}

func (static) Stale() (time.Time, error) { return time.Time{}, nil }

// Reread is a list that a person changes while it is in use: read gives it, and is called again and again. Run fails when the first
// list is no list; later ones that are none are as good as no answer.
func Reread(read func() ([]Primary, error), every time.Duration, log *slog.Logger) Source {
	return &reread{keeper: keeper{log: log}, read: read, every: every}
}

type reread struct {
	keeper
	read  func() ([]Primary, error)
	every time.Duration
}

func (r *reread) Run(ctx context.Context, set func([]Primary)) error {
	for first := true; first || pause(ctx, r.every); first = false {
		list, err := r.read()
		if err == nil {
			err = static(sorted(list)).check()
		}
		switch {
		case err == nil:
			r.offer(list, set)
		case first:
			return err
		default:
			r.fail(err)
		}
	}
	return nil
}

func sorted(list []Primary) []Primary {
	return slices.SortedFunc(slices.Values(list), func(a, b Primary) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr)) })
}

// keeper holds the last list that was not empty.
type keeper struct {
	log *slog.Logger

	mu     sync.Mutex
	list   []Primary
	since  time.Time
	reason error
}

var errEmpty = errors.New("the list of primaries is empty")

// offer is told a list, which it hands on when it is news.
func (k *keeper) offer(list []Primary, set func([]Primary)) {
	if len(list) == 0 {
		k.fail(errEmpty)
		return
	}
	list = sorted(list)
	k.mu.Lock()
	stale, news := !k.since.IsZero(), !slices.Equal(list, k.list)
	k.list, k.since, k.reason = list, time.Time{}, nil
	k.mu.Unlock()
	if stale {
		k.log.Info("the list of primaries is current again", "primaries", len(list))
	}
	if news {
		k.log.Info("the primaries are", "primaries", list)
		set(slices.Clone(list))
	}
}

// fail notes that the list could not be confirmed.
func (k *keeper) fail(err error) {
	k.mu.Lock()
	first, n := k.since.IsZero(), len(k.list)
	if first {
		k.since = time.Now()
	}
	k.reason = err
	k.mu.Unlock()
	if first {
		k.log.Warn("the list of primaries can't be confirmed; the last one stays in use", "err", err, "primaries", n)
	}
}

// Stale implements Source.
func (k *keeper) Stale() (time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.since, k.reason
}

// pause waits, and reports whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

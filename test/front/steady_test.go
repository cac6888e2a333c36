package front

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"
)

// noPreemption: the address stays where it is when a node comes back that has had it, and while the primaries' quorum goes and
// comes for all fronts alike.
func noPreemption(t *testing.T, s *site) {
	back := func() error {
		from := s.holder()
		n := s.nodes[from]
		n.proc.Stop()
		to := s.holder()
		before := s.masters(from)
		n.start()
		s.until(patient, from+" is as good a node as the others", func(ctx context.Context) error {
			if err := n.isReady(ctx); err != nil {
				return err
			}
			return n.worth(ctx, 2)
		})
		t.Logf("%s, which had the address, is back; %s has it", from, to)
		return s.stays(to, before, 2*time.Second)
	}
	// Two after one another: should one node be preferred, it is one of those that come back, or takes the address from one.
	for range 2 {
		s.unmoved("a node comes back", back)
		s.settled()
	}
	stopped := primaryNames()[1:]
	s.unmoved("the quorum goes and comes", func() error {
		holder, before := s.holder(), s.masters("")
		for _, p := range stopped {
			s.c.Signal(p, syscall.SIGSTOP)
		}
		s.allWorth(1)
		err := s.stays(holder, before, time.Second)
		for _, p := range stopped {
			s.c.Signal(p, syscall.SIGCONT)
		}
		s.allWorth(2)
		return errors.Join(err, s.stays(holder, before, time.Second))
	})
	s.settled()
}

// unmoved runs what must move no address. On a machine without time for keepalived an address moves by itself, so that is tried
// again; what moves it every time is no accident.
func (s *site) unmoved(what string, try func() error) {
	s.t.Helper()
	var moves []error
	for range 4 {
		err := try()
		if err == nil {
			s.t.Logf("%s: the address stayed; it had moved in %d attempts before: %v", what, len(moves), moves)
			return
		}
		moves = append(moves, err)
		s.settled()
	}
	s.t.Fatalf("%s: the address moved each time: %v", what, errors.Join(moves...))
}

// stays watches for some time that one node has the address, and that none has taken it since there were so many masters.
func (s *site) stays(holder string, masters map[string]float64, length time.Duration) error {
	s.t.Helper()
	for end := time.Now().Add(length); time.Now().Before(end); s.c.Pause(50 * time.Millisecond) {
		if l := s.holders(); !slices.Equal(l, []string{holder}) {
			return fmt.Errorf("the address is at %v, was at %s", l, holder)
		}
	}
	if now := s.masters(""); !maps.Equal(now, masters) {
		return fmt.Errorf("nodes have become master so often: %v, before %v", now, masters)
	}
	return nil
}

// masters counts how often each node has taken the address since it was started; fresh is one that will be.
func (s *site) masters(fresh string) map[string]float64 {
	s.t.Helper()
	out := map[string]float64{}
	for _, name := range nodeNames() {
		if name == fresh {
			out[name] = 0
			continue
		}
		out[name] = s.nodes[name].metrics()[`zonekeeper_front_vip_transitions_total{to="master"}`]
	}
	return out
}

// worth fails while a node's score is another.
func (n *node) worth(ctx context.Context, score int) error {
	st, err := n.status(ctx)
	if err == nil && st.Score != score {
		err = fmt.Errorf("the score of %s is %d", n.Name, st.Score)
	}
	return err
}

// allWorth waits until all nodes have a score.
func (s *site) allWorth(score int) {
	s.t.Helper()
	for _, name := range nodeNames() {
		s.until(patient, fmt.Sprintf("the score of %s is %d", name, score), func(ctx context.Context) error {
			return s.nodes[name].worth(ctx, score)
		})
	}
}

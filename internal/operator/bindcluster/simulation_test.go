package bindcluster

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// world is as much of Kubernetes and of the log as the steps meet: a StatefulSet with a partition that starts pods in parallel, volumes
// that outlive pods, and members that join with an empty disk and are of no use once they were removed.
type world struct {
	wanted   int
	state    resources.State
	built    int // the newest template that users want
	applied  int // the one in the StatefulSet, with State.Members pods
	revision map[int]int
	starting map[int]int  // ticks until the pod is up
	disk     map[int]bool // the volume has a member's data
	expelled map[int]bool // that member was removed
	members  map[string]bool
	learner  map[string]bool
	peers    int // what pods' configurations say
}

func newWorld(n int) *world {
	w := &world{wanted: n, state: resources.NewState(int32(n), "t"), revision: map[int]int{}, starting: map[int]int{}, disk: map[int]bool{},
		expelled: map[int]bool{}, members: map[string]bool{}, learner: map[string]bool{}}
	return w
}

func (w *world) up(i int) bool {
	_, exists := w.revision[i]
	return exists && w.starting[i] == 0 && !w.expelled[i]
}

func (w *world) voters() (all, live int) {
	for i := range 5 {
		if n := resources.Member(i); w.members[n] && !w.learner[n] {
			all++
			if w.up(i) {
				live++
			}
		}
	}
	return all, live
}

func (w *world) quorum() bool {
	all, live := w.voters()
	return all > 0 && live > all/2
}

// tick is what Kubernetes and the log do by themselves.
func (w *world) tick() {
	for i := range 5 {
		_, exists := w.revision[i]
		switch {
		case i >= w.state.Members:
			delete(w.revision, i)
		case !exists:
			w.revision[i], w.starting[i] = w.applied, 2 // close enough: below the partition it would be the old one
		case w.starting[i] > 0:
			w.starting[i]--
		}
	}
	for i := w.state.Members - 1; i >= w.state.Partition; i-- { // one at a time, the highest first
		if w.revision[i] != w.applied {
			w.revision[i], w.starting[i] = w.applied, 2
			break
		}
		if w.starting[i] > 0 {
			break
		}
	}
	if !w.state.Formed {
		for i := range w.state.Initial {
			if !w.up(i) {
				return
			}
		}
		for i := range w.state.Initial {
			w.members[resources.Member(i)], w.disk[i] = true, true
		}
		return
	}
	for i := range 5 {
		n := resources.Member(i)
		if !w.up(i) || !w.quorum() {
			continue
		}
		switch {
		case w.learner[n]:
			delete(w.learner, n)
		case !w.disk[i] && len(w.learner) == 0: // joins, in the place of an earlier one of its name
			w.members[n], w.learner[n], w.disk[i] = true, true, true
		}
	}
}

func (w *world) observe() Observed {
	o := Observed{Wanted: w.wanted, State: w.state, Changed: w.built != w.applied || w.peers != w.state.Peers}
	for i := range w.state.Members {
		o.Updated = append(o.Updated, w.revision[i] == w.applied && w.up(i) || w.revision[i] == w.applied && w.starting[i] > 0)
	}
	for i := range w.state.Members {
		var r *adminapi.ReplicaStatus
		if w.up(i) {
			r = &adminapi.ReplicaStatus{Name: resources.Member(i), Ready: w.disk[i] && w.quorum()}
		}
		o.Replicas = append(o.Replicas, r)
	}
	if !w.quorum() {
		return o
	}
	for i := range 5 {
		if n := resources.Member(i); w.members[n] {
			o.Members = append(o.Members, adminapi.Member{Name: n, Learner: w.learner[n]})
		}
	}
	return o
}

// settled: the StatefulSet has nothing to replace.
func (w *world) settled() bool {
	for i := w.state.Partition; i < w.state.Members; i++ {
		if w.revision[i] != w.applied {
			return false
		}
	}
	return true
}

// removable is what a primary checks before it removes a member: a majority of those that remain must be up.
func (w *world) removable(name string) bool {
	all, live := w.voters()
	for i := range 5 {
		if resources.Member(i) == name && !w.learner[name] {
			all--
			if w.up(i) {
				live--
			}
		}
	}
	return live > all/2
}

// carry does a step, as a reconciler would that is killed after `parts` parts of it.
func (w *world) carry(s Step, parts int) {
	if s.DeleteClaim >= 0 && parts > 0 {
		delete(w.revision, s.DeleteClaim)
		delete(w.disk, s.DeleteClaim)
		delete(w.expelled, s.DeleteClaim)
	}
	if parts > 1 {
		w.state = s.State
		if w.built != w.applied || w.peers != w.state.Peers {
			w.built = max(w.built, w.applied) + 1 // another number of peers is another template too
			w.applied, w.peers = w.built, w.state.Peers
		}
	}
	if s.Remove != "" && parts > 2 && w.members[s.Remove] && w.removable(s.Remove) {
		delete(w.members, s.Remove)
		delete(w.learner, s.Remove)
		for i := range 5 {
			if resources.Member(i) == s.Remove {
				w.expelled[i] = w.disk[i]
			}
		}
	}
}

// TestSimulation: whatever users wish for in the middle of anything, and whenever the operator is killed, a majority is up at every
// moment, who counts is a member, and in the end the cluster is what was wished for last.
func TestSimulation(t *testing.T) {
	for seed := range uint64(400) {
		if err := simulate(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func simulate(seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a simulation
	sizes := []int{1, 3, 5}
	w := newWorld(sizes[random.IntN(3)])
	w.peers = w.state.Peers
	const wishes, ticks = 120, 600
	var last Step
	for n := range ticks {
		if n < wishes && random.IntN(12) == 0 {
			w.wanted = sizes[random.IntN(3)]
		}
		if n < wishes && random.IntN(15) == 0 {
			w.built++
		}
		// A pod dies by itself, or loses its volume with its node, now and then: one at a time, and not while another one is away.
		if all, live := w.voters(); n < wishes && w.state.Formed && all == live && live >= 3 && w.settled() && random.IntN(8) == 0 {
			if i := random.IntN(w.state.Members); w.up(i) && w.members[resources.Member(i)] {
				w.starting[i] = 1 + random.IntN(4)
				if random.IntN(3) == 0 && !w.state.Leaving {
					delete(w.disk, i)
				}
			}
		}
		w.tick()
		before, up := w.voters()
		if before >= 3 && up <= before/2 {
			return fmt.Errorf("tick %d: %d of %d voters are up: %+v", n, up, before, w.state)
		}
		last = Decide(w.observe())
		if last.Verify {
			o := w.observe()
			o.Verified = true
			last = Decide(o)
		}
		parts := 3
		if n < wishes && random.IntN(4) == 0 {
			parts = random.IntN(3)
		}
		w.carry(last, parts)
		for i := range w.state.Peers {
			if w.state.Formed && !w.members[resources.Member(i)] {
				return fmt.Errorf("tick %d: %s counts and is no member: %+v", n, resources.Member(i), w.state)
			}
		}
		if after, live := w.voters(); after < before && live <= after/2 {
			return fmt.Errorf("tick %d: after %q %d of %d voters are up", n, last.Message, live, after)
		}
	}
	if !last.Done || w.state.Members != w.wanted || w.state.Peers != w.wanted || !w.quorum() || w.built != w.applied {
		return fmt.Errorf("not done: %+v, wanted %d, template %d of %d, %+v", last, w.wanted, w.applied, w.built, w.revision)
	}
	for i := range w.wanted {
		if w.revision[i] != w.applied {
			return fmt.Errorf("%s has template %d, not %d", resources.Member(i), w.revision[i], w.applied)
		}
	}
	if all, _ := w.voters(); all != w.wanted {
		return fmt.Errorf("%d voters, wanted %d", all, w.wanted)
	}
	return nil
}

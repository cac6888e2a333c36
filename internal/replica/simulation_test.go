package replica

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/log"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulations with this seed only, and print all that happens")
	simSeeds = flag.Int("sim.seeds", 2400, "how many seeds the simulation runs")
)

// scenarioOf is what the simulation does with a seed: every fault, alone and together, on one, three and five replicas.
func scenarioOf(seed uint64) scenario {
	r := rand.New(rand.NewPCG(seed, 1))
	yes := func() bool { return r.IntN(2) == 0 }
	sc := scenario{
		members: []int{1, 3, 3, 5}[r.IntN(4)], steps: 600 + r.IntN(900),
		crashes: yes(), cuts: yes(), skew: yes(), full: r.IntN(4) == 0, burst: r.IntN(4) == 0, jumps: yes(), disks: yes(),
	}
	if r.IntN(4) > 0 {
		sc.faults = log.Rates{Lost: r.IntN(100), AckLost: r.IntN(100), Late: r.IntN(150), Doubled: r.IntN(100), Refused: r.IntN(100)}
	}
	return sc
}

// TestSimulation runs thousands of seeded histories and checks each against the log and a model: equal states at equal
// indexes, every acknowledged update exactly once and no refused one, linearizable reads, truthful answers, no timer left.
func TestSimulation(t *testing.T) {
	var stats simStats
	forSeeds(t, *simSeeds, scenarioOf, func(s *sim) {
		s.run()
		stats.add(s)
	})
	if *simSeed == 0 {
		stats.log(t)
	}
}

// forSeeds makes a simulation of each seed from 1 to n, or of -sim.seed alone, has them run on all processors, and fails
// with the lowest seed that failed.
func forSeeds(t *testing.T, n int, sc func(seed uint64) scenario, run func(*sim)) {
	t.Helper()
	make := func(seed uint64) *sim {
		s := newSim(seed, sc(seed))
		s.test = t.Name()
		return s
	}
	if *simSeed != 0 {
		s := make(*simSeed)
		run(s)
		t.Logf("%v\n%s", s.scenario, strings.Join(s.trace, "\n"))
		if s.failure != nil {
			t.Error(s.failure)
		}
		return
	}
	var next atomic.Uint64
	var mu sync.Mutex
	var failed *sim
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1)
				mu.Lock()
				stop := failed != nil
				mu.Unlock()
				if seed > uint64(n) || stop {
					return
				}
				s := make(seed)
				if run(s); s.failure != nil {
					mu.Lock()
					if failed == nil || seed < failed.seed {
						failed = s
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed.report())
	}
}

// simStats count what a simulation has met: a fault that never happens is not tested.
type simStats struct {
	mu                                                                        sync.Mutex
	seeds, records, requests, proposals, acks, inDoubt, refused, reads, boots int
	reloads, compactions, duplicates, expired, saves                          int
}

func (st *simStats) add(s *sim) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seeds++
	st.records += len(s.history)
	st.requests += len(s.clients.reqs)
	st.proposals += len(s.clients.props)
	st.acks += len(s.clients.acks)
	for _, p := range s.clients.props {
		switch {
		case p.answers == 0:
		case p.err != nil && strings.Contains(p.err.Error(), "in doubt"):
			st.inDoubt++
		case p.err != nil:
			st.refused++
		case p.res.Duplicate:
			st.duplicates++
		case p.res.Expired:
			st.expired++
		}
	}
	for _, r := range s.clients.reads {
		if r.done {
			st.reads++
		}
	}
	for _, line := range s.trace {
		switch {
		case strings.Contains(line, " boots at"):
			st.boots++
		case strings.Contains(line, " loads checkpoint"):
			st.reloads++
		case strings.Contains(line, " compacts up"):
			st.compactions++
		case strings.Contains(line, " saves checkpoint"):
			st.saves++
		}
	}
}

func (st *simStats) log(t *testing.T) {
	t.Logf("%d seeds: %d records, %d requests in %d proposals, %d results (%d duplicates, %d expired), %d in doubt, %d refused, %d reads, "+
		"%d starts, %d checkpoints, %d compactions, %d reloads", st.seeds, st.records, st.requests, st.proposals, st.acks, st.duplicates,
		st.expired, st.inDoubt, st.refused, st.reads, st.boots, st.saves, st.compactions, st.reloads)
	for what, n := range map[string]int{
		"duplicates": st.duplicates, "expired": st.expired, "in doubt": st.inDoubt, "refused": st.refused, "reads": st.reads,
		"compactions": st.compactions, "reloads": st.reloads,
	} {
		if n < st.seeds/20 {
			t.Errorf("%s: only %d in %d seeds; the simulation has lost its bite", what, n, st.seeds)
		}
	}
}

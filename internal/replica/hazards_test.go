package replica

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/log"
)

// Each hazard of the replicated log that this package guards against has a test here that takes its rule out and expects the
// simulation to notice: a rule whose absence no test sees is a rule that will be lost. The rules themselves are
// exercised by TestSimulation and TestSimulationDivergence, which find nothing.

var manyFaults = log.Rates{Lost: 80, AckLost: 80, Late: 120, Doubled: 80, Refused: 80}

// hazard is a rule with a scenario in which it matters.
type hazard struct {
	name     string
	scenario scenario
	take     func(*omit)
	want     string // part of what the simulation says when the rule is missing
}

var hazards = []hazard{
	{
		"C2 settle before an answer in doubt",
		scenario{members: 3, steps: 800, faults: manyFaults, cuts: true},
		func(o *omit) { o.settle = true }, "and was answered replica: the update was not applied",
	},
	{
		"C2 deadline",
		scenario{members: 3, steps: 1200, faults: manyFaults, cuts: true, jumps: true},
		func(o *omit) { o.deadline = true }, "after its deadline (C2)",
	},
	{
		"order of what goes in again",
		scenario{members: 3, steps: 800, faults: manyFaults},
		func(o *omit) { o.order = true }, "entered the log before one that its replica took earlier",
	},
	{
		"C4 a minority reloads",
		scenario{members: 3, steps: 800, corrupt: 1},
		func(o *omit) { o.minority = true }, "the log gives",
	},
	{
		"C4 without a majority everyone stops",
		scenario{members: 3, steps: 800, corrupt: 2},
		func(o *omit) { o.noMajority = true }, "has a majority, and it carries on",
	},
	{
		"C4 a disagreement that nobody decides",
		scenario{members: 3, steps: 800, corrupt: 1, absent: 1},
		func(o *omit) { o.undecided = true }, "does not come to rest", // it goes on asking for a checkpoint that would decide
	},
	{
		"D5 only a quorum's checkpoints let the log be forgotten",
		scenario{members: 3, steps: 800, crashes: true, cuts: true},
		func(o *omit) { o.ownFloor = true }, "replicas have a checkpoint of",
	},
	{
		"D5 a checkpoint is durable before it is announced",
		scenario{members: 3, steps: 1200, crashes: true, cuts: true, disks: true},
		func(o *omit) { o.durableMark = true }, "replicas have a checkpoint of",
	},
	{
		"C7 a replica out of service does not move log time",
		scenario{members: 3, steps: 800, skew: true},
		func(o *omit) { o.quietClock = true }, "carries a time",
	},
	{
		"C9 back-pressure",
		scenario{members: 3, steps: 600, burst: true},
		func(o *omit) { o.backPressure = true }, "more than the queue's limit",
	},
	{
		"C9 back-pressure of publishing",
		scenario{members: 3, steps: 600, slow: true, jumps: true},
		func(o *omit) { o.publishLag = true }, "named have been behind for",
	},
	{
		"I7 a reloaded replica catches up before it serves",
		scenario{members: 3, steps: 1500, crashes: true, cuts: true},
		func(o *omit) { o.catchUp = true }, "serves at index",
	},
}

// TestHazards takes each rule out and expects the simulation to find a history in which it is missed, where with the rule
// there is nothing to find.
func TestHazards(t *testing.T) {
	const seeds = 400
	for _, h := range hazards {
		t.Run(strings.ReplaceAll(h.name, " ", "_"), func(t *testing.T) {
			broken := h.scenario
			h.take(&broken.omit)
			for seed := uint64(1); seed <= seeds; seed++ {
				s := newSim(seed, broken)
				s.run()
				if s.failure == nil || !strings.Contains(s.failure.Error(), h.want) {
					continue
				}
				t.Logf("noticed at seed %d: %v", seed, s.failure)
				forSeeds(t, min(int(seed), 40), func(uint64) scenario { return h.scenario }, (*sim).run)
				return
			}
			t.Errorf("the rule was taken out and %d histories did not show it", seeds)
		})
	}
}

// TestSimulationDivergence (C4): replicas silently come to other states, by applying something else or by missing a record. A minority
// notices, keeps its evidence and reloads; without a majority everyone stops; nobody else loses anything.
func TestSimulationDivergence(t *testing.T) {
	for _, tt := range []struct {
		name string
		sc   scenario
	}{
		{"one of three", scenario{members: 3, steps: 900, corrupt: 1}},
		{"one of three, lossy log", scenario{members: 3, steps: 900, corrupt: 1, faults: manyFaults}},
		{"two of five, each its own", scenario{members: 5, steps: 1200, corrupt: 2}},
		{"two of three, each its own", scenario{members: 3, steps: 900, corrupt: 2}},
		{"one of two", scenario{members: 2, steps: 900, corrupt: 1}},
		{"a record missed", scenario{members: 3, steps: 900, corrupt: 1, gaps: true}},
		{"one of two while the third is away", scenario{members: 3, steps: 900, corrupt: 1, absent: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var diverged, halted atomic.Int64
			forSeeds(t, 80, func(uint64) scenario { return tt.sc }, func(s *sim) {
				s.run()
				if len(s.corrupted) > 0 {
					diverged.Add(1)
				}
				if s.halted {
					halted.Add(1)
				}
			})
			t.Logf("%d of 80 histories with a divergence, %d of them without a majority", diverged.Load(), halted.Load())
			if *simSeed == 0 && diverged.Load() < 40 {
				t.Error("too few histories had a divergence")
			}
		})
	}
}

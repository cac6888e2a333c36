package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// This file decides when publishing is so far behind that updates have to wait (C9). It has no clock, lock or connection:
// the owner of a replica looks at intervals and carries the verdict out with [Replica.Throttle].

// ErrBehind: a quorum of the replicas is too far behind with publishing; the proposal was not appended.
var ErrBehind = errors.New("replica: publishing is too far behind")

// LagLimits say how far publishing may be behind at a quorum of the replicas. From a quarter of either limit on updates are
// delayed, more and more until that is enough; at the limit they are refused, until both lags are below half again.
type LagLimits struct {
	Age   time.Duration // of the oldest change that is not published; 0: no limit
	Bytes int           // octets of publish steps that wait; 0: no limit
}

// DefaultLagLimits are those of a primary. A busy cluster's lag is some tens of milliseconds (docs/performance.md), a tenth of
// what delays begin at. The octets leave room below those at which a publisher gives a zone's steps up and loads it whole.
func DefaultLagLimits() LagLimits { return LagLimits{Age: 2 * time.Second, Bytes: 8 << 20} }

// Least limits: below, the pauses between two looks at the peers would count as lag, and a large update as a backlog.
const (
	minLagAge   = 500 * time.Millisecond
	minLagBytes = 1 << 20
)

// Validate says what makes limits unusable.
func (l LagLimits) Validate() error {
	if l.Age != 0 && l.Age < minLagAge {
		return fmt.Errorf("the limit of the publish lag is %s; use 0 (none) or at least %s", l.Age, minLagAge)
	}
	if l.Bytes != 0 && l.Bytes < minLagBytes {
		return fmt.Errorf("the limit of unpublished octets is %d; use 0 (none) or at least %d", l.Bytes, minLagBytes)
	}
	return nil
}

// maxPace is the pause between two entries with updates when publishing is all but at the limit. Clients wait for it on top
// of the append; it is short beside their timeouts.
const maxPace = 100 * time.Millisecond

// The pause is that of a proportional-integral controller, in shares of maxPace. What it has learned keeps the lag near the
// goal where named is slower than the clients for long; a lag beyond half of the limit is reacted to at once. The age of a
// backlog tells late how long it is: learning faster would make the lag swing (TestLagWatchSteady).
const (
	lagGoal  = 0.25 // share of the limit
	lagLearn = 0.02 // of the distance from the goal, at each of ten looks a second: from all to nothing in 20 s
	lagReact = 2.0  // of what is beyond half of the limit: all at the limit
)

// Throttle slows updates down or refuses them. The zero value does neither.
type Throttle struct {
	Pace   time.Duration // least time between two entries with updates of clients
	Refuse error         // why updates are not taken; wraps ErrBehind
}

// Progress is how far one replica has come, as it said at a moment.
type Progress struct {
	Applied   uint64 // log index up to which its state machine is
	Published uint64 // log index up to which its named has every change
	Bytes     int    // octets of publish steps that wait
	At        time.Time
}

// Lag is how far publishing is behind.
type Lag struct {
	Age   time.Duration
	Bytes int
}

// LagVerdict is what follows from the replicas' progress.
type LagVerdict struct {
	Own, Quorum Lag
	Throttle    Throttle
	// Leave is why this replica should get no requests, nil while it should: it is behind and another one is not. Where all
	// are behind nobody leaves, because an explicit answer is better than none.
	Leave error
}

// LagWatch turns progress into verdicts. The age of a change is counted from when this replica first knew of its log index,
// from whomever: clocks are not compared, and a replica that is behind with applying is behind with publishing too.
type LagWatch struct {
	limits   LagLimits
	seen     []seen // ascending
	refusing bool
	learned  float64 // share of maxPace
	away     bool
}

// seen is a log index and when it was first known to exist.
type seen struct {
	index uint64
	at    time.Time
}

// maxSeen bounds the memory: ten looks a second make it a minute and more. A greater lag is shown as that.
const maxSeen = 1024

// NewLagWatch begins with nothing known.
func NewLagWatch(l LagLimits) *LagWatch { return &LagWatch{limits: l} }

// Resume takes a pause out of the ages: while this process was stopped it published nothing, and that says nothing about named.
// Without this, one that goes on would refuse the requests that waited for it. The owner calls it before the next Look.
func (w *LagWatch) Resume(pause time.Duration) {
	for i := range w.seen {
		w.seen[i].at = w.seen[i].at.Add(pause)
	}
}

// Look takes the progress of this replica and of the peers that have answered lately. One that has not has no say: nobody
// knows how far its named is, and a failure of the way to it must not stop updates.
func (w *LagWatch) Look(now time.Time, own Progress, peers []Progress) LagVerdict {
	newest := own.Applied
	for _, p := range peers {
		newest = max(newest, p.Applied)
	}
	w.note(now, newest)
	v := LagVerdict{Own: w.lag(own)}
	all := []Lag{v.Own}
	best := 2.0
	for _, p := range peers {
		l := w.lag(p)
		all = append(all, l)
		best = min(best, w.load(l))
	}
	v.Quorum = quorumLag(all)
	load := w.load(v.Quorum)
	w.refusing = load >= 1 || w.refusing && load >= 0.5
	if !w.refusing { // while nothing comes in there is nothing to learn
		w.learned = min(1, max(0, w.learned+lagLearn*(load-lagGoal)))
	}
	v.Throttle.Pace = w.pace(load)
	if w.refusing {
		v.Throttle.Refuse = fmt.Errorf("%w at a quorum of the primaries: %s and %d octets, limits %s and %d",
			ErrBehind, v.Quorum.Age.Round(time.Millisecond), v.Quorum.Bytes, w.limits.Age, w.limits.Bytes)
	}
	mine := w.load(v.Own)
	if w.away = best < 0.5 && (mine >= 1 || w.away && mine >= 0.5); w.away {
		v.Leave = fmt.Errorf("its named is behind by %s and %d octets, limits %s and %d, and another primary's is not",
			v.Own.Age.Round(time.Millisecond), v.Own.Bytes, w.limits.Age, w.limits.Bytes)
	}
	return v
}

// pace is the pause that a load of the quorum asks for.
func (w *LagWatch) pace(load float64) time.Duration {
	share := min(1, w.learned+lagReact*max(0, load-0.5))
	return time.Duration(share * float64(maxPace)).Round(time.Millisecond)
}

// note remembers when an index was first known.
func (w *LagWatch) note(now time.Time, index uint64) {
	if n := len(w.seen); n > 0 && w.seen[n-1].index >= index {
		return
	}
	if len(w.seen) == maxSeen {
		w.seen = append(w.seen[:0], w.seen[maxSeen/8:]...)
	}
	w.seen = append(w.seen, seen{index, now})
}

// lag is that of a replica when it said how far it is.
func (w *LagWatch) lag(p Progress) Lag {
	l := Lag{Bytes: p.Bytes}
	i, _ := slices.BinarySearchFunc(w.seen, p.Published+1, func(s seen, index uint64) int { return cmp.Compare(s.index, index) })
	if i < len(w.seen) {
		l.Age = max(0, p.At.Sub(w.seen[i].at))
	}
	return l
}

// load is the share of the limits that a lag takes up.
func (w *LagWatch) load(l Lag) (load float64) {
	if w.limits.Age > 0 {
		load = float64(l.Age) / float64(w.limits.Age)
	}
	if w.limits.Bytes > 0 {
		load = max(load, float64(l.Bytes)/float64(w.limits.Bytes))
	}
	return load
}

// quorumLag is what a majority of the replicas is within.
func quorumLag(all []Lag) Lag {
	quorum := len(all) / 2 // index of the last of the majority
	ages := make([]time.Duration, len(all))
	octets := make([]int, len(all))
	for i, l := range all {
		ages[i], octets[i] = l.Age, l.Bytes
	}
	slices.Sort(ages)
	slices.Sort(octets)
	return Lag{Age: ages[quorum], Bytes: octets[quorum]}
}

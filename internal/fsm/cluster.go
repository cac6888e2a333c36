package fsm

import (
	"cmp"
	"fmt"
	"slices"
)

// keepMarks is for how many indexes marks are kept: enough to compare the last checkpoints, few enough to forget.
const keepMarks = 8

// mark is one replica's digest of an index. Lists of marks are sorted by replica and immutable.
type mark struct {
	replica string
	digest  Digest
}

// Verdict compares the digests that replicas reported for one index.
type Verdict struct {
	Index   uint64
	Digests map[string]Digest // by replica
}

// Agree says whether all digests reported so far are equal.
func (v Verdict) Agree() bool {
	first := true
	var want Digest
	for _, d := range v.Digests {
		if first {
			want, first = d, false
		}
		if d != want {
			return false
		}
	}
	return true
}

// Standing is what one replica makes of a verdict (rule C4).
type Standing uint8

// The standings.
const (
	// StandingUnknown: too few have reported to tell. Carry on.
	StandingUnknown Standing = iota
	// StandingMajority: a strict majority of the members has this replica's digest. Carry on.
	StandingMajority
	// StandingMinority: a strict majority has one other digest. Stop serving, keep the evidence, reload from one of them.
	StandingMinority
	// StandingNone: the members disagree and no digest can reach a strict majority any more. Everyone stops, and pages.
	StandingNone
)

// String gives the standing as logs and metrics show it.
func (s Standing) String() string {
	switch s {
	case StandingMajority:
		return "majority"
	case StandingMinority:
		return "minority"
	case StandingNone:
		return "no-majority"
	case StandingUnknown:
	}
	return "unknown"
}

// Judge tells where a replica stands, given the members of the cluster. Reports of others than members do not count.
// Unless a strict majority of members (not merely of those that reported) has one digest, no side may call itself right:
// the minority could be the healthy one.
func (v Verdict) Judge(replica string, members []string) Standing {
	votes := make(map[Digest]int)
	reported := 0
	for _, m := range members {
		if d, ok := v.Digests[m]; ok {
			votes[d]++
			reported++
		}
	}
	best := 0
	var winner Digest
	for d, n := range votes {
		if n > best {
			best, winner = n, d
		}
	}
	quorum := len(members)/2 + 1
	own, has := v.Digests[replica]
	switch {
	case best >= quorum && has && own == winner:
		return StandingMajority
	case best >= quorum && has:
		return StandingMinority
	case best >= quorum:
		return StandingUnknown // not reported yet
	case len(votes) > 1 && best+len(members)-reported < quorum:
		return StandingNone
	}
	return StandingUnknown
}

func (m *Machine) mark(c *Mark, proposer string) error {
	if c.Replica != proposer {
		return fmt.Errorf("mark of replica %q proposed by %q: a replica marks for itself", c.Replica, proposer)
	}
	if c.Index > m.st.index {
		return fmt.Errorf("mark of index %d at index %d: it is not applied yet", c.Index, m.st.index)
	}
	old, _ := m.st.marks.Get(c.Index)
	list := slices.Clone(old)
	at, found := slices.BinarySearchFunc(list, proposer, func(x mark, name string) int { return cmp.Compare(x.replica, name) })
	if found {
		list[at].digest = c.Digest // reloaded, and marked again
	} else {
		list = slices.Insert(list, at, mark{proposer, c.Digest})
	}
	m.st.marks.Set(c.Index, list)
	for m.st.marks.Len() > keepMarks {
		m.st.marks.PopMin()
	}
	m.eff.Verdicts = append(m.eff.Verdicts, newVerdict(c.Index, list))
	return nil
}

func newVerdict(index uint64, list []mark) Verdict {
	v := Verdict{Index: index, Digests: make(map[string]Digest, len(list))}
	for _, x := range list {
		v.Digests[x.replica] = x.digest
	}
	return v
}

// Verdicts gives the marks of the last indexes, oldest first.
func (m *Machine) Verdicts() []Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Verdict
	m.st.marks.Scan(func(index uint64, list []mark) bool {
		out = append(out, newVerdict(index, list))
		return true
	})
	return out
}

// CompactionFloor is the highest index up to which the log may be compacted: a quorum of the members has a durable
// checkpoint of it or of a later one, whose digest is not in dispute. 0: nothing may be compacted.
func (m *Machine) CompactionFloor(members []string) uint64 {
	verdicts := m.Verdicts()
	var marked []uint64
	for _, name := range members {
		for _, v := range slices.Backward(verdicts) {
			if _, ok := v.Digests[name]; ok && (v.Agree() || v.Judge(name, members) == StandingMajority) {
				marked = append(marked, v.Index)
				break
			}
		}
	}
	quorum := len(members)/2 + 1
	if len(members) == 0 || len(marked) < quorum {
		return 0
	}
	slices.Sort(marked)
	return marked[len(marked)-quorum]
}

// support notes up to which version a replica's program goes. After a downgrade it reports less.
func (m *Machine) support(replica string, version uint8) {
	r, _ := m.st.replicas.Get(replica)
	r.support = version
	m.st.replicas.Set(replica, r)
}

// refuseActivate says why a version can't be activated, "" if it can.
func (m *Machine) refuseActivate(c *Activate) string {
	if c.Version <= m.st.version {
		return fmt.Sprintf("version %d is not newer than the activated %d", c.Version, m.st.version)
	}
	if len(c.Members) == 0 {
		return "activation without members; name all of them"
	}
	for _, name := range c.Members {
		if r, _ := m.st.replicas.Get(name); r.support < c.Version {
			return fmt.Sprintf("replica %q supports version %d, not %d; upgrade it first", name, r.support, c.Version)
		}
	}
	return ""
}

func (m *Machine) activate(c *Activate, alone bool) Result {
	if !alone {
		return Result{Err: "an activation must be the only command of its entry; propose it alone"}
	}
	if why := m.refuseActivate(c); why != "" {
		return Result{Err: why}
	}
	m.st.version = c.Version
	m.eff.Activated = c.Version
	return Result{}
}

// Supports gives the version up to which each replica's program goes, as it reported.
func (m *Machine) Supports() map[string]uint8 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]uint8)
	m.st.replicas.Scan(func(name string, r replicaState) bool {
		out[name] = r.support
		return true
	})
	return out
}

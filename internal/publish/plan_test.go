package publish

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const origin = "example.test"

func soaRR(serial uint32) zone.RR {
	d := zone.SOA{MName: name("ns.invalid"), RName: name("h.invalid"), Serial: serial}.Data()
	return add(origin, 60, zone.TypeSOA, d)
}

func ns(ttl uint32, target string) zone.RR {
	return add(origin, ttl, zone.TypeNS, string(name(target)))
}

// step is a boundary from one serial to the next, with further RRs.
func step(from, to uint32, del, add []zone.RR) fsm.Boundary {
	return fsm.Boundary{Zone: fsm.ZoneOf(name(origin)), From: from, To: to, Index: uint64(to),
		Diff: zone.Diff{Del: append([]zone.RR{soaRR(from)}, del...), Add: append([]zone.RR{soaRR(to)}, add...)}}
}

func TestCompose(t *testing.T) {
	cname := add("a."+origin, 60, zone.TypeCNAME, string(name("t.invalid")))
	a := add("a."+origin, 60, zone.TypeA, "\x01\x02\x03\x04")
	for _, tc := range []struct {
		name     string
		del, add []zone.RR
		want     []string
	}{
		{"nothing but the serial", nil, nil, []string{"+ SOA"}},
		{"a CNAME gives way before what replaces it", []zone.RR{cname}, []zone.RR{a}, []string{"+ SOA", "- CNAME", "+ A"}},
		{"the whole apex NS set is exchanged", []zone.RR{ns(60, "old.invalid")}, []zone.RR{ns(60, "new.invalid")}, []string{"+ SOA", "+ NS new.invalid.", "- NS old.invalid."}},
		{"an apex NS that stays with another TTL is not deleted", []zone.RR{ns(60, "a.invalid"), ns(60, "b.invalid")}, []zone.RR{ns(90, "A.invalid")},
			[]string{"+ SOA", "+ NS A.invalid.", "- NS b.invalid."}},
		{"other NS are like any data", []zone.RR{add("sub."+origin, 60, zone.TypeNS, string(name("x.invalid")))}, []zone.RR{add("sub."+origin, 90, zone.TypeNS, string(name("x.invalid")))},
			[]string{"+ SOA", "- NS x.invalid.", "+ NS x.invalid."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u := compose(name(origin), step(1, 2, tc.del, tc.add).Diff)
			if zone.SOASerial(u.from.Data) != 1 {
				t.Errorf("guard is %v", u.from)
			}
			var got []string
			for _, rr := range u.updates {
				s := "+ "
				if rr.Class == zone.ClassNONE {
					s = "- "
				}
				s += rr.Type.String()
				if rr.Type == zone.TypeNS {
					s += " " + zone.Name(rr.Data).String()
				}
				got = append(got, s)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("order %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTake(t *testing.T) {
	rr := func(i int) []zone.RR {
		return []zone.RR{add(fmt.Sprintf("h%d.%s", i, origin), 60, zone.TypeA, "\x01\x02\x03\x04")}
	}
	big := []zone.RR{add("big."+origin, 60, zone.TypeTXT, strings.Repeat("\xff"+strings.Repeat("x", 255), 5))}
	steps := []fsm.Boundary{step(1, 2, nil, rr(1)), step(2, 3, nil, rr(2)), step(3, 4, rr(2), rr(3)), step(4, 9, nil, big), step(9, 10, nil, rr(4))}
	l := limits{maxUpdate: 1000, maxDeaths: 2, deaths: map[uint32]int{}}
	for _, tc := range []struct {
		name  string
		steps []fsm.Boundary
		merge bool
		dead  uint32
		want  int
	}{
		{"in time: one by one", steps, false, 0, 1},
		{"late: as many as fit", steps, true, 0, 3},
		{"the first is too long", steps[3:], true, 0, 0},
		{"the first is deadly", steps, true, 2, 0},
		{"not past a deadly one", steps, true, 3, 1},
		{"a serial that does not grow", []fsm.Boundary{step(5, 4, nil, nil)}, false, 0, 0},
		{"a serial that leaps by half the space", []fsm.Boundary{step(5, 5+1<<31, nil, nil)}, false, 0, 0},
		{"two leaps that together go back", []fsm.Boundary{step(5, 5+1<<30, nil, nil), step(5+1<<30, 5+1<<31, nil, nil)}, true, 0, 1},
		{"a gap is never bridged", []fsm.Boundary{steps[0], steps[2]}, true, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := l
			if tc.dead != 0 {
				l.deaths = map[uint32]int{tc.dead: 2}
			}
			n, d := l.take(tc.steps, tc.merge)
			if n != tc.want {
				t.Fatalf("takes %d steps, want %d", n, tc.want)
			}
			if n == 0 {
				return
			}
			if from, to, ok := d.Serials(); !ok || from != tc.steps[0].From || to != tc.steps[n-1].To {
				t.Errorf("leads from %d to %d", from, to)
			}
			if n == 3 && len(d.Add) != 3 {
				t.Errorf("an RR that comes and goes is in the net change: %v", d)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	steps := []fsm.Boundary{step(1, 2, nil, nil), step(2, 5, nil, nil)}
	other := soaRR(2)
	other.TTL = 61
	for _, tc := range []struct {
		soa  zone.RR
		want verdict
		n    int
	}{{soaRR(1), before, 0}, {soaRR(2), after, 1}, {soaRR(5), after, 2}, {soaRR(3), foreign, 0}, {other, foreign, 0}} {
		if v, n := judge(tc.soa, steps); v != tc.want || n != tc.n {
			t.Errorf("judge(serial %d, TTL %d) = %v, %d; want %v, %d", zone.SOASerial(tc.soa.Data), tc.soa.TTL, v, n, tc.want, tc.n)
		}
	}
}

// history is a view of n steps, each of which adds one RR and, but for the first, deletes that of the step before.
func history(n int) (view, []*zone.Zone) {
	z := zone.New(name(origin))
	z.Apply(zone.Diff{Add: []zone.RR{soaRR(1), ns(60, "ns.invalid")}})
	states := []*zone.Zone{z.Snapshot()}
	var v view
	rr := func(i int) []zone.RR {
		return []zone.RR{add(fmt.Sprintf("h%d.%s", i, origin), 60, zone.TypeA, "\x01\x02\x03\x04")}
	}
	for i := range n {
		var del []zone.RR
		if i > 0 {
			del = rr(i - 1)
		}
		b := step(uint32(i+1), uint32(i+2), del, rr(i))
		z.Apply(b.Diff)
		v.history = append(v.history, b)
		states = append(states, z.Snapshot())
	}
	v.content, v.index = z, uint64(n+1)
	return v, states
}

func TestLoad(t *testing.T) {
	v, states := history(6)
	all := limits{maxUpdate: 60000, maxDeaths: 2}
	for _, tc := range []struct {
		name     string
		l        limits
		maxSteps int
		want     int // steps to replay
	}{
		{"as far back as is remembered", all, 100, 6},
		{"no further than allowed", all, 2, 2},
		{"content only", all, 0, 0},
		{"not back over a deadly step", limits{maxUpdate: 60000, maxDeaths: 2, deaths: map[uint32]int{4: 2}}, 100, 3},
		{"not back over a long step", limits{maxUpdate: 100, maxDeaths: 2}, 100, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z, steps := v.load(tc.l, tc.maxSteps)
			if len(steps) != tc.want {
				t.Fatalf("%d steps to replay, want %d", len(steps), tc.want)
			}
			if want := states[6-tc.want]; z.Digest() != want.Digest() || z.Serial() != want.Serial() {
				t.Errorf("loads serial %d, want %d", z.Serial(), want.Serial())
			}
			for _, b := range steps {
				z.Apply(b.Diff)
			}
			if z.Digest() != v.content.Digest() {
				t.Error("the replay does not end at the view's content")
			}
		})
	}
}

func TestAfterAndAt(t *testing.T) {
	v, states := history(6)
	early := view{index: 4, content: states[3], history: v.history[:3]}
	trail := v.history[3:]
	l := limits{maxUpdate: 60000, maxDeaths: 2}
	for i, z := range states {
		soa := z.SOA().RR(0)
		steps, ok := v.after(soa, l)
		if !ok || len(steps) != len(states)-1-i {
			t.Errorf("after serial %d: %d steps, %v", z.Serial(), len(steps), ok)
		}
		got, ok := early.at(soa, trail)
		if !ok || got.Digest() != z.Digest() {
			t.Errorf("at serial %d: not that state", z.Serial())
		}
	}
	if _, ok := v.after(soaRR(99), l); ok {
		t.Error("a foreign serial leads somewhere")
	}
	if _, ok := early.at(soaRR(99), trail); ok {
		t.Error("a foreign serial is a state of ours")
	}
}

func TestExtend(t *testing.T) {
	all, states := history(6)
	l := limits{maxUpdate: 60000, maxDeaths: 2}
	for _, tc := range []struct {
		name     string
		forgot   int // oldest steps that the state machine has forgotten
		queue    []fsm.Boundary
		complete bool
		known    int // oldest state that can be told
	}{
		{"nothing queued", 2, nil, true, 2},
		{"the queue goes back further", 4, all.history[1:3], false, 4},
		{"the queue goes back further and meets the history", 3, all.history[1:4], true, 1},
		{"the queue is all there is", 6, all.history[2:], true, 2},
		{"the history goes back further", 1, all.history[3:5], true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := view{index: all.index, content: all.content, history: all.history[tc.forgot:]}
			if got := v.extend(tc.queue); got != tc.complete {
				t.Fatalf("extend = %v", got)
			}
			for i, z := range states {
				_, ok := v.after(z.SOA().RR(0), l)
				if ok != (i >= tc.known) {
					t.Errorf("state %d: known = %v", i, ok)
				}
			}
		})
	}
}

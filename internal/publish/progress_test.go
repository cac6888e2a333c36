package publish

import (
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// C9: while named hangs, the progress stays before the first change that it lacks, and what waits is counted.
func TestProgress(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	if p, ok := r.pub.Progress(); ok {
		t.Errorf("progress %+v before the first barrier", p)
	}
	r.pub.Start(r.m)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	r.expect(id)
	if p, _ := r.pub.Progress(); p.Applied != r.m.Index() || p.Index != p.Applied || p.Bytes != 0 {
		t.Errorf("progress %+v when all is published, the log's index is %d", p, r.m.Index())
	}
	r.signal(syscall.SIGSTOP)
	before := r.m.Index()
	for i := range 3 {
		r.must(message(id, add("a.example.test", 60, zone.TypeA, string([]byte{10, 0, 0, byte(i)}))), &fsm.Cut{Zone: id})
	}
	p, _ := r.pub.Progress()
	if p.Applied != r.m.Index() || p.Index < before || p.Index >= p.Applied || p.Bytes == 0 {
		t.Errorf("progress %+v while named hangs, the log's index is %d and was %d", p, r.m.Index(), before)
	}
	if l := r.pub.Lag(); l.Bytes != p.Bytes || l.Age <= 0 {
		t.Errorf("lag %+v, progress %+v", l, p)
	}
	r.signal(syscall.SIGCONT)
	r.expect(id)
	if p, _ := r.pub.Progress(); p.Index != p.Applied || p.Bytes != 0 {
		t.Errorf("progress %+v when named has gone on", p)
	}
}

// C9: a change does not count as published because its step was given up, when named ended or the zone is loaded anew.
func TestOldest(t *testing.T) {
	now := time.Now()
	is := func(what string, z *zoneState, want uint64) {
		t.Helper()
		w, ok := z.oldest()
		if ok != (want != 0) || w.since != want {
			t.Errorf("%s: %d, %v, want %d", what, w.since, ok, want)
		}
	}
	z := &zoneState{serving: true, observer: nobody{}}
	is("nothing waits", z, 0)
	z.enqueue(fsm.Boundary{Index: 5}, 4, now)
	z.enqueue(fsm.Boundary{Index: 7}, 7, now)
	is("two steps wait", z, 4)
	z.done(1)
	is("one is done", z, 7)
	z.stopServing()
	z.clearQueue()
	is("named has ended", z, 7)
	z.lacks(9, now)
	is("a change while named starts", z, 7)
	z.excused = true
	is("the zone is loaded anew by intention", z, 0)
	z.failures = 1
	is("which fails", z, 7)
	z.deleted = true
	is("the zone is deleted", z, 0)
}

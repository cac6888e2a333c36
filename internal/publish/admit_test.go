package publish

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Clients may set serials so that three requests lead once round the number space. Readers do not wait for ever, the new
// content is served although its serial is the old one, and a verification can tell all of it.
func TestSerialGoesRound(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	r.expect(id)
	round := func(extra ...zone.RR) {
		t.Helper()
		v, _ := r.m.Zone(id)
		soa := v.Zone.SOA().RR(0)
		to := func(serial uint32) zone.RR {
			rr := soa
			rr.Data = zone.WithSOASerial(soa.Data, serial)
			return rr
		}
		s := zone.SOASerial(soa.Data)
		r.must(message(id, to(s+1<<31-1)), message(id, to(s-2)), message(id, append(extra, to(s))...))
		r.expect(id)
		if err := r.pub.Verify(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	round()
	if n := r.replacements("serial"); n != 0 {
		t.Errorf("%v replacements although nothing has changed", n)
	}
	round(add("a.example.test", 60, zone.TypeA, "\x0a\x00\x00\x01"))
	v, _ := r.m.Zone(id)
	round(del(v.Zone.Get(name("a.example.test"), zone.TypeA).RR(0)))
	if n := r.replacements("serial"); n != 2 {
		t.Errorf("%v replacements, want 2", n)
	}
	// A step is looked for behind the circles, too.
	for i := range 3 {
		r.must(message(id, add("b.example.test", 60, zone.TypeA, string([]byte{10, 0, 0, byte(i)}))))
	}
	r.expect(id)
	if err := r.pub.Verify(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// I3: a reader who has passed a barrier waits while the state machine, replaced by an older one, catches up.
func TestReaderBeforeReset(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	var b bytes.Buffer
	if _, err := r.m.Snapshot().WriteCheckpoint(&b); err != nil {
		t.Fatal(err)
	}
	update := fsm.EncodeEntry(fsm.Entry{Header: fsm.Header{Replica: "a", Epoch: 1, Seq: r.seq + 1, TimeMS: r.timeMS + 4},
		Commands: []fsm.Command{message(id, add("a.example.test", 60, zone.TypeA, "\x0a\x00\x00\x01"))}})
	r.must(message(id, add("a.example.test", 60, zone.TypeA, "\x0a\x00\x00\x01")))
	barrier, seq := r.index, r.seq
	r.expect(id)

	old, err := fsm.Restore(&b)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.m, r.index, r.seq = old, barrier, seq
	r.pub.Reset(old)
	r.mu.Unlock()
	admitted := make(chan Ticket, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		ticket, err := r.pub.WaitPublished(ctx, id, barrier)
		if err != nil {
			t.Error(err)
		}
		admitted <- ticket
	}()
	if _, err := r.pub.WaitPublished(ctx, id, old.Index()); err != nil { // named has the older state
		t.Fatal(err)
	}
	if _, err := r.pub.admitNow(id, barrier); !errors.Is(err, ErrNotServing) {
		t.Errorf("a reader of log index %d is admitted to a state of index %d: %v", barrier, old.Index(), err)
	}
	eff, err := old.Apply(barrier, update)
	if err != nil {
		t.Fatal(err)
	}
	r.pub.Applied([]fsm.Effects{eff})
	if !r.pub.Valid(<-admitted) {
		t.Error("the ticket is void")
	}
}

func (p *Publisher) admitNow(id fsm.ZoneID, index uint64) (Ticket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admit(id, index)
}

// I3: while named has not dropped a deleted zone, it would answer from it what the zone above holds now.
func TestDeletedZoneBelow(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	above := r.addZone("example.test", fsm.ZoneSettings{})
	below := r.addZone("sub.example.test", fsm.ZoneSettings{})
	beside := r.addZone("other.test", fsm.ZoneSettings{})
	for _, id := range []fsm.ZoneID{above, below, beside} {
		r.expect(id)
	}
	r.pub.mu.Lock()
	z := r.pub.zones[below]
	z.notYet = time.Now().Add(time.Hour) // as after failures: named's control channel hangs
	r.pub.mu.Unlock()
	r.must(&fsm.DeleteZone{Zone: below, Confirm: below.Name})
	if _, err := r.pub.admitNow(above, r.index); !errors.Is(err, ErrNotServing) {
		t.Errorf("the zone above: %v", err)
	}
	if _, err := r.pub.admitNow(beside, r.index); err != nil {
		t.Errorf("a zone beside it: %v", err)
	}
	r.pub.mu.Lock()
	z.notYet, z.queued = time.Time{}, false
	r.pub.schedule(z)
	r.pub.mu.Unlock()
	r.expect(above)
}

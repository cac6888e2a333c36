package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// C5: a named that starts anew offers IXFR from every boundary that the state machine remembers.
func TestIXFRAfterRestart(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		rng := seed(t)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		// With leaps, an old serial may be newer than the last (RFC 1982).
		c := &changer{rng: rng, id: id, origin: "example.test", steady: true}
		for range 200 { // several make one step
			v, _ := r.m.Zone(id)
			r.apply(c.next(v.Zone))
		}
		r.expect(id)
		old := r.session(0).Incarnation()
		r.signal(syscall.SIGKILL)
		r.session(old)
		r.expect(id)
		v, _ := r.m.Zone(id)
		if len(v.History) < 20 {
			t.Fatalf("only %d boundaries are remembered", len(v.History))
		}
		content := v.Published()
		for i := range v.History {
			from := v.History[i].Diff.Del[0]
			z := content.Snapshot()
			for j := len(v.History) - 1; j >= i; j-- {
				z.Apply(reverse(v.History[j].Diff))
			}
			r.ixfr(z, from)
			if z.Digest() != content.Digest() {
				t.Fatalf("IXFR from serial %d leads to %d RRs at serial %d, want %d at %d", v.History[i].From, z.Records(), z.Serial(), content.Records(), content.Serial())
			}
		}
	})
}

// ixfr brings z, which has the given SOA, up to date as a secondary would. It fails when named answers with the whole zone.
func (r *rig) ixfr(z *zone.Zone, from zone.RR) {
	r.t.Helper()
	m := new(dns.Msg)
	m.SetIxfr(z.Origin().String(), zone.SOASerial(from.Data), "ns.invalid.", "h.invalid.")
	answer, err := r.transfer(r.t.Context(), m, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	var rrs []zone.RR
	for _, rr := range answer {
		wire := make([]byte, 65535)
		n, err := dns.PackRR(rr, wire, 0, nil, false)
		if err != nil {
			r.t.Fatal(err)
		}
		u, _, err := zone.UnpackRR(wire[:n], 0)
		if err != nil {
			r.t.Fatal(err)
		}
		rrs = append(rrs, u)
	}
	if len(rrs) < 4 || rrs[1].Type != zone.TypeSOA || zone.SOASerial(rrs[1].Data) != zone.SOASerial(from.Data) {
		r.t.Fatalf("no incremental answer from serial %d: %d RRs", zone.SOASerial(from.Data), len(rrs))
	}
	// RFC 1995: final SOA, then (old SOA, deletions, new SOA, additions)…, final SOA.
	var d zone.Diff
	deleting := false
	for _, rr := range rrs[1 : len(rrs)-1] {
		if rr.Type == zone.TypeSOA {
			if deleting = !deleting; deleting {
				z.Apply(d)
				d = zone.Diff{}
			}
		}
		if deleting {
			d.Del = append(d.Del, rr)
		} else {
			d.Add = append(d.Add, rr)
		}
	}
	z.Apply(d)
}

// A step during which named dies again and again is not sent to it a third time.
func TestDeadlyStep(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		var died atomic.Int32
		var last atomic.Int64 // a step may be sent again before anybody has noticed that named is dead
		r.pub.sending = func(d zone.Diff) {
			for _, rr := range d.Add {
				if !strings.HasPrefix(string(rr.Name), "\x06poison") {
					continue
				}
				if st, _ := r.srv.Watch(); st.PID != 0 && last.Swap(int64(st.PID)) != int64(st.PID) {
					died.Add(1)
					r.signal(syscall.SIGKILL)
				}
			}
		}
		r.pub.Start(r.m)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		healthy := r.addZone("healthy.test", fsm.ZoneSettings{})
		r.expect(id)
		r.must(message(id, add("poison.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.must(message(healthy, add("www.healthy.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		r.expect(healthy)
		if n := died.Load(); n != 2 {
			t.Errorf("named died of the step %d times, want 2", n)
		}
		r.must(message(id, add("after.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
	})
}

// named stands still for longer than an UPDATE and the question after it may take, and then carries out the one that was
// given up. Meanwhile more steps have come, which were sent together with it. None of this is anybody else's serial.
func TestStandstill(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel, func(c *Config, n *named.Config) {
			c.UpdateTimeout, c.MergeAfter = 100*time.Millisecond, time.Millisecond
			n.ProbeFailures = 1000 // it is not killed for it
		})
		sent := make(chan struct{}, 1000)
		r.pub.sending = func(zone.Diff) { sent <- struct{}{} }
		r.pub.Start(r.m)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		r.expect(id)
		for round := range 3 {
			r.signal(syscall.SIGSTOP)
			for i := range 5 {
				r.must(message(id, add(fmt.Sprintf("r%d-%d.example.test", round, i), 60, zone.TypeA, "\x01\x02\x03\x04")), &fsm.Cut{Zone: id})
				<-sent // alone at first, then with those that wait
			}
			r.signal(syscall.SIGCONT)
			r.expect(id)
		}
		if n := r.replacements("foreign"); n != 0 {
			t.Errorf("%v replacements of the zone, want 0", n)
		}
	})
}

// I7: while named can't write, changes wait and readers are told; afterwards nothing is lost.
func TestDiskFull(t *testing.T) {
	namedtest.Isolated(t, func(t *testing.T) {
		namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
			disk := namedtest.NewSmallDisk(t, 4<<20)
			r := newRig(t, rel, func(_ *Config, nc *named.Config) { nc.Dir = disk.Dir })
			r.pub.Start(r.m)
			id := r.addZone("example.test", fsm.ZoneSettings{})
			r.must(message(id, add("before.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
			r.expect(id)
			disk.Fill(t)
			var e fsm.Effects
			for i := range 30 { // more than what is left of the journal's last block
				e = r.must(message(id, add(fmt.Sprintf("h%d.example.test", i), 60, zone.TypeTXT, strings.Repeat("\xff"+strings.Repeat("x", 255), 2))))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if _, err := r.pub.WaitPublished(ctx, id, e.Index); !errors.Is(err, ErrNotServing) {
				t.Errorf("WaitPublished with a full disk: %v", err)
			}
			cancel()
			if s, _ := r.pub.Status(id); s.LastError == "" {
				t.Errorf("the status has no error: %+v", s)
			}
			disk.Free(t)
			r.expect(id)
			// Full when named has to start.
			disk.Fill(t)
			old := r.session(0).Incarnation()
			r.signal(syscall.SIGKILL)
			deadline := time.After(patience)
			for {
				st, changed := r.srv.Watch()
				if st.Incarnation > old && (strings.Contains(st.LastExit, "no space left") || strings.Contains(st.LastExit, " 0 octets are free")) {
					break
				}
				disk.Fill(t) // what the emptied directory has left
				select {
				case <-changed:
				case <-deadline:
					t.Fatalf("the state does not tell of the full disk: %+v", st)
				}
			}
			disk.Free(t)
			r.expect(id)
		})
	})
}

// named's files deleted under it.
func TestFilesDeleted(t *testing.T) {
	namedtest.Each(t, func(t *testing.T, rel namedtest.Release) {
		r := newRig(t, rel)
		r.pub.Start(r.m)
		id := r.addZone("example.test", fsm.ZoneSettings{})
		r.must(message(id, add("a.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		dir := r.srv.Config().Dir
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		r.must(message(id, add("b.example.test", 60, zone.TypeA, "\x01\x02\x03\x04")))
		r.expect(id)
		// And a setting, which named has to write down.
		e := r.must(&fsm.PutZone{Zone: id, Settings: fsm.ZoneSettings{AllowUpdate: "127.0.0.1;", AllowQuery: "none;"}})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := r.pub.WaitSettings(ctx, e.Index); err != nil {
			t.Fatal(err)
		}
		other := r.addZone("other.test", fsm.ZoneSettings{})
		r.expect(other)
		r.expect(id)
	})
}

// A verification runs beside publishing and never mistakes progress for a difference.
func TestVerifyWhilePublishing(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	rng := seed(t)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	r.expect(id)
	c := &changer{rng: rng, id: id, origin: "example.test"}
	verified := make(chan struct{})
	go func() {
		defer close(verified)
		for r.count(r.pub.metrics.verified.WithLabelValues("same")) < 50 && t.Context().Err() == nil {
			_ = r.pub.Verify(t.Context(), id) // what counts is counted
		}
	}()
	for done := false; !done; {
		select {
		case <-verified:
			done = true
		default:
			v, _ := r.m.Zone(id)
			r.apply(c.next(v.Zone))
		}
	}
	r.expect(id)
	if n := r.replacements("different"); n != 0 {
		t.Errorf("%v differences found where there are none", n)
	}
}

// The state machine replaced by a newer one (a checkpoint of a peer): named follows.
func TestReset(t *testing.T) {
	r := newRig(t, namedtest.Get(t, "9.20"))
	r.pub.Start(r.m)
	rng := seed(t)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	gone := r.addZone("gone.test", fsm.ZoneSettings{})
	r.expect(id)
	r.expect(gone)
	c := &changer{rng: rng, id: id, origin: "example.test"}
	for _, entries := range []int{3, 300} {
		// The publisher misses these: they reached the state machine by way of a checkpoint.
		r.mu.Lock()
		apply := func(cmd fsm.Command) {
			t.Helper()
			r.index, r.seq, r.timeMS = r.index+1, r.seq+1, r.timeMS+20
			if _, err := r.m.Apply(r.index, fsm.EncodeEntry(fsm.Entry{Header: fsm.Header{Replica: "a", Epoch: 1, Seq: r.seq, TimeMS: r.timeMS}, Commands: []fsm.Command{cmd}})); err != nil {
				t.Fatal(err)
			}
		}
		for range entries {
			v, _ := r.m.Zone(id)
			apply(c.next(v.Zone))
		}
		apply(&fsm.DeleteZone{Zone: gone, Confirm: gone.Name})
		r.mu.Unlock()
		r.pub.Reset(r.m)
		r.expect(id)
		if err := r.pub.Serving(gone); !errors.Is(err, ErrNotServing) {
			t.Errorf("a deleted zone: %v", err)
		}
	}
}

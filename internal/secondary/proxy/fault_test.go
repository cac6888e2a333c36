package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, primaries int, adjust func(*Config), body func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, primaries, adjust)
			body(t, w)
			synctest.Wait()
			w.close()
		})
	})
}

// once asks one question on a connection of its own.
func (w *world) once(q []byte) result {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	k := w.client(ctx)
	defer k.close()
	r, err := k.ask(q)
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait() // Done may follow the last octet
	return r
}

// TestFaults: the best primary fails in every way at every stage. As long as
// nothing is out the next one's answer comes instead, after a hedge at most, or,
// for a primary that goes mute in the middle, half the idle timeout.
func TestFaults(t *testing.T) {
	for _, f := range faults() {
		for _, q := range []struct {
			name  string
			qtype zone.Type
			size  int // records
		}{{"SOA", zone.TypeSOA, 3}, {"IXFR", zone.TypeIXFR, 3}, {"AXFR", zone.TypeAXFR, 3}, {"long AXFR", zone.TypeAXFR, 500}} {
			for _, after := range []int{0, 1, 40} {
				if after > 0 && q.size < 100 || f == sound && after > 0 {
					continue
				}
				bubble(t, fmt.Sprintf("%s/%s/after %d", f, q.name, after), 2, nil, func(t *testing.T, w *world) {
					w.floor[origin] = 9
					for _, pr := range w.primaries {
						pr.size = q.size
					}
					w.primaries[0].plan = func() plan { return plan{fault: f, after: after} }
					r := w.once(query(q.qtype, 9))
					if f == refused || f == blackHole && after == 0 {
						after = 0
					}
					if after == 40 && f != sound && f != refused {
						if !r.broken || len(w.failed) != 1 {
							t.Fatalf("%+v, %v: want a broken connection", r, w.failed)
						}
						return
					}
					want := 1
					if f == sound {
						want = 0
					}
					if r.rcode != 0 || r.broken || r.serial != 10 || q.qtype != zone.TypeSOA && r.from != want {
						t.Fatalf("%+v, %v", r, w.failed)
					}
					limit := time.Duration(0)
					switch {
					case (f == mute || f == blackHole) && after == 0:
						limit = w.p.cfg.HedgeAfter
					case f == mute || f == blackHole:
						limit = w.p.stall()
					}
					if r.took != limit {
						t.Errorf("took %v, want %v", r.took, limit)
					}
					if blamed := len(w.blamed) == 1 && w.blamed[0] == "primary-0"; blamed != (f != sound) {
						t.Errorf("blamed %v: %v", w.blamed, w.failed)
					}
				})
			}
		}
	}
}

// TestReasons: who is told of a failure learns its kind.
func TestReasons(t *testing.T) {
	for f, want := range map[fault]error{
		refused: ErrUnreachable, blackHole: ErrSlow, mute: ErrSlow, closes: ErrUnreachable, wrongID: ErrMalformed,
		garbage: ErrMalformed, cutShort: ErrUnreachable, dies: ErrGone,
	} {
		bubble(t, string(f), 2, nil, func(t *testing.T, w *world) {
			w.primaries[0].plan = func() plan { return plan{fault: f} }
			if r := w.once(query(zone.TypeSOA, 0)); r.serial != 10 {
				t.Fatalf("%+v", r)
			}
			if len(w.failed) != 1 || !errors.Is(w.failed[0], want) || OfZone(w.failed[0]) {
				t.Errorf("%v, want %v", w.failed, want)
			}
		})
	}
	bubble(t, "RCODE", 2, nil, func(t *testing.T, w *world) {
		w.primaries[0].plan = func() plan { return plan{fault: errorCode, rcode: rcodeRefused} }
		w.once(query(zone.TypeSOA, 0))
		var answer *AnswerError
		if len(w.failed) != 1 || !errors.As(w.failed[0], &answer) || answer.RCode != rcodeRefused || !OfZone(w.failed[0]) {
			t.Errorf("%v", w.failed)
		}
	})
	bubble(t, "behind", 2, nil, func(t *testing.T, w *world) {
		w.floor[origin] = 10
		w.primaries[0].serial = 9
		if r := w.once(query(zone.TypeAXFR, 0)); r.serial != 10 || r.from != 1 {
			t.Fatalf("%+v", r)
		}
		if len(w.failed) != 1 || !errors.Is(w.failed[0], ErrBehind) || !OfZone(w.failed[0]) {
			t.Errorf("%v", w.failed)
		}
	})
	for _, err := range []error{&AnswerError{RCode: rcodeServFail}, &AnswerError{RCode: rcodeNotAuth, TSIG: 16}} {
		if OfZone(err) {
			t.Errorf("%v is said to concern one zone", err)
		}
	}
}

// TestNobody: what is answered when no primary gives a good answer.
func TestNobody(t *testing.T) {
	for _, tc := range []struct {
		name   string
		plan   plan
		serial uint32
		rcode  int
		took   time.Duration
	}{
		{name: "all refuse connections", plan: plan{fault: refused}, serial: 10, rcode: rcodeServFail},
		{name: "all are black holes", plan: plan{fault: blackHole}, serial: 10, rcode: rcodeServFail, took: 4 * time.Second},
		{name: "all are mute", plan: plan{fault: mute}, serial: 10, rcode: rcodeServFail, took: 4 * time.Second},
		{name: "all are behind", serial: 8, rcode: rcodeServFail},
		{name: "half a circle away", serial: 9 + 1<<31, rcode: rcodeServFail},
		{name: "all say the same", plan: plan{fault: errorCode, rcode: rcodeNotAuth}, serial: 10, rcode: rcodeNotAuth},
		{name: "all are slow, but not too slow", plan: plan{delay: 3 * time.Second}, serial: 10, took: 3 * time.Second},
	} {
		for _, qtype := range []zone.Type{zone.TypeSOA, zone.TypeIXFR, zone.TypeAXFR} {
			bubble(t, tc.name+"/"+qtype.String(), 3, nil, func(t *testing.T, w *world) {
				w.floor[origin] = 9
				for _, pr := range w.primaries {
					pr.plan = func() plan { return tc.plan }
					pr.serial = tc.serial
				}
				if r := w.once(query(qtype, 9)); r.rcode != tc.rcode || r.broken || r.took != tc.took {
					t.Errorf("%+v, %v", r, w.failed)
				}
			})
		}
	}
}

// TestWholeZone: an IXFR question that is answered with a whole zone goes to one
// more primary.
func TestWholeZone(t *testing.T) {
	whole := func(d time.Duration) func() plan { return func() plan { return plan{whole: true, delay: d} } }
	for _, tc := range []struct {
		name  string
		plans []func() plan
		dead  []int // not live
		form  bool  // full
		from  int
		asked []int
		took  time.Duration
	}{
		{name: "the next has differences", plans: []func() plan{whole(0), nil, nil}, from: 1, asked: []int{1, 1, 0}},
		{name: "the next has not", plans: []func() plan{whole(0), whole(0), nil}, form: true, from: 0, asked: []int{1, 1, 0}},
		{name: "the next is mute", plans: []func() plan{whole(0), func() plan { return plan{fault: mute} }, nil}, form: true, from: 0, asked: []int{1, 1, 0}, took: 300 * time.Millisecond},
		{name: "the next is not live", plans: []func() plan{whole(0), nil, nil}, dead: []int{1}, from: 2, asked: []int{1, 0, 1}},
		{name: "no other is live", plans: []func() plan{whole(0), nil, nil}, dead: []int{1, 2}, form: true, from: 0, asked: []int{1, 0, 0}},
	} {
		bubble(t, tc.name, 3, nil, func(t *testing.T, w *world) {
			for i, p := range tc.plans {
				if p != nil {
					w.primaries[i].plan = p
				}
			}
			for _, i := range tc.dead {
				w.primaries[i].gone = nil
			}
			r := w.once(query(zone.TypeIXFR, 5))
			asked := []int{w.primaries[0].asked, w.primaries[1].asked, w.primaries[2].asked}
			if r.c.Full != tc.form || r.from != tc.from || r.serial != 10 || !slices.Equal(asked, tc.asked) || r.took != tc.took {
				t.Errorf("%+v, asked %v", r, asked)
			}
			want := fmt.Sprintf("%v 10 %v", origin, map[bool]Kind{true: Full, false: Incremental}[tc.form])
			if len(w.done) != 1 || w.done[0] != want {
				t.Errorf("done %v, want %s", w.done, want)
			}
		})
	}
}

// TestUpToDate: a single SOA is a good answer.
func TestUpToDate(t *testing.T) {
	bubble(t, "current", 2, nil, func(t *testing.T, w *world) {
		w.floor[origin] = 10
		r := w.once(query(zone.TypeIXFR, 10))
		if r.rcode != 0 || r.broken || r.serial != 10 || w.primaries[1].asked != 0 || len(w.done) != 1 || w.done[0] != "example.test. 10 up_to_date" {
			t.Errorf("%+v, %v", r, w.done)
		}
	})
	bubble(t, "the request's own serial is a floor", 2, nil, func(t *testing.T, w *world) {
		w.primaries[0].serial = 9
		if r := w.once(query(zone.TypeIXFR, 10)); r.serial != 10 || len(w.failed) != 1 || !errors.Is(w.failed[0], ErrBehind) {
			t.Errorf("%+v, %v", r, w.failed)
		}
	})
}

// TestScreen: the catalog zone is read whole and judged before any of it goes out.
func TestScreen(t *testing.T) {
	errHeld := errors.New("too many are gone")
	var judged [][][]byte
	verdict := errHeld
	adjust := func(c *Config) {
		c.Catalog = zone.MustParseName("EXAMPLE.test.")
		c.MaxCatalogBytes = 30_000
		c.Screen = func(q []byte, msgs [][]byte) error {
			if _, err := xfr.Decode(q, msgs); err != nil {
				return err
			}
			judged = append(judged, msgs)
			return verdict
		}
	}
	bubble(t, "held", 2, adjust, func(t *testing.T, w *world) {
		for _, q := range [][]byte{query(zone.TypeAXFR, 0), query(zone.TypeIXFR, 5)} {
			if r := w.once(q); r.rcode != rcodeRefused || len(w.done) != 0 || len(w.failed) != 0 {
				t.Errorf("%+v", r)
			}
		}
		if r := w.once(query(zone.TypeSOA, 0)); r.serial != 10 {
			t.Errorf("a question for the SOA: %+v", r)
		}
		if r := w.once(query(zone.TypeIXFR, 10)); r.serial != 10 || r.rcode != 0 {
			t.Errorf("up to date: %+v", r)
		}
		if len(judged) != 2 || w.primaries[1].asked != 0 {
			t.Errorf("judged %d times; the other primary was asked %d times", len(judged), w.primaries[1].asked)
		}
	})
	judged, verdict = nil, nil
	bubble(t, "passed", 2, adjust, func(t *testing.T, w *world) {
		w.primaries[0].size = 500 // longer than HoldBytes
		if r := w.once(query(zone.TypeAXFR, 0)); r.rcode != 0 || r.serial != 10 || len(judged) != 1 {
			t.Errorf("%+v", r)
		}
	})
	bubble(t, "kept back whole", 2, adjust, func(t *testing.T, w *world) {
		w.primaries[0].size, w.primaries[1].size = 500, 500
		w.primaries[0].plan = func() plan { return plan{fault: closes, after: 60} }
		if r := w.once(query(zone.TypeAXFR, 0)); r.rcode != 0 || r.from != 1 {
			t.Errorf("%+v", r)
		}
	})
	bubble(t, "too long", 2, adjust, func(t *testing.T, w *world) {
		w.primaries[0].size, w.primaries[1].size = 2000, 2000
		if r := w.once(query(zone.TypeAXFR, 0)); r.rcode != rcodeServFail || len(w.failed) != 2 || !errors.Is(w.failed[0], ErrTooLong) {
			t.Errorf("%+v, %v", r, w.failed)
		}
	})
}

// TestClient: what the name server does.
func TestClient(t *testing.T) {
	bubble(t, "gives up", 2, nil, func(t *testing.T, w *world) {
		for _, pr := range w.primaries {
			pr.plan = func() plan { return plan{fault: mute} }
		}
		k := w.client(t.Context())
		if err := xfr.WriteFrame(k.c, query(zone.TypeAXFR, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if w.open.Load() != 2 {
			t.Fatalf("%d primaries are asked", w.open.Load())
		}
		k.close()
		synctest.Wait()
		if w.open.Load() != 0 || len(w.failed) != 0 {
			t.Errorf("%d connections are left; %v", w.open.Load(), w.failed)
		}
	})
	bubble(t, "does not read", 1, nil, func(t *testing.T, w *world) {
		w.primaries[0].size = 5000
		k := w.client(t.Context())
		defer k.close()
		if err := xfr.WriteFrame(k.c, query(zone.TypeAXFR, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(clientWrite + time.Second)
		synctest.Wait()
		if w.open.Load() != 0 || len(w.failed) != 0 {
			t.Errorf("%d connections are left; %v", w.open.Load(), w.failed)
		}
	})
	bubble(t, "does not read while the proxy stops", 1, nil, func(t *testing.T, w *world) {
		w.primaries[0].size = 5000
		ctx, stop := context.WithCancel(t.Context())
		k := w.client(ctx)
		defer k.close()
		if err := xfr.WriteFrame(k.c, query(zone.TypeAXFR, 0)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		stop()
		if _, err := io.Copy(io.Discard, k.c); err != nil || time.Since(start) != 0 {
			t.Errorf("the connection ends after %v, %v", time.Since(start), err)
		}
		synctest.Wait()
		if w.open.Load() != 0 || len(w.failed) != 0 {
			t.Errorf("%d connections are left; %v", w.open.Load(), w.failed)
		}
	})
	bubble(t, "idle", 1, nil, func(t *testing.T, w *world) {
		k := w.client(t.Context())
		start := time.Now()
		if _, err := k.c.Read(make([]byte, 1)); err == nil || time.Since(start) != clientIdle {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
	bubble(t, "many questions on a connection", 1, nil, func(t *testing.T, w *world) {
		k := w.client(t.Context())
		defer k.close()
		for range 20 {
			for _, q := range [][]byte{query(zone.TypeSOA, 0), query(zone.TypeIXFR, 7), query(zone.TypeAXFR, 0)} {
				if r, err := k.ask(q); err != nil || r.serial != 10 {
					t.Fatalf("%+v, %v", r, err)
				}
			}
		}
		if n := w.open.Load(); n != 1 {
			t.Errorf("%d connections for questions one after another", n)
		}
	})
	bubble(t, "asks for something else", 1, nil, func(t *testing.T, w *world) {
		other := query(zone.TypeA, 0)
		chaos := query(zone.TypeSOA, 0)
		chaos[len(chaos)-1] = 3
		update := query(zone.TypeSOA, 0)
		update[2] = 5 << 3
		for _, q := range [][]byte{other, chaos, update, {1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
			k := w.client(t.Context())
			if err := xfr.WriteFrame(k.c, q); err != nil {
				t.Fatal(err)
			}
			msg, err := xfr.ReadFrame(k.c, nil)
			if err != nil || xfr.RCode(msg) != rcodeRefused || msg[0] != q[0] || msg[1] != q[1] {
				t.Errorf("% x: % x, %v", q, msg, err)
			}
			k.close()
		}
		if w.primaries[0].asked != 0 {
			t.Error("a primary was asked")
		}
	})
}

// TestStaleConnection: a primary that closed an idle connection is asked again on a
// new one and not blamed.
func TestStaleConnection(t *testing.T) {
	bubble(t, "closed", 1, nil, func(t *testing.T, w *world) {
		n := 0
		w.primaries[0].plan = func() plan {
			if n++; n == 4 { // dial, question, question: then the connection is closed
				return plan{fault: closes}
			}
			return plan{}
		}
		for range 5 {
			if r := w.once(query(zone.TypeSOA, 0)); r.serial != 10 {
				t.Fatalf("%+v, %v", r, w.failed)
			}
		}
		if len(w.failed) != 0 || n < 7 {
			t.Errorf("%v after %d", w.failed, n)
		}
	})
	bubble(t, "swept", 1, nil, func(t *testing.T, w *world) {
		w.once(query(zone.TypeSOA, 0))
		if w.open.Load() != 1 {
			t.Errorf("%d connections are kept", w.open.Load())
		}
		time.Sleep(idleFor + time.Second)
		w.p.pool.sweep()
		if w.open.Load() != 0 {
			t.Errorf("%d old connections are kept", w.open.Load())
		}
	})
}

// TestNeverOlder: random serials, random faults at random moments, several
// connections. No answer is below what the name server serves, none mixes two
// primaries, every question ends in time, and a sound, current primary is always
// enough for an answer.
func TestNeverOlder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range 60 {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		bubble(t, fmt.Sprint(round), 1+rng.IntN(4), nil, func(t *testing.T, w *world) { neverOlder(t, w, rng) })
	}
}

func neverOlder(t *testing.T, w *world, rng *rand.Rand) {
	base := rng.Uint32() // near the end of the numbers as well
	if rng.IntN(2) == 0 {
		base = 1<<32 - 20
	}
	for _, pr := range w.primaries {
		pr.size = rng.IntN(200)
		pr.serial = base + uint32(rng.IntN(5))
		pr.oldest = base - uint32(rng.IntN(10))
	}
	all := faults()
	for range 40 {
		synctest.Wait()                    // what the last questions left behind
		safe := rng.IntN(len(w.primaries)) // it is sound and current
		best := base
		for i, pr := range w.primaries {
			pr.mu.Lock()
			pr.serial += uint32(rng.IntN(3))
			if zone.SerialGT(pr.serial, best) {
				best = pr.serial
			}
			if pr.gone == nil && rng.IntN(2) == 0 {
				pr.gone = make(chan struct{})
			}
			pl := plan{fault: all[rng.IntN(len(all))], after: rng.IntN(4) * rng.IntN(10), whole: rng.IntN(3) == 0, delay: time.Duration(rng.IntN(3)*rng.IntN(400)) * time.Millisecond}
			if i == safe {
				pl = plan{delay: pl.delay, whole: pl.whole}
			}
			pr.plan = func() plan { return pl }
			pr.mu.Unlock()
		}
		w.primaries[safe].mu.Lock()
		w.primaries[safe].serial = best
		w.primaries[safe].mu.Unlock()
		w.mu.Lock()
		rng.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
		w.mu.Unlock()

		type outcome struct {
			q     string
			r     result
			floor uint32
			err   error
		}
		results := make(chan outcome)
		asked := 1 + rng.IntN(3)
		for range asked {
			qtype := []zone.Type{zone.TypeSOA, zone.TypeIXFR, zone.TypeAXFR}[rng.IntN(3)]
			w.mu.Lock()
			floor, ok := w.floor[origin]
			w.mu.Unlock()
			if !ok && qtype == zone.TypeIXFR {
				qtype = zone.TypeAXFR
			}
			q := query(qtype, floor)
			go func() {
				k := w.client(t.Context())
				defer k.close()
				r, err := k.ask(q)
				results <- outcome{qtype.String(), r, floor, err}
			}()
		}
		for range asked {
			o := <-results
			if o.err != nil {
				t.Fatalf("%s: %v", o.q, o.err)
			}
			w.mu.Lock()
			served, ok := w.floor[origin]
			switch {
			case o.r.broken:
			case o.r.took > w.p.cfg.Total+w.p.cfg.IdleTimeout:
				t.Fatalf("%s: first octet after %v", o.q, o.r.took)
			case o.r.rcode != 0 && ok && served != o.floor: // another connection has brought more meanwhile
			case o.r.rcode != 0:
				t.Fatalf("%s: RCODE %d, although a primary is sound and current; %v", o.q, o.r.rcode, w.failed)
			case ok && o.floor != 0 && !zone.SerialGE(o.r.serial, o.floor):
				t.Fatalf("%s: serial %d below the %d served when it was asked", o.q, o.r.serial, o.floor)
			case o.q != "SOA" && (!ok || zone.SerialGT(o.r.serial, served)):
				w.floor[origin] = o.r.serial // named has it now
			}
			w.failed = nil
			w.mu.Unlock()
		}
	}
}

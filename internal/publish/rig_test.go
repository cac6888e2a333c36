package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// patience bounds waits for events in tests; nothing sleeps for it.
const patience = 60 * time.Second

func name(s string) zone.Name { return zone.MustParseName(s) }

// plainOpener has nothing sealed.
type plainOpener struct{}

func (plainOpener) Open(_ string, _ uint64, sealed []byte) ([]byte, error) { return sealed, nil }

// rig is a state machine, a publisher and a real named. The test plays the log.
type rig struct {
	t   testing.TB
	pub *Publisher
	srv *named.Server

	mu     sync.Mutex
	m      *fsm.Machine
	index  uint64
	seq    uint64
	timeMS int64
}

type rigOption func(*Config, *named.Config)

func newRig(t testing.TB, r namedtest.Release, options ...rigOption) *rig {
	t.Helper()
	rg := &rig{t: t, m: fsm.New(), timeMS: 1_700_000_000_000}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	cfg := DefaultConfig()
	cfg.Opener, cfg.Logger, cfg.Cutter = plainOpener{}, log, rg.cut
	cfg.UpdateTimeout = 5 * time.Second
	nc := named.DefaultConfig()
	nc.Path, nc.Dir = r.Named, namedtest.Dir(t)
	nc.Listen, nc.Control = []netip.AddrPort{namedtest.FreePort(t)}, namedtest.FreePort(t)
	nc.ProbeInterval, nc.ProbeTimeout, nc.ProbeFailures = 200*time.Millisecond, 2*time.Second, 3
	nc.RestartMin = 10 * time.Millisecond
	for _, o := range options {
		o(&cfg, &nc)
	}
	pub, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := named.New(t.Context(), nc, pub.Content, log)
	if err != nil {
		t.Fatal(err)
	}
	rg.pub, rg.srv = pub, srv
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := pub.Run(ctx, srv); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return rg
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// apply puts one entry into the log and hands its effects to the publisher.
func (r *rig) apply(cmds ...fsm.Command) fsm.Effects {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index += 3 // dense it is not
	r.seq++
	r.timeMS += 4
	e, err := r.m.Apply(r.index, fsm.EncodeEntry(fsm.Entry{Header: fsm.Header{Replica: "a", Epoch: 1, Seq: r.seq, TimeMS: r.timeMS}, Commands: cmds}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.pub.Applied([]fsm.Effects{e})
	return e
}

// must is apply for commands that may not be refused.
func (r *rig) must(cmds ...fsm.Command) fsm.Effects {
	r.t.Helper()
	e := r.apply(cmds...)
	for i, res := range e.Results {
		if res.Err != "" || res.RCode != 0 {
			r.t.Fatalf("%T: %+v", cmds[i], res)
		}
	}
	return e
}

func (r *rig) cut(_ context.Context, id fsm.ZoneID) error {
	r.apply(&fsm.Cut{Zone: id})
	return nil
}

func (r *rig) addZone(origin string, settings fsm.ZoneSettings) fsm.ZoneID {
	r.t.Helper()
	id := fsm.ZoneOf(name(origin))
	if settings.AllowUpdate == "" {
		settings.AllowUpdate = "127.0.0.1;"
	}
	r.must(&fsm.PutZone{Zone: id, Create: true, Settings: settings,
		RRs: fsm.NewZoneRRs(id.Name, name("ns.invalid"), name("hostmaster.invalid"), nil)})
	return id
}

func message(id fsm.ZoneID, updates ...zone.RR) *fsm.Update {
	return &fsm.Update{Addr: netip.MustParseAddr("127.0.0.1"), AddrProven: true, Wire: named.AppendUpdate(nil, 1, id.Name, nil, updates)}
}

func add(owner string, ttl uint32, t zone.Type, data string) zone.RR {
	return zone.RR{Name: name(owner), Type: t, Class: zone.ClassIN, TTL: ttl, Data: data}
}

func del(rr zone.RR) zone.RR {
	rr.Class, rr.TTL = zone.ClassNONE, 0
	return rr
}

// delSet deletes an RRset, or all at a name with type ANY.
func delSet(owner zone.Name, t zone.Type) zone.RR {
	return zone.RR{Name: owner, Type: t, Class: zone.ClassANY}
}

// expect waits until the zone is published and compares named's content, by AXFR, with the state machine's.
func (r *rig) expect(id fsm.ZoneID) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for {
		r.mu.Lock()
		index := r.index
		v, ok := r.m.Zone(id)
		r.mu.Unlock()
		if !ok {
			r.t.Fatalf("the state machine has no zone %s", id)
		}
		ticket, err := r.pub.WaitPublished(ctx, id, index)
		if err != nil {
			r.t.Fatal(err)
		}
		s, ok := r.pub.Session()
		if !ok {
			continue
		}
		st := s.NewStream()
		soa, sum, n, err := st.Digest(ctx, id.Name)
		st.Close()
		if err != nil && ctx.Err() == nil {
			continue // named ended under the transfer
		}
		if !r.pub.Valid(ticket) {
			continue // exactly what the ticket is for
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if sum != v.Zone.Digest() {
			r.t.Fatalf("%s: named has %d RRs, serial %d, digest %s; want %d, %d, %s", id, n, zone.SOASerial(soa.Data), sum,
				v.Zone.Records(), v.Zone.Serial(), v.Zone.Digest())
		}
		return
	}
}

// session waits for an incarnation of named newer than after.
func (r *rig) session(after uint64) *named.Session {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		st, changed := r.srv.Watch()
		if s, ok := r.srv.Session(); ok && s.Incarnation() > after {
			return s
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("named is not running: %+v", st)
		}
	}
}

func (r *rig) signal(sig syscall.Signal) {
	r.t.Helper()
	st, _ := r.srv.Watch()
	if st.PID == 0 {
		return
	}
	if err := syscall.Kill(st.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		r.t.Fatal(err)
	}
}

func (r *rig) replacements(reason string) float64 {
	return r.count(r.pub.metrics.replacements.WithLabelValues(reason))
}

func (r *rig) count(c prometheus.Counter) float64 {
	r.t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		r.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// changer makes random updates that reach every special case of named's UPDATE code.
type changer struct {
	rng    *rand.Rand
	id     fsm.ZoneID
	origin string
	steady bool // no leaps of the serial
}

// changers adds n zones, each with a source of changes.
func changers(r *rig, rng *rand.Rand, n int) []*changer {
	var l []*changer
	for i := range n {
		l = append(l, &changer{rng: rng, id: r.addZone(zoneName(i), fsm.ZoneSettings{}), origin: zoneName(i)})
	}
	return l
}

func (c *changer) owner() string {
	labels := []string{"a", "b", "B", "c", "sub", "sub.deep", "*.wild", "x.wild", "Cap", "cap", `o\.dd`}
	return labels[c.rng.IntN(len(labels))] + "." + c.origin
}

func (c *changer) rr() zone.RR {
	r := c.rng
	ttl := []uint32{0, 60, 60, 300}[r.IntN(4)]
	target := string(name([]string{"t1.invalid", "T1.invalid", "t2.invalid", "t3.invalid"}[r.IntN(4)]))
	switch r.IntN(12) {
	case 0, 1, 2:
		return add(c.owner(), ttl, zone.TypeA, string([]byte{10, 0, 0, byte(r.IntN(6))}))
	case 3:
		return add(c.owner(), ttl, zone.TypeTXT, "\x02t"+string(byte('0'+r.IntN(5))))
	case 4:
		return add(c.owner(), ttl, zone.TypeCNAME, target)
	case 5:
		return add(c.owner(), ttl, zone.TypeMX, "\x00"+string(byte(r.IntN(3)))+target)
	case 6:
		return add("sub."+c.origin, ttl, zone.TypeNS, target)
	case 7:
		return add("sub."+c.origin, ttl, zone.TypeDS, "\x12\x34\x08\x02"+strings.Repeat(string(byte('0'+r.IntN(3))), 32))
	case 8:
		return add(c.origin, ttl, zone.TypeNS, target)
	case 9:
		return add(c.owner(), ttl, zone.TypeDNAME, target)
	case 10:
		return add(c.owner(), ttl, zone.Type(65280+r.IntN(2)), strings.Repeat("z", r.IntN(3)))
	default:
		return add(c.origin, ttl, zone.TypeTXT, "\x02a"+string(byte('0'+r.IntN(5))))
	}
}

// next returns the next request, given the zone's present content.
func (c *changer) next(z *zone.Zone) *fsm.Update {
	var updates []zone.RR
	for range 1 + c.rng.IntN(4) {
		rr := c.rr()
		switch c.rng.IntN(10) {
		case 0, 1:
			updates = append(updates, del(rr))
		case 2:
			updates = append(updates, delSet(rr.Name, rr.Type))
		case 3:
			updates = append(updates, delSet(rr.Name, zone.Type(255)))
		case 4:
			if c.rng.IntN(4) == 0 && !c.steady { // a leap of the serial, also across zero
				soa := z.SOA().RR(0)
				soa.Data = zone.WithSOASerial(soa.Data, zone.SerialAdd(z.Serial(), uint32(c.rng.IntN(1<<31-2))))
				updates = append(updates, soa)
				continue
			}
			fallthrough
		default:
			updates = append(updates, rr)
		}
	}
	return message(c.id, updates...)
}

func seed(t testing.TB) *rand.Rand {
	s := uint64(time.Now().UnixNano())
	t.Logf("seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

func zoneName(i int) string { return fmt.Sprintf("z%d.test", i) }

package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const patience = 10 * time.Second

var example = zone.MustParseName("example.test.")

func soaOf(z zone.Name, serial uint32) zone.RR {
	soa := zone.SOA{MName: zone.MustParseName("ns.test."), RName: zone.MustParseName("hostmaster.test."), Serial: serial, Refresh: 1, Retry: 1, Expire: 1, Minimum: 1}
	return zone.RR{Name: z, Type: zone.TypeSOA, Class: zone.ClassIN, TTL: 60, Data: soa.Data()}
}

// key makes a key; secrets with another text are other secrets.
func key(t *testing.T, name, secret string) tsig.Key {
	t.Helper()
	k, err := tsig.NewKey(tsig.Key{Name: zone.MustParseName(name), Algorithm: tsig.HMACSHA256, Secret: []byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// message is a NOTIFY as a target got it.
type message struct {
	from   net.Addr
	raw    []byte
	zone   zone.Name
	serial uint32
	signed *tsig.Request // nil: unsigned
	bad    error         // why the signature is refused
}

// target is a server that is told; tests answer for it.
type target struct {
	Target
	t    *testing.T
	conn net.PacketConn
	got  chan message
}

// newTarget listens. It knows the keys of ring.
func newTarget(t *testing.T, by zone.Name, ring tsig.Keyring) *target {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &target{Target: Target{Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Key: by}, t: t, conn: conn, got: make(chan message, 10_000)}
	var wg sync.WaitGroup
	wg.Go(func() { x.listen(ring) })
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return x
}

func (x *target) listen(ring tsig.Keyring) {
	for {
		buf := make([]byte, 4096)
		n, from, err := x.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m := message{from: from, raw: buf[:n]}
		if ring != nil {
			m.signed, m.bad = tsig.Verify(m.raw, ring, time.Now())
		}
		flags := int(m.raw[2])<<8 | int(m.raw[3])
		name, off, err := zone.UnpackName(m.raw, headerSize)
		if err != nil || flags != opcodeNotify<<11|flagAA {
			x.t.Errorf("not a NOTIFY: flags %#x, %v", flags, err)
		}
		rr, _, err := zone.UnpackRR(m.raw, off+4)
		if err != nil || rr.Type != zone.TypeSOA || rr.Name != name {
			x.t.Errorf("no SOA in the answer section: %+v, %v", rr, err)
		}
		m.zone, m.serial = name, zone.SOASerial(rr.Data)
		x.got <- m
	}
}

// next waits for a message with a serial.
func (x *target) next(serial uint32) message {
	x.t.Helper()
	select {
	case m := <-x.got:
		if m.serial != serial {
			x.t.Errorf("a NOTIFY with serial %d, want %d", m.serial, serial)
		}
		return m
	case <-time.After(patience):
		x.t.Fatalf("no NOTIFY with serial %d", serial)
		return message{}
	}
}

// none checks that nothing has been sent that was not taken.
func (x *target) none(what string) {
	x.t.Helper()
	if n := len(x.got); n != 0 {
		x.t.Errorf("%s: %d more messages, the first %+v", what, n, <-x.got)
	}
}

func (x *target) answer(m message, rcode byte) {
	x.t.Helper()
	r := m.raw
	if m.signed != nil {
		r = r[:m.signed.Offset]
	}
	_, off, err := zone.UnpackName(r, headerSize)
	if err != nil {
		x.t.Fatal(err)
	}
	r = append([]byte(nil), r[:off+4]...)
	r[2] |= 0x80
	r[3] = r[3]&0xf0 | rcode
	for i := 6; i < 12; i++ {
		r[i] = 0
	}
	if m.signed != nil {
		r = m.signed.Sign(r, time.Now())
	}
	if _, err := x.conn.WriteTo(r, m.from); err != nil {
		x.t.Error(err)
	}
}

// rig is a running Sender.
type rig struct {
	*Sender
	t   *testing.T
	reg *prometheus.Registry
	log *strings.Builder
	mu  *sync.Mutex
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, reg: prometheus.NewRegistry(), log: &strings.Builder{}, mu: &sync.Mutex{}}
	cfg := DefaultConfig()
	cfg.Keys, cfg.Registerer = tsig.Ring{}, r.reg
	cfg.Logger = slog.New(slog.NewTextHandler(r, nil))
	cfg.Retries = []time.Duration{time.Minute} // tests that wait for repetitions say so
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Sender, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return r
}

// Write implements io.Writer for the log.
func (r *rig) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

// logged waits for a line of the log.
func (r *rig) logged(want string) {
	r.t.Helper()
	eventually(r.t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !strings.Contains(r.log.String(), want) {
			return fmt.Errorf("the log does not say %q:\n%s", want, r.log)
		}
		return nil
	})
}

// acked waits until a target has acknowledged a serial.
func (r *rig) acked(z zone.Name, x *target, serial uint32) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got, ok := r.Acknowledged(z, x.Target); !ok || got != serial {
			return fmt.Errorf("serial %d is acknowledged (%v), want %d", got, ok, serial)
		}
		return nil
	})
}

func (r *rig) messages(result string) float64 {
	r.t.Helper()
	all, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "zonekeeper_notify_messages_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// One message is under way at a time; what changes meanwhile is one more message, and goes out with the answer to the first.
func TestNewestWins(t *testing.T) {
	x, other := newTarget(t, "", nil), zone.MustParseName("other.test.")
	r := newRig(t, nil)
	r.Lead(true)
	to := []Target{x.Target}
	if _, ok := r.Acknowledged(example, x.Target); ok {
		t.Error("acknowledged before anything was said")
	}
	r.Announce(example, soaOf(example, 1), to)
	m := x.next(1)
	for serial := uint32(2); serial < 50; serial++ {
		r.Announce(example, soaOf(example, serial), to)
	}
	r.Announce(other, soaOf(other, 7), to) // another zone does not wait
	if o := x.next(7); o.zone != other {
		t.Errorf("a NOTIFY of %s", o.zone)
	}
	x.answer(m, rcodeNoError)
	x.answer(x.next(49), rcodeNoError)
	r.acked(example, x, 49)
	r.Announce(example, soaOf(example, 49), to) // as when named has loaded the zone anew
	x.none("what is acknowledged already")
	if n := r.messages(resultAcknowledged); n != 2 {
		t.Errorf("%v acknowledgements are counted, want 2", n)
	}
}

// A target that does not answer gets each repetition, and no more until the next change.
func TestRepeats(t *testing.T) {
	x := newTarget(t, "", nil)
	r := newRig(t, func(c *Config) {
		c.Retries = []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}
	})
	r.Lead(true)
	for _, serial := range []uint32{1, 2} {
		r.Announce(example, soaOf(example, serial), []Target{x.Target})
		for range 4 {
			x.next(serial)
		}
		eventually(t, func() error {
			if n := r.messages(resultUnanswered); n != 4*float64(serial) {
				return fmt.Errorf("%v unanswered messages", n)
			}
			return nil
		})
		x.none("after the last repetition")
	}
	r.logged("no answer to 4 messages")
	r.Announce(example, soaOf(example, 3), []Target{x.Target})
	x.answer(x.next(3), rcodeNoError)
	r.acked(example, x, 3)
	r.logged("takes NOTIFY again")
}

// Who does not lead sends once, later; a new leader says again what was not acknowledged to it.
func TestLeadership(t *testing.T) {
	x := newTarget(t, "", nil)
	var mu sync.Mutex
	now := time.Now()
	r := newRig(t, func(c *Config) {
		c.FollowerDelay = 50 * time.Millisecond
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	pass := func(d time.Duration) {
		mu.Lock()
		now = now.Add(d)
		mu.Unlock()
		r.poke()
	}
	to := []Target{x.Target}
	r.Announce(example, soaOf(example, 1), to)
	pass(30 * time.Millisecond)
	r.Announce(example, soaOf(example, 2), to)
	x.none("before the delay")
	pass(20 * time.Millisecond)
	x.next(2)
	pass(time.Minute + time.Second)
	eventually(t, func() error {
		if n := r.messages(resultUnanswered); n != 1 {
			return fmt.Errorf("%v unanswered messages", n)
		}
		return nil
	})
	x.none("who does not lead does not repeat")

	other := zone.MustParseName("other.test.")
	r.Announce(other, soaOf(other, 7), to)
	r.Lead(true)
	if m := x.next(7); m.zone != other { // example's change is too old
		t.Errorf("a new leader announces %s", m.zone)
	} else {
		x.answer(m, rcodeNoError)
	}
	r.acked(other, x, 7)
	r.Lead(false)
	r.Lead(true)
	x.none("what is acknowledged")
}

// Rotation: the newest secret signs, the one before it where the target does not know that yet.
func TestSecrets(t *testing.T) {
	newest, before := key(t, "k.test.", "the newest"), key(t, "k.test.", "the one before")
	ring := tsig.Ring{"\x01k\x04test\x00": {newest, before}}
	for _, c := range []struct {
		what  string
		knows tsig.Key
		tries int
		bare  bool // it refuses without a TSIG RR
	}{{"the newest", newest, 1, false}, {"the one before", before, 2, false}, {"the one before, and says only NOTAUTH", before, 2, true}} {
		known, err := tsig.NewRing(c.knows)
		if err != nil {
			t.Fatal(err)
		}
		x := newTarget(t, newest.Name, known)
		r := newRig(t, func(cfg *Config) { cfg.Keys = ring })
		r.Lead(true)
		r.Announce(example, soaOf(example, 1), []Target{x.Target})
		for try := 1; ; try++ {
			m := x.next(1)
			if m.signed == nil {
				t.Fatalf("%s: unsigned", c.what)
			}
			if m.bad == nil {
				if try != c.tries {
					t.Errorf("%s: the signature was right at message %d, want %d", c.what, try, c.tries)
				}
				x.answer(m, rcodeNoError)
				break
			}
			if try == 2 {
				t.Fatalf("%s: %v", c.what, m.bad)
			}
			if c.bare {
				m.raw, m.signed = m.raw[:m.signed.Offset], nil
			}
			x.answer(m, rcodeNotAuth)
		}
		r.acked(example, x, 1)
	}
}

// What can't be signed right is said, and left to the next change.
func TestWrongKey(t *testing.T) {
	k := key(t, "k.test.", "ours")
	theirs, err := tsig.NewRing(key(t, "k.test.", "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	x := newTarget(t, k.Name, theirs)
	r := newRig(t, func(c *Config) { c.Keys = tsig.Ring{k.Name: {k}} })
	r.Lead(true)
	r.Announce(example, soaOf(example, 1), []Target{x.Target})
	x.answer(x.next(1), rcodeNotAuth)
	r.logged("BADSIG")
	none := newTarget(t, zone.MustParseName("none.test."), nil)
	r.Announce(example, soaOf(example, 1), []Target{none.Target})
	r.logged("key none.test. has no secret")
	x.none("after a TSIG error")
	none.none("without a key")
	if n := r.messages(resultTSIG); n != 1 {
		t.Errorf("%v TSIG errors are counted", n)
	}
}

// Answers that are not the target's, or not to this question, change nothing.
func TestForeignAnswers(t *testing.T) {
	k := key(t, "k.test.", "secret")
	known := tsig.Ring{k.Name: {k}}
	x, y := newTarget(t, k.Name, known), newTarget(t, "", nil)
	r := newRig(t, func(c *Config) { c.Keys = known })
	r.Lead(true)
	r.Announce(example, soaOf(example, 1), []Target{x.Target})
	m := x.next(1)
	forged := m
	y.answer(message{from: m.from, raw: m.raw[:m.signed.Offset]}, rcodeNoError) // from another address
	forged.raw = append([]byte(nil), m.raw...)
	forged.raw[1]++
	x.answer(forged, rcodeNoError) // another ID
	wrong := *m.signed
	other := key(t, "k.test.", "guessed")
	wrong.Key = &other
	x.answer(message{from: m.from, raw: m.raw, signed: &wrong}, rcodeNoError) // another secret
	for _, garbage := range []string{"", "short", strings.Repeat("\xff", 40)} {
		if _, err := x.conn.WriteTo([]byte(garbage), m.from); err != nil {
			t.Fatal(err)
		}
	}
	// The last message of all: those before it have been read when it has.
	r.Announce(zone.MustParseName("last.test."), soaOf(zone.MustParseName("last.test."), 1), []Target{x.Target})
	x.answer(x.next(1), rcodeNoError)
	r.acked(zone.MustParseName("last.test."), x, 1)
	if _, ok := r.Acknowledged(example, x.Target); ok {
		t.Error("a forged answer was taken")
	}
	x.answer(m, rcodeNoError)
	r.acked(example, x, 1)
}

func TestRefusals(t *testing.T) {
	x := newTarget(t, "", nil)
	r := newRig(t, func(c *Config) { c.Retries = []time.Duration{time.Millisecond, time.Minute} })
	r.Lead(true)
	to := []Target{x.Target}
	r.Announce(example, soaOf(example, 1), to)
	x.answer(x.next(1), rcodeServFail) // it may be able to in a moment
	x.answer(x.next(1), rcodeRefused)
	r.logged("REFUSED: let it take NOTIFY with this key")
	x.none("after REFUSED")
	r.Announce(example, soaOf(example, 2), to)
	m := x.next(2)
	r.Announce(example, soaOf(example, 3), to)
	x.answer(m, rcodeNotAuth)
	x.answer(x.next(3), rcodeNoError) // a change that came meanwhile is another matter
	r.acked(example, x, 3)
}

// I8: a target's window bounds what is under way, whatever becomes of other targets.
func TestWindow(t *testing.T) {
	dead, live := newTarget(t, "", nil), newTarget(t, "", nil)
	r := newRig(t, func(c *Config) { c.MaxInFlight = 10 })
	r.Lead(true)
	const zones = 200
	name := func(i int) zone.Name { return zone.MustParseName(fmt.Sprintf("z%d.test.", i)) }
	for i := range zones {
		r.Announce(name(i), soaOf(name(i), 1), []Target{dead.Target, live.Target})
	}
	for range zones {
		m := live.next(1)
		if n := len(live.got); n >= 10 {
			t.Fatalf("%d messages are under way", n+1)
		}
		live.answer(m, rcodeNoError)
	}
	for i := range zones {
		r.acked(name(i), live, 1)
	}
	if n := len(dead.got); n != 10 {
		t.Errorf("%d messages to a target that does not answer, want 10", n)
	}
	// Zones that are gone leave the window to others.
	for i := range zones - 1 {
		r.Forget(name(i))
	}
	for range 10 {
		<-dead.got
	}
	r.Announce(name(zones-1), soaOf(name(zones-1), 2), []Target{dead.Target})
	if m := dead.next(2); m.zone != name(zones-1) {
		t.Errorf("a NOTIFY of %s", m.zone)
	}
	r.Sender.mu.Lock()
	defer r.Sender.mu.Unlock()
	if len(r.news) != 1 {
		t.Errorf("%d zones are remembered", len(r.news))
	}
}

// A target that is not to be told of a zone any more hears nothing of what was to come: repetitions, what waits for room in its
// window, what a primary that does not lead sends later. Other zones and targets go on.
func TestWithdraw(t *testing.T) {
	x, y := newTarget(t, "", nil), newTarget(t, "", nil)
	var mu sync.Mutex
	now := time.Now()
	r := newRig(t, func(c *Config) {
		c.MaxInFlight = 1
		c.Retries = []time.Duration{time.Minute, time.Minute}
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	pass := func(d time.Duration) {
		mu.Lock()
		now = now.Add(d)
		mu.Unlock()
		r.poke()
	}
	queued, other := zone.MustParseName("queued.test."), zone.MustParseName("other.test.")
	r.Lead(true)
	r.Announce(example, soaOf(example, 1), []Target{x.Target, y.Target})
	m := x.next(1)
	y.answer(y.next(1), rcodeNoError)
	r.acked(example, y, 1)
	for i, z := range []zone.Name{queued, other} {
		r.Announce(z, soaOf(z, uint32(i)+2), []Target{x.Target})
	}
	x.none("beyond the window")
	r.Withdraw(queued, []Target{x.Target})
	r.Withdraw(example, []Target{x.Target})
	o := x.next(3) // and not queued's, which was before it
	x.answer(m, rcodeNoError)
	x.answer(o, rcodeNoError)
	r.acked(other, x, 3)
	if _, ok := r.Acknowledged(example, x.Target); ok {
		t.Error("an answer counts that came after the target was withdrawn")
	}

	r.Lead(false)
	r.Announce(example, soaOf(example, 2), []Target{x.Target, y.Target})
	r.Announce(other, soaOf(other, 4), []Target{x.Target})
	r.Withdraw(example, []Target{x.Target})
	pass(time.Second)
	y.next(2)
	x.answer(x.next(4), rcodeNoError)
	r.acked(other, x, 4)
	pass(time.Hour)
	r.Lead(true)
	r.Announce(example, soaOf(example, 3), []Target{x.Target}) // it is to be told again
	x.answer(x.next(3), rcodeNoError)
	r.acked(example, x, 3)
	x.none("what was withdrawn")
}

// What can't be sent is said, and no reason to stop.
func TestSendFails(t *testing.T) {
	r, x := newRig(t, nil), newTarget(t, "", nil)
	r.Lead(true)
	nowhere := Target{Addr: netip.MustParseAddrPort("127.0.0.1:0")} // the kernel refuses port 0
	r.Announce(example, soaOf(example, 1), []Target{nowhere, x.Target})
	r.logged("can't be sent")
	x.answer(x.next(1), rcodeNoError)
	r.acked(example, x, 1)
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{Retries: []time.Duration{-1}, FollowerDelay: -1})
	for _, want := range []string{"Keys", "Retries has -1ns", "MaxInFlight", "FollowerDelay", "Logger or Now"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Retries is empty") {
		t.Error(err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	msg := appendMessage(nil, 7, soaOf(example, 1))
	msg[2] |= 0x80
	f.Add(msg)
	f.Fuzz(func(t *testing.T, b []byte) {
		id, rcode, _, err := parseAnswer(b)
		if err != nil {
			if !errors.Is(err, errMessage) {
				t.Errorf("%v does not say that it is no answer", err)
			}
			return
		}
		if len(b) < headerSize || id != uint16(b[0])<<8|uint16(b[1]) || rcode > 15 {
			t.Errorf("ID %d, response code %d", id, rcode)
		}
	})
}

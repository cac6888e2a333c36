package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// fake is a primary that answers every request with its own name behind the
// request's ID, or swallows it while mute.
type fake struct {
	name string
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  net.Listener
	got  chan []byte

	mu    sync.Mutex
	down  bool
	mute  bool
	conns []net.Conn
}

func newFake(t *testing.T, name string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{name: name, addr: addr, udp: u, tcp: l, got: make(chan []byte, 100)}
	t.Cleanup(f.die)
	go f.serveUDP()
	go f.serveTCP()
	return f
}

func (f *fake) serveUDP() {
	buf := make([]byte, 65535)
	for {
		n, from, err := f.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		f.got <- bytes.Clone(buf[:n])
		f.mu.Lock()
		mute := f.mute
		f.mu.Unlock()
		if !mute {
			_, _ = f.udp.WriteToUDPAddrPort(append(bytes.Clone(buf[:headerSize]), f.name...), from)
		}
	}
}

func (f *fake) serveTCP() {
	for {
		c, err := f.tcp.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns = append(f.conns, c)
		f.mu.Unlock()
		go func() {
			buf := make([]byte, 100)
			for {
				n, err := c.Read(buf)
				if err != nil {
					_ = c.Close()
					return
				}
				_, _ = fmt.Fprintf(c, "%s:%s", f.name, buf[:n])
			}
		}()
	}
}

// die closes everything, as the kernel does for a killed process.
func (f *fake) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	_ = f.udp.Close()
	_ = f.tcp.Close()
	for _, c := range f.conns {
		_ = c.Close()
	}
}

func (f *fake) set(mute, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mute, f.down = mute, down
}

func (f *fake) check(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return errors.New("down")
	}
	return nil
}

func startRelay(t *testing.T, fakes ...*fake) *Relay {
	t.Helper()
	cfg := DefaultConfig()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = netip.MustParseAddrPort(l.Addr().String())
	_ = l.Close()
	cfg.CheckEvery = 5 * time.Millisecond
	for _, f := range fakes {
		cfg.Backends = append(cfg.Backends, Backend{Name: f.name, DNS: f.addr, Check: f.check})
	}
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// message is a bare header with an opcode, padded to look like a request.
func message(id uint16, opcode byte) []byte {
	m := make([]byte, headerSize)
	binary.BigEndian.PutUint16(m, id)
	m[2] = opcode << 3
	return m
}

func signed(t *testing.T, id uint16) []byte {
	t.Helper()
	name, err := zone.ParseName("k.")
	if err != nil {
		t.Fatal(err)
	}
	k, err := tsig.NewKey(tsig.Key{Name: name, Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return tsig.SignRequest(message(id, opcodeUpdate), k, time.Now())
}

func dialUDP(t *testing.T, r *Relay) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answer waits for one answer and returns the primary's name.
func answer(t *testing.T, c *net.UDPConn, id uint16) string {
	t.Helper()
	buf := make([]byte, 512)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("answer to %d: %v", id, err)
	}
	if got := binary.BigEndian.Uint16(buf); got != id {
		t.Fatalf("answer to %d, want %d", got, id)
	}
	return string(buf[headerSize:n])
}

func receive(t *testing.T, f *fake) []byte {
	t.Helper()
	select {
	case m := <-f.got:
		return m
	case <-time.After(10 * time.Second):
		t.Fatalf("%s received nothing", f.name)
		return nil
	}
}

func TestUDPMovesWhenThePrimaryDies(t *testing.T) {
	a, b := newFake(t, "a"), newFake(t, "b")
	c := dialUDP(t, startRelay(t, a, b))
	_, _ = c.Write(message(1, 0))
	first, other := a, b
	if answer(t, c, 1) == "b" {
		first, other = b, a
	}
	first.die()
	for id := uint16(2); id < 10; id++ {
		_, _ = c.Write(signed(t, id))
		if got := answer(t, c, id); got != other.name {
			t.Fatalf("message %d was answered by %s, want %s", id, got, other.name)
		}
	}
}

// I4 lets a signed request be repeated, and only that.
func TestUDPRepeatsWhatCannotBeAppliedTwice(t *testing.T) {
	a, b := newFake(t, "a"), newFake(t, "b")
	a.set(true, false)
	b.set(true, false)
	c := dialUDP(t, startRelay(t, a, b))

	unsignedUpdate, signedUpdate, query := message(1, opcodeUpdate), signed(t, 2), message(3, 0)
	for _, m := range [][]byte{unsignedUpdate, signedUpdate, query} {
		_, _ = c.Write(m)
	}
	first, other := a, b
	select {
	case m := <-a.got:
		a.got <- m
	case m := <-b.got:
		b.got <- m
		first, other = b, a
	}
	for range 3 {
		receive(t, first)
	}
	other.set(false, false)
	first.set(true, true) // hangs: swallows requests, and its check fails
	if got := answer(t, c, 2); got != other.name {
		t.Errorf("the signed update was answered by %s", got)
	}
	if got := answer(t, c, 3); got != other.name {
		t.Errorf("the query was answered by %s", got)
	}
	if m := receive(t, other); !bytes.Equal(m, signedUpdate) {
		t.Errorf("the other primary got %x first, want the signed update unchanged", m)
	}
	if m := receive(t, other); !bytes.Equal(m, query) {
		t.Errorf("the other primary got %x, want the query", m)
	}
	_, _ = c.Write(message(4, 0))
	answer(t, c, 4)
	if m := receive(t, other); binary.BigEndian.Uint16(m) != 4 {
		t.Errorf("the other primary got message %d, want 4: the unsigned update was repeated", binary.BigEndian.Uint16(m))
	}
}

// D6: SERVFAIL means not applied. The second primary can't promise that for the first.
func TestUDPKeepsDoubtFromTheClient(t *testing.T) {
	a, b := newFake(t, "a"), newFake(t, "b")
	a.set(true, false)
	b.set(true, false)
	c := dialUDP(t, startRelay(t, a, b))
	update, query := signed(t, 1), message(2, 0)
	update[3] |= rcodeServFail // the fakes send the header back
	query[3] |= rcodeServFail
	_, _ = c.Write(update)
	first, other := a, b
	select {
	case <-a.got:
	case <-b.got:
		first, other = b, a
	}
	_, _ = c.Write(query)
	receive(t, first)
	other.set(false, false)
	first.die()
	if got := answer(t, c, 2); got != other.name { // it was sent after the update
		t.Errorf("answered by %s", got)
	}
	_, _ = c.Write(message(3, 0))
	answer(t, c, 3)
}

// A primary that is alive and not ready says why it can't answer; that is better than silence.
func TestUDPReachesAPrimaryThatIsNotReady(t *testing.T) {
	a := newFake(t, "a")
	a.set(false, true)
	c := dialUDP(t, startRelay(t, a))
	for id := uint16(1); id < 20; id++ {
		_, _ = c.Write(message(id, 0))
		if got := answer(t, c, id); got != "a" {
			t.Fatalf("answered by %q", got)
		}
	}
}

func TestTCPClosesWithThePrimaryAndReconnects(t *testing.T) {
	a, b := newFake(t, "a"), newFake(t, "b")
	r := startRelay(t, a, b)
	talk := func() (net.Conn, string) {
		t.Helper()
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "hello")
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return c, string(buf[:n])
	}
	c, got := talk()
	first, other := a, b
	if got == "b:hello" {
		first, other = b, a
	}
	first.set(false, true) // hangs, with its connections open
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection to the hung primary stays open")
	}
	for range 4 {
		if _, got := talk(); got != other.name+":hello" {
			t.Errorf("answer %q, want one of %s", got, other.name)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err == nil {
		t.Error("a relay without addresses was accepted")
	}
	c.Listen = netip.MustParseAddrPort("127.0.0.1:1")
	c.Backends = []Backend{{}}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.CheckEvery = 0
	if err := c.Validate(); err == nil {
		t.Error("CheckEvery 0 was accepted")
	}
}

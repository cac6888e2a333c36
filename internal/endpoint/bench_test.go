package endpoint

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

// discard is a replier without a socket: it renders and signs.
type discard struct {
	udpSocket
	buf []byte
}

func (d *discard) finish(r *request) {
	d.buf = r.render(d.buf[:0], r.srv.cfg.Now())
	r.free()
}

// nullWriter applies nothing, at once.
type nullWriter struct{ *world }

func (nullWriter) Propose(_ fsm.Command, _ time.Time, done func(fsm.Result, error)) {
	done(fsm.Result{}, nil)
}

// BenchmarkUpdateHandler is the CPU cost of a signed UPDATE from its octets to
// the signed reply's, without sockets.
func BenchmarkUpdateHandler(b *testing.B) {
	w := newWorld(b)
	s := w.start(func(c *Config) { c.Writer = nullWriter{w} })
	msg := tsig.SignRequest(updateMsg(b, "example.test.", "h.example.test."), testKey(b, "key.", tsig.HMACSHA256), time.Now())
	d := new(discard)
	c := client{addr: s.Addrs()[0], proven: true, via: overUDP}
	b.ReportAllocs()
	for b.Loop() {
		r := newRequest(s, d, c, s.cfg.Now())
		r.msg = append(r.msg[:0], msg...)
		r.handle()
	}
}

// BenchmarkUpdateUDP sends signed UPDATEs over loopback, many under way; the
// process's CPU time includes the client's system calls.
func BenchmarkUpdateUDP(b *testing.B) {
	w := newWorld(b)
	s := w.start(func(c *Config) { c.Writer = nullWriter{w} })
	const clients, window = 4, 32
	msgs := signedUpdates(b, clients*window)
	before := cpuTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addrs()[0]))
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 512)
			for sent, got := 0, 0; got < b.N/clients; got++ {
				for ; sent < b.N/clients && sent-got < window; sent++ {
					if _, err := c.Write(msgs[i*window+sent%window]); err != nil {
						b.Error(err)
					}
				}
				if _, err := c.Read(buf); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkUpdateTCP is the same over connections with many updates under way.
func BenchmarkUpdateTCP(b *testing.B) {
	w := newWorld(b)
	s := w.start(func(c *Config) { c.Writer = nullWriter{w} })
	const clients, window = 4, 32
	frames := signedUpdates(b, clients*window)
	for i, msg := range frames {
		frames[i] = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	before := cpuTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			for sent, got := 0, 0; got < b.N/clients; got++ {
				for ; sent < b.N/clients && sent-got < window; sent++ {
					if _, err := c.Write(frames[i*window+sent%window]); err != nil {
						b.Error(err)
					}
				}
				if _, err := xfr.ReadFrame(c, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// signedUpdates are requests of which none is a copy of another.
func signedUpdates(b *testing.B, n int) (msgs [][]byte) {
	key := testKey(b, "key.", tsig.HMACSHA256)
	for i := range n {
		msgs = append(msgs, tsig.SignRequest(updateMsg(b, "example.test.", fmt.Sprintf("h%d.example.test.", i)), key, time.Now()))
	}
	return msgs
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

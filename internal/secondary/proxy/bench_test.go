package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// BenchmarkSOA is a question over UDP that goes to a primary over TCP, many at once,
// as after a start with many zones. dials/op should be near 0.
func BenchmarkSOA(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var dials atomic.Int64
	pr := &primary{serial: 10, oldest: 1, size: 3}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			go func() {
				defer c.Close()
				for {
					q, err := xfr.ReadFrame(c, nil)
					if err != nil {
						return
					}
					if xfr.WriteFrame(c, pr.answer(q, false)[0]) != nil {
						return
					}
				}
			}()
		}
	}()
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Choose = func(zone.Name) []Primary {
		return []Primary{{Name: "primary-0", Addr: l.Addr().(*net.TCPAddr).AddrPort()}}
	}
	cfg.Floor = func(zone.Name) (uint32, bool) { return 9, true }
	p, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("udp", p.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 512)
		q := query(zone.TypeSOA, 0)
		for pb.Next() {
			if _, err := c.Write(q); err != nil {
				b.Error(err)
				return
			}
			if n, err := c.Read(buf); err != nil || xfr.RCode(buf[:n]) != 0 {
				b.Errorf("% x, %v", buf[:n], err)
				return
			}
		}
	})
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(dials.Load())/float64(b.N), "dials/op")
}

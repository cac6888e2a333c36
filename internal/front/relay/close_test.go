package relay

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// TestEndsBesideAnswers: a relay ends while primaries go on sending to it.
func TestEndsBesideAnswers(t *testing.T) {
	p := startServer(t, "127.0.0.1:0")
	for range 50 {
		cfg := DefaultConfig()
		cfg.Listen, cfg.Keys, cfg.Drain, cfg.Sockets = []netip.AddrPort{addrPort("127.0.0.1:0")}, proxyproto.Fixed(proxyKey), time.Millisecond, 1
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Set([]Upstream{p.upstream("primary")})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		c := dial(t, "", r.Addrs()[0])
		send(t, c, signedUpdate(t, "h"))
		d := p.next()
		var senders sync.WaitGroup
		ended := make(chan struct{})
		for range 2 {
			senders.Go(func() {
				answer := answerTo(d.msg, 0)
				answer[0] ^= 0xff // to nothing that was asked, so that the relay waits out its drain
				for {
					select {
					case <-ended:
						return
					default:
						// An error is the ICMP of a socket that is closed.
						_, _ = p.conn.WriteToUDPAddrPort(answer, d.from)
					}
				}
			})
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the relay does not end while a primary sends to it")
		}
		close(ended)
		senders.Wait()
	}
}

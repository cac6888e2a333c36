package relay

import (
	"net/netip"
	"testing"
	"time"
)

// One address far beyond its limit is cut; another is not.
func TestOneAddressTooMuch(t *testing.T) {
	p := startServer(t, "127.0.0.1:0")
	p.serve()
	now := time.Now() // stands still: no allowance grows
	r := startRelay(t, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.Limits.Burst = 50
		c.Limits.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.4/32")}
	}, p.upstream("primary"))
	m := r.shared.metrics
	greedy, calm, exempt := dial(t, "127.0.0.2", r.Addrs()[0]), dial(t, "127.0.0.3", r.Addrs()[0]), dial(t, "127.0.0.4", r.Addrs()[0])
	for i := range 500 {
		send(t, greedy, numberedQuery(t, i))
		if i%10 == 0 {
			send(t, calm, numberedQuery(t, i))
			receive(t, calm)
		}
		if i%4 == 0 {
			send(t, exempt, numberedQuery(t, i))
			receive(t, exempt)
		}
	}
	eventually(t, "450 datagrams are cut", func() bool { return counted(t, m.limitedRate) == 450 })
	eventually(t, "the others are answered", func() bool { return counted(t, m.toClient) == 50+50+125 })
}

// A client address can't make more wait than it may.
func TestOneAddressWaits(t *testing.T) {
	p := startServer(t, "127.0.0.1:0") // says nothing
	r := startRelay(t, func(c *Config) {
		c.Limits.PendingPerAddress = 5
		c.Retry.After, c.Retry.Forget = time.Hour, 2*time.Hour
	}, p.upstream("primary"))
	m := r.shared.metrics
	greedy, calm := dial(t, "127.0.0.2", r.Addrs()[0]), dial(t, "127.0.0.3", r.Addrs()[0])
	for i := range 20 {
		send(t, greedy, numberedQuery(t, i))
	}
	eventually(t, "15 are cut", func() bool { return counted(t, m.limitedAddress) == 15 })
	send(t, calm, numberedQuery(t, 99))
	for {
		d := p.next()
		if d.header.Client.Addr() == netip.MustParseAddr("127.0.0.3") {
			p.answer(d, 0)
			break
		}
	}
	receive(t, calm)
}

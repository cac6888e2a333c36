package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Proxy is a running transfer proxy. Make one with [New], run it with [Proxy.Run].
type Proxy struct {
	cfg     Config
	catalog zone.Name // in lower case
	tcp     *net.TCPListener
	udp     *net.UDPConn
	pool    *pool
	metrics *metrics
	giveUp  rate.Sometimes // what is logged for each question while no primary answers
}

// New checks the configuration and binds the sockets. Questions wait in them until
// [Proxy.Run].
func New(cfg Config) (*Proxy, error) {
	p, err := unbound(cfg)
	if err != nil {
		return nil, err
	}
	if p.tcp, p.udp, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	return p, nil
}

// unbound is a proxy without sockets.
func unbound(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	return &Proxy{cfg: cfg, catalog: cfg.Catalog.Canonical(), pool: newPool(), metrics: m, giveUp: rate.Sometimes{Interval: time.Second}}, nil
}

// Addr returns where the proxy listens, over UDP and TCP.
func (p *Proxy) Addr() netip.AddrPort { return p.tcp.Addr().(*net.TCPAddr).AddrPort() }

// Run answers questions until ctx ends, and then returns nil. Transfers under way
// are broken off; none is under way, and no connection open, when it returns. It
// must be called once, also when nothing shall be answered: it closes the sockets.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		p.tcp.Close()
		p.udp.Close()
	})
	defer stop()
	group.Go(func() error { return p.acceptTCP(ctx) })
	group.Go(func() error { return p.readUDP(ctx) })
	group.Go(func() error { return p.tidy(ctx) })
	err := group.Wait()
	p.pool.close()
	if ctx.Err() != nil && errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// tidy closes idle connections in time.
func (p *Proxy) tidy(ctx context.Context) error {
	tick := time.NewTicker(idleFor / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.pool.sweep()
		case <-ctx.Done():
			return errStopped
		}
	}
}

// failed tells who wants to know that a primary failed.
func (p *Proxy) failed(q *question, primary string, err error) {
	p.metrics.failed(primary, err)
	if p.cfg.Failed != nil {
		p.cfg.Failed(primary, fmt.Errorf("zone %v: %w", q.name, err))
	}
}

// Package relay gives one address for DNS over UDP and TCP in front of several
// primaries, of which any may die at any moment.
//
// It is liveness and never safety (invariant I6): it decides which primary gets a
// message and nothing else. Bytes pass unchanged. A UDP request whose primary died
// is sent to another one when that cannot apply it twice: it is signed (the
// cluster remembers signed requests, I4) or it is not an UPDATE. An unsigned
// UPDATE is never sent twice.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Backend is one primary.
type Backend struct {
	Name string
	// DNS takes UDP and TCP.
	DNS netip.AddrPort
	// Check returns nil when the primary can take writes. It is called every
	// Config.CheckEvery with a context that ends after Config.CheckTimeout.
	Check func(ctx context.Context) error
}

// Config of a relay.
type Config struct {
	// Listen is where clients send to, UDP and TCP.
	Listen   netip.AddrPort
	Backends []Backend
	// CheckEvery and CheckTimeout pace the health checks. A check that fails takes
	// a primary out at once; one that hangs (a stopped process, dropped packets)
	// does after CheckTimeout.
	CheckEvery   time.Duration
	CheckTimeout time.Duration
	// DialTimeout bounds a TCP connection attempt before the next primary is tried.
	DialTimeout time.Duration
	// SessionIdle is how long a UDP client's state is kept without traffic.
	SessionIdle time.Duration
	// MaxSessions bounds the UDP clients, MaxConnections the TCP ones.
	MaxSessions    int
	MaxConnections int
	Logger         *slog.Logger
}

// DefaultConfig has every value but the addresses.
func DefaultConfig() Config {
	return Config{
		CheckEvery: 100 * time.Millisecond,
		// A machine whose cores are all busy answers a check late; half a second of
		// them is a hang.
		CheckTimeout:   800 * time.Millisecond,
		DialTimeout:    300 * time.Millisecond,
		SessionIdle:    10 * time.Second,
		MaxSessions:    4096,
		MaxConnections: 1024,
		Logger:         slog.New(slog.DiscardHandler),
	}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if !c.Listen.IsValid() {
		errs = append(errs, errors.New("relay: no address to listen on"))
	}
	if len(c.Backends) == 0 {
		errs = append(errs, errors.New("relay: no primaries"))
	}
	for name, d := range map[string]time.Duration{
		"CheckEvery": c.CheckEvery, "CheckTimeout": c.CheckTimeout, "DialTimeout": c.DialTimeout, "SessionIdle": c.SessionIdle,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("relay: %s is %s; it must be positive", name, d))
		}
	}
	if c.MaxSessions <= 0 || c.MaxConnections <= 0 {
		errs = append(errs, errors.New("relay: MaxSessions and MaxConnections must be positive"))
	}
	return errors.Join(errs...)
}

// Relay is a running relay. Its methods are safe for concurrent use.
type Relay struct {
	cfg  Config
	pool *pool
	udp  *net.UDPConn
	tcp  *net.TCPListener
	wg   sync.WaitGroup
	stop context.CancelFunc
}

// Start binds the sockets and returns; checks and forwarding go on until Close.
func Start(cfg Config) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, fmt.Errorf("relay: %w (is another cluster running? choose another --port)", err)
	}
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("relay: %w (is another cluster running? choose another --port)", err), udp.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Relay{cfg: cfg, pool: newPool(cfg), udp: udp, tcp: tcp, stop: stop}
	for _, b := range r.pool.backends {
		r.wg.Go(func() { r.pool.watch(ctx, b) })
	}
	r.wg.Go(func() { r.serveUDP(ctx) })
	r.wg.Go(func() { r.serveTCP(ctx) })
	return r, nil
}

// Addr is the bound address.
func (r *Relay) Addr() netip.AddrPort { return r.cfg.Listen }

// CheckNow runs a primary's check at once instead of at its next turn, for a
// caller that has just seen it start or die.
func (r *Relay) CheckNow(name string) { r.pool.checkNow(name) }

// pause waits until the next check may have changed something.
func (r *Relay) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(r.cfg.CheckEvery):
	}
}

// Close stops everything and waits for it.
func (r *Relay) Close() error {
	r.stop()
	err := errors.Join(r.udp.Close(), r.tcp.Close())
	r.pool.closeAll()
	r.wg.Wait()
	return err
}

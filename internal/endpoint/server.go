package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Server is a running endpoint. Make one with [New], run it with [Server.Serve].
type Server struct {
	cfg        Config
	logger     *slog.Logger
	auditLimit *auditLimit
	proxyLimit *auditLimit
	replays    *replays
	metrics    *metrics

	udp       []*udpSocket
	listeners []*listener

	conns     connTable
	budget    budget
	admission admission
	quotas    quotas
	copies    copies
	second    secondLook
	lookSlots *semaphore.Weighted
	reads     *shares
	transfers *shares
	backend   backend

	requestPool  sync.Pool // of *request
	writeBuffers sync.Pool // of *[]byte, for replies over TCP

	ctx      context.Context // ends when no request may wait any longer
	cancel   context.CancelCauseFunc
	stopped  atomic.Bool
	requests sync.WaitGroup // read and not yet answered
}

// listener accepts connections of one kind.
type listener struct {
	*net.TCPListener
	via   transport
	front bool
	tls   func() *tls.Config
}

// New checks the configuration and binds every socket; nothing is read before
// [Server.Serve].
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, logger: cfg.Logger, auditLimit: newAuditLimit(), proxyLimit: newAuditLimit(), replays: newReplays(maxReplays)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.conns = connTable{max: cfg.MaxConns, maxPerAddr: cfg.MaxConnsPerAddr, all: map[*conn]netip.Addr{}, perAddr: map[netip.Addr]int{}}
	s.admission = admission{
		window: cfg.MaxUpdates, maxQueued: cfg.MaxQueuedUpdates, maxPerKey: cfg.MaxUpdatesPerKey,
		lanes: map[zone.Name]*lane{}, propose: s.propose, expire: (*request).overloaded,
	}
	s.copies = newCopies()
	s.quotas.groups = map[string]*bucket{}
	s.second = secondLook{refresh: cfg.Reader.Refresh, interval: cfg.RefreshEvery, timeout: cfg.ReadTimeout}
	s.lookSlots = semaphore.NewWeighted(int64(cfg.MaxSecondLooks))
	s.budget = newBudget(cfg.MaxRequests, cfg.MaxLargeBytes)
	s.reads, s.transfers = newShares(cfg.MaxReads), newShares(cfg.MaxTransfers)
	s.backend = backend{named: cfg.Named, source: cfg.ForwardFrom, timeout: cfg.ReadTimeout}

	var err error
	if s.metrics, err = newMetrics(cfg.Registerer, s); err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.closeSockets()
		return nil, err
	}
	return s, nil
}

func (s *Server) bind() error {
	for _, a := range s.cfg.Listen {
		l, err := s.listen(a, overTCP, false, nil)
		if err != nil {
			return err
		}
		if err := s.listenUDP(a, l, false); err != nil {
			return err
		}
	}
	for _, a := range s.cfg.ListenTLS {
		if _, err := s.listen(a, overTLS, false, s.cfg.TLS); err != nil {
			return err
		}
	}
	for _, a := range s.cfg.ListenFront {
		l, err := s.listen(a, overTLS, true, s.cfg.FrontTLS)
		if err != nil {
			return err
		}
		if len(s.cfg.ProxyKeys()) == 0 {
			continue // nothing could prove a header there
		}
		if err := s.listenUDP(a, l, true); err != nil {
			return err
		}
	}
	return nil
}

// family is the network's name for sockets of exactly one address family, so
// that [::] and 0.0.0.0 can both be listened on.
func family(network string, a netip.Addr) string {
	if a.Is4() {
		return network + "4"
	}
	return network + "6"
}

func (s *Server) listen(a netip.AddrPort, via transport, front bool, config func() *tls.Config) (*listener, error) {
	l, err := net.ListenTCP(family("tcp", a.Addr()), net.TCPAddrFromAddrPort(a))
	if err != nil {
		return nil, fmt.Errorf("endpoint: listen on %v (%v): %w", a, via, err)
	}
	out := &listener{TCPListener: l, via: via, front: front}
	if config != nil {
		out.tls = func() *tls.Config { return dotConfig(config(), front) }
	}
	s.listeners = append(s.listeners, out)
	return out, nil
}

// dotConfig adds what DNS over TLS needs to a caller's configuration.
func dotConfig(c *tls.Config, front bool) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"dot"} // RFC 7858 section 3.1 registers it
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if front {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c
}

// listenUDP opens the sockets beside l, which listens on a: with its port, picked or not.
func (s *Server) listenUDP(a netip.AddrPort, l *listener, front bool) error {
	a = netip.AddrPortFrom(a.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	for range s.cfg.UDPSockets {
		lc := net.ListenConfig{Control: udpOptions(s.cfg.UDPSockets > 1, s.cfg.UDPReadSize)}
		c, err := lc.ListenPacket(s.ctx, family("udp", a.Addr()), a.String())
		if err != nil {
			return fmt.Errorf("endpoint: listen on %v (udp): %w", a, err)
		}
		u, err := newUDPSocket(s, c.(*net.UDPConn), a.Addr().IsUnspecified(), front)
		if err != nil {
			c.Close()
			return err
		}
		s.udp = append(s.udp, u)
	}
	return nil
}

// Addrs returns the addresses that were bound for Listen, in its order: UDP and
// TCP share them.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs(overTCP, false) }

// TLSAddrs returns the addresses that were bound for ListenTLS.
func (s *Server) TLSAddrs() []netip.AddrPort { return s.addrs(overTLS, false) }

// FrontAddrs returns the addresses that were bound for ListenFront.
func (s *Server) FrontAddrs() []netip.AddrPort { return s.addrs(overTLS, true) }

func (s *Server) addrs(via transport, front bool) []netip.AddrPort {
	var out []netip.AddrPort
	for _, l := range s.listeners {
		if l.via == via && l.front == front {
			out = append(out, l.Addr().(*net.TCPAddr).AddrPort())
		}
	}
	return out
}

// Serve answers requests until ctx ends or a socket fails. Then it stops in this
// order: no new connections and requests; those under way are answered, for at
// most grace; the rest is given up (updates among it are in doubt, their clients
// get silence and retry elsewhere); sockets are closed. Serve is called once.
func (s *Server) Serve(ctx context.Context, grace time.Duration) error {
	writers, stopWriters := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	g, run := errgroup.WithContext(ctx)
	for _, u := range s.udp {
		g.Go(u.read)
		writing.Go(func() { u.write(writers) })
	}
	for _, l := range s.listeners {
		g.Go(func() error { return s.accept(run, l) })
	}
	g.Go(func() error { s.tick(run); return nil })

	<-run.Done()
	s.stopReading()
	err := g.Wait()
	s.drain(grace)
	s.cancel(errors.New("the endpoint stops"))
	s.conns.each(func(k *conn) { k.raw.Close() })
	stopWriters()
	writing.Wait()
	s.closeSockets()
	if ctx.Err() == nil {
		return err // a socket failed; nobody asked to stop
	}
	return nil
}

// stopReading makes every read return; replies can still be written.
func (s *Server) stopReading() {
	s.stopped.Store(true)
	past := time.Unix(1, 0)
	for _, u := range s.udp {
		_ = u.conn.SetReadDeadline(past)
	}
	for _, l := range s.listeners {
		l.Close()
	}
	s.conns.each(func(k *conn) { _ = k.raw.SetReadDeadline(past) })
}

func (s *Server) drain(grace time.Duration) {
	done := make(chan struct{})
	go func() { s.requests.Wait(); close(done) }()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		inFlight, queued := s.admission.load()
		s.logger.Warn("endpoint stops with requests under way", "updates_in_flight", inFlight, "updates_queued", queued, "grace", grace)
	}
}

func (s *Server) closeSockets() {
	for _, u := range s.udp {
		u.conn.Close()
	}
	for _, l := range s.listeners {
		l.Close()
	}
	s.backend.close()
}

func (s *Server) accept(ctx context.Context, l *listener) error {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.stopping() {
				return nil
			}
			// Out of file descriptors, mostly: room comes when connections end.
			s.metrics.drop(dropConns)
			s.logger.Warn("accept failed", "listener", l.Addr().String(), "err", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		k := newConn(s, c, l.via)
		evicted, ok := s.conns.add(k)
		if evicted != nil {
			s.metrics.drop(dropEvicted)
			evicted.raw.Close()
		}
		if !ok {
			s.metrics.drop(dropConns)
			c.Close()
			continue
		}
		var config *tls.Config
		if l.tls != nil {
			config = l.tls()
		}
		go func() {
			defer s.conns.remove(k)
			k.serve(l.front, config)
		}()
	}
}

// tick answers updates that waited too long to be proposed, and forgets doubts that no longer matter.
func (s *Server) tick(ctx context.Context) {
	t := time.NewTicker(s.cfg.QueueTimeout / 4)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			now := s.cfg.Now()
			s.admission.sweep(now.Add(-s.cfg.QueueTimeout))
			s.copies.sweep(now)
		case <-ctx.Done():
			return
		}
	}
}

// propose hands an admitted update to the log.
func (s *Server) propose(r *request) {
	r.proposed = s.cfg.Now()
	s.metrics.observe(stageQueue, r.proposed.Sub(r.received))
	s.cfg.Writer.Propose(&r.update, r.deadline(), r.done)
}

// notApplied reports whether an error of the Writer proves that an update was
// not and will not be applied.
func (s *Server) notApplied(err error) bool {
	return slices.ContainsFunc(s.cfg.NotApplied, func(e error) bool { return errors.Is(err, e) })
}

// isFront reports whether an address is a front's.
func (s *Server) isFront(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.ProxyFrom, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *Server) stopping() bool { return s.stopped.Load() }

// end is called when a request's reply is out and its memory can be used again.
func (s *Server) end(r *request) {
	size := len(r.msg)
	r.free()
	s.budget.release(size)
	s.requests.Done()
}

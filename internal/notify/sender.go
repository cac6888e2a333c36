package notify

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Sender sends NOTIFY. Its methods are safe for concurrent use and, but for Run, do not wait.
type Sender struct {
	cfg     Config
	log     *slog.Logger
	metrics metrics
	wake    chan struct{} // there is something to send, or to wait for

	mu      sync.Mutex
	leading bool
	news    map[zone.Name]map[Target]*news
	peers   map[Target]*peer
	flying  map[flight]*news
	timers  timers
}

// New checks the configuration.
func New(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Sender{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1),
		news: map[zone.Name]map[Target]*news{}, peers: map[Target]*peer{}, flying: map[flight]*news{}}
	var err error
	if s.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	return s, nil
}

// Announce tells targets that a zone, whose name is canonical, has a new SOA. The newest call for a zone and target wins.
func (s *Sender) Announce(z zone.Name, soa zone.RR, to []Target) {
	now := s.cfg.Now()
	s.mu.Lock()
	of := s.news[z]
	if of == nil {
		of = map[Target]*news{}
		s.news[z] = of
	}
	for _, t := range to {
		n := of[t]
		if n == nil {
			n = &news{zone: z, to: s.peer(t), at: -1}
			of[t] = n
		}
		s.announced(n, soa, now)
	}
	s.mu.Unlock()
	s.poke()
}

// Withdraw drops what is under way or to come for a zone at targets that are not to be told of it any more. A message that is
// just leaving may still leave.
func (s *Sender) Withdraw(z zone.Name, from []Target) {
	s.mu.Lock()
	of := s.news[z]
	for _, t := range from {
		if n := of[t]; n != nil {
			s.forget(n)
			delete(of, t)
		}
	}
	if len(of) == 0 {
		delete(s.news, z)
	}
	s.mu.Unlock()
	s.poke() // a window may have room for others
}

// Forget drops what is known of a zone: it is gone.
func (s *Sender) Forget(z zone.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.news[z] {
		s.forget(n)
	}
	delete(s.news, z)
}

// Lead says whether this primary is the one that sends at once. On becoming it, what changed lately and was not acknowledged to
// this primary is announced again: whoever led before may have died with it.
func (s *Sender) Lead(leading bool) {
	now := s.cfg.Now()
	s.mu.Lock()
	began := leading && !s.leading
	s.leading = leading
	if began {
		for _, of := range s.news {
			for _, n := range of {
				if !n.current() && now.Sub(n.changed) <= s.cfg.Again {
					s.begin(n, now)
				}
			}
		}
	}
	s.mu.Unlock()
	s.poke()
}

// Acknowledged returns the serial of a zone that a target has acknowledged to this primary last.
func (s *Sender) Acknowledged(z zone.Name, t Target) (serial uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.news[z][t]
	if n == nil {
		return 0, false
	}
	return n.acked, n.hasAcked
}

func (s *Sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends, which is no error. It uses one socket for each address family; it is an error when there is none at
// all. It is called once.
func (s *Sender) Run(ctx context.Context) error {
	socks, err := s.open(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, c := range socks.all() {
		wg.Go(func() { s.read(c) })
	}
	defer wg.Wait()
	defer socks.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		out, wait := s.due(s.cfg.Now())
		for _, m := range out {
			s.send(socks, m)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// idleWait is how long Run sleeps when nothing is to be sent.
const idleWait = time.Minute

// due moves on everything whose time has come, and returns what is to be sent now and how long there is nothing more to do.
func (s *Sender) due(now time.Time) ([]outgoing, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.timers) > 0 && !s.timers[0].when.After(now) {
		n := heap.Pop(&s.timers).(*news)
		s.expired(n, now)
	}
	var out []outgoing
	for _, p := range s.peers {
		for len(p.ready) > 0 && p.inFlight < s.cfg.MaxInFlight {
			n := p.ready[0]
			p.ready = p.ready[1:]
			if n.state != queued {
				continue // forgotten meanwhile
			}
			if m, ok := s.launch(n, now); ok {
				out = append(out, m)
			}
		}
		if len(p.ready) == 0 {
			p.ready = nil
		}
	}
	if len(s.timers) == 0 {
		return out, idleWait
	}
	return out, max(0, s.timers[0].when.Sub(now))
}

// sockets are one for each address family; nil where the machine has none of that family.
type sockets struct{ v4, v6 *net.UDPConn }

func (s *Sender) open(ctx context.Context) (sockets, error) {
	listen := func(network string) (*net.UDPConn, error) {
		var lc net.ListenConfig
		c, err := lc.ListenPacket(ctx, network, ":0")
		if err != nil {
			return nil, err
		}
		return c.(*net.UDPConn), nil
	}
	var socks sockets
	var err4, err6 error
	socks.v4, err4 = listen("udp4")
	socks.v6, err6 = listen("udp6")
	if err4 != nil && err6 != nil {
		return socks, fmt.Errorf("notify: open a socket to send from: %w", errors.Join(err4, err6))
	}
	return socks, nil
}

func (s sockets) all() []*net.UDPConn {
	var out []*net.UDPConn
	for _, c := range []*net.UDPConn{s.v4, s.v6} {
		if c != nil {
			out = append(out, c)
		}
	}
	return out
}

func (s sockets) close() {
	for _, c := range s.all() {
		_ = c.Close() // nothing is sent any more
	}
}

// outgoing is a message on its way out.
type outgoing struct {
	news *news
	msg  []byte
}

func (s *Sender) send(socks sockets, m outgoing) {
	to := m.news.to.target.Addr
	c := socks.v4
	if to.Addr().Is6() {
		c = socks.v6
	}
	err := errNoFamily
	if c != nil {
		_, err = c.WriteToUDPAddrPort(m.msg, to)
	}
	if err != nil {
		// It is repeated as if it had been lost: a route may come back.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.metrics.messages.WithLabelValues(resultNotSent).Inc()
		s.trouble(m.news, fmt.Sprintf("it can't be sent: %v", err), s.cfg.Now())
	}
}

var errNoFamily = errors.New("this machine has no address of that family")

// read takes answers until the socket is closed.
func (s *Sender) read(c *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // of one packet, such as an ICMP error
		}
		if s.answered(from, buf[:n], s.cfg.Now()) {
			s.poke()
		}
	}
}

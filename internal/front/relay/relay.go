package relay

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Upstream is one primary.
type Upstream struct {
	Name string
	DNS  netip.AddrPort
	Tier uint8 // 0: ready; 1: alive, asked when none is ready; 2 and more: not asked
}

const tierDown = 2

// Relay is made by [New] and works while [Relay.Run] runs. Its methods are safe for concurrent use.
type Relay struct {
	cfg     Config
	shared  shared
	workers []*worker
	running sync.WaitGroup

	setMu  sync.Mutex
	want   []Upstream
	rng    *rand.Rand // for the order of IDs
	closed bool

	probeMu sync.Mutex
}

// New checks the configuration and binds every socket. Only [Relay.Run] closes them again.
func New(cfg Config) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("relay: random octets: %w", err)
	}
	now := cfg.Now()
	r := &Relay{cfg: cfg, rng: rand.New(rand.NewChaCha8(seed))}
	r.shared.budget, r.shared.buckets = newBudget(cfg.Retry, now), newBuckets(cfg.Limits, now)
	r.shared.doubts, r.shared.seed = newDoubts(maxDoubts), maphash.MakeSeed()
	r.shared.complaints = newComplaints(cfg.Logger)
	r.shared.maxPending, r.shared.idle = int64(cfg.Limits.Pending), make(chan struct{}, 1)
	var err error
	if r.shared.metrics, err = newMetrics(cfg.Registerer, func() float64 { return float64(r.shared.pending.Load()) }); err != nil {
		return nil, err
	}
	for _, a := range cfg.Listen {
		for range cfg.Sockets {
			s, err := listen(&r.cfg, a)
			if err != nil {
				r.close()
				return nil, err
			}
			w := newWorker(r, s)
			r.workers = append(r.workers, w)
			a = netip.AddrPortFrom(a.Addr(), w.addr.Port()) // the port that was picked
		}
	}
	return r, nil
}

// Addrs are the bound addresses, in the order of Config.Listen.
func (r *Relay) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for i := 0; i < len(r.workers); i += r.cfg.Sockets {
		addrs = append(addrs, r.workers[i].addr)
	}
	return addrs
}

// refreshEvery is how often sockets are opened that could not be, and closed that are needed no more.
const refreshEvery = time.Second

// Run carries datagrams until ctx ends, and then until nothing waits for an answer any more, at most for Config.Drain. It
// closes all sockets. An error is that of a socket that does not work.
func (r *Relay) Run(ctx context.Context) error {
	done := make(chan struct{})
	broken := make(chan error, len(r.workers))
	for _, w := range r.workers {
		r.running.Go(func() {
			if err := w.clients(); err != nil {
				broken <- err
			}
		})
		r.running.Go(func() { w.timer(done) })
	}
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	var err error
	for err == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case err = <-broken:
		case <-refresh.C:
			r.apply(nil)
		}
	}
	if err == nil {
		err = r.drain(broken)
	}
	close(done)
	r.close()
	r.running.Wait()
	return err
}

// drain waits until nothing waits.
func (r *Relay) drain(broken <-chan error) error {
	limit := time.NewTimer(r.cfg.Drain)
	defer limit.Stop()
	for r.shared.pending.Load() > 0 {
		select {
		case <-r.shared.idle:
		case err := <-broken:
			return err
		case <-limit.C:
			r.cfg.Logger.Warn("the relay ends with requests unanswered", "requests", r.shared.pending.Load())
			return nil
		}
	}
	return nil
}

func (r *Relay) close() {
	r.setMu.Lock()
	defer r.setMu.Unlock()
	r.closed = true
	for _, w := range r.workers {
		w.close()
	}
}

// Set says which primaries there are. Requests that wait for one that is missing, or of tier 2, are sent to another one when
// they may be. A name occurs once.
func (r *Relay) Set(ups []Upstream) {
	r.apply(func() { r.want = slices.Clone(ups) })
}

// apply makes the workers have what is wanted.
func (r *Relay) apply(change func()) {
	r.setMu.Lock()
	defer r.setMu.Unlock()
	if r.closed {
		return
	}
	if change != nil {
		change()
	}
	for _, w := range r.workers {
		w.set(r.want)
	}
}

// Probe reports whether the loop of every client socket works: each is woken, and must come by with its worker's lock in hand
// before ctx ends. It sends nothing: to an address that another node holds, a datagram would go there.
func (r *Relay) Probe(ctx context.Context) error {
	r.probeMu.Lock()
	defer r.probeMu.Unlock()
	waiting := make([]chan struct{}, len(r.workers))
	for i, w := range r.workers {
		waiting[i] = make(chan struct{})
		w.probe.Store(&waiting[i])
		if err := w.in.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
			return fmt.Errorf("relay: the socket of %v does not work: %w", w.addr, errors.Join(err, net.ErrClosed))
		}
	}
	for i, c := range waiting {
		select {
		case <-c:
		case <-ctx.Done():
			return fmt.Errorf("relay: the loop of %v hangs: %w", r.workers[i].addr, ctx.Err())
		}
	}
	return nil
}

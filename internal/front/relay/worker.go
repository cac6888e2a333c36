package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// worker is one client socket, its sockets to the primaries, and the requests that came in there.
type worker struct {
	relay *Relay
	in    socket
	addr  netip.AddrPort // that it is bound to
	wake  chan struct{}  // the timer is to look again
	probe atomic.Pointer[chan struct{}]

	mu      sync.Mutex // everything below, and all that is done with it
	x       exchange
	proxy   proxyproto.Writer
	inbox   *inbox
	sender  *sender
	replies []parcel
	dirty   []*upstream // with something to send
	failed  []failure
	// requests of this batch, which earn their share of the budget.
	requests int
	now      time.Time // of what is being done
	next     time.Time // when the timer looks again; zero: when woken
}

// upstream is a worker's socket to one primary.
type upstream struct {
	worker *worker
	line   *line
	addr   netip.AddrPort
	sock   socket
	out    []parcel
}

// failure is a request that the kernel did not take.
type failure struct {
	id  uint16
	err error
}

func newWorker(r *Relay, in socket) *worker {
	w := &worker{
		relay: r, in: in, addr: in.conn.LocalAddr().(*net.UDPAddr).AddrPort(), wake: make(chan struct{}, 1),
		proxy: proxyproto.NewWriter(nil), inbox: newInbox(r.cfg.Batch), sender: newSender(r.cfg.Batch),
	}
	w.x = newExchange(&r.cfg, w, &r.shared)
	return w
}

// maxReadFailures is how many reads in a row may fail.
const maxReadFailures = 1000

// clients takes datagrams until the socket is closed.
func (w *worker) clients() error {
	var err error
	failures := 0
	receive := func(fd uintptr) bool {
		var n int
		if n, err = w.receive(fd, w.relay.shared.metrics.fromClient, w.fromClient); n > 0 {
			failures = 0
		}
		return err != nil || n == w.relay.cfg.Batch
	}
	for {
		switch readErr := w.in.raw.Read(receive); {
		case errors.Is(readErr, os.ErrDeadlineExceeded):
			w.probed()
		case readErr != nil:
			return nil //nolint:nilerr // closed
		case err != nil:
			// A passing error concerns one datagram; a socket that only fails is no use, and the front had better know.
			w.relay.shared.metrics.socket.Inc()
			if failures++; failures == maxReadFailures {
				return fmt.Errorf("relay: reading from %v fails again and again: %w", w.addr, err)
			}
		}
	}
}

// receive takes one batch of datagrams off a socket and does all that follows from it. When it is not full there is nothing
// left: whoever calls it through a RawConn may wait for more.
func (w *worker) receive(fd uintptr, count prometheus.Counter, each func(i int)) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err = w.inbox.receive(fd)
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	w.relay.shared.metrics.batch.Observe(float64(n))
	count.Add(float64(n))
	w.now = w.relay.cfg.Now()
	for i := range n {
		each(i)
	}
	w.flush()
	return n, nil
}

// probed ends a probe: the loop runs, and its lock is to be had.
func (w *worker) probed() {
	_ = w.in.conn.SetReadDeadline(time.Time{}) // fails when it is closed, as the next read then does
	w.mu.Lock()
	p := w.probe.Swap(nil)
	w.mu.Unlock()
	if p != nil {
		close(*p)
	}
}

// maxRequest leaves room for a PROXY header in the largest datagram.
const maxRequest = 65_000

func (w *worker) fromClient(i int) {
	m := w.relay.shared.metrics
	msg := w.inbox.msg(i)
	from := origin{peer: w.inbox.peer(i), local: w.inbox.local(i)}
	from.client = from.peer.addrPort()
	switch peer := from.client.Addr(); {
	case slices.ContainsFunc(w.relay.cfg.ProxyFrom, func(p netip.Prefix) bool { return p.Contains(peer) }):
		h, err := proxyproto.Parse(msg, nil, nil, w.now)
		if err != nil {
			m.proxy.Inc()
			w.relay.shared.complaints.proxy(w.now, from.client, fmt.Errorf("%w; make the load balancer send version 2 headers, or remove it from listen.proxy_from", err))
			return
		}
		if msg = msg[h.Length:]; h.Client.IsValid() {
			from.client = h.Client
		}
	case proxyproto.Looks(msg):
		m.proxy.Inc()
		w.relay.shared.complaints.proxy(w.now, from.client, errNotBalancer)
		return
	}
	switch {
	case len(msg) < headerSize || len(msg) > maxRequest:
		m.size.Inc()
	case isResponse(msg):
		m.response.Inc()
	default:
		w.requests++
		w.x.request(w.now, &from, msg)
	}
}

// ask implements wire.
func (w *worker) ask(l *line, e *entry, id uint16) {
	u := l.to
	if len(u.out) == 0 {
		w.dirty = append(w.dirty, u)
	}
	var p *parcel
	u.out, p = grow(u.out)
	original := messageID(e.msg)
	setMessageID(e.msg, id)
	w.proxy.Use(w.relay.cfg.Keys())
	// Copied: two pieces cost the kernel more.
	p.own = w.proxy.Append(p.own[:0], e.from.client, w.destination(&e.from), true, w.now, e.msg)
	p.own = append(p.own, e.msg...)
	setMessageID(e.msg, original)
	p.msg, p.id = p.own, id
}

// grow appends a parcel that keeps its memory.
func grow(ps []parcel) ([]parcel, *parcel) {
	if len(ps) < cap(ps) {
		ps = ps[:len(ps)+1]
	} else {
		ps = append(ps, parcel{})
	}
	return ps, &ps[len(ps)-1]
}

// destination is what a client asked; the header wants it in the client's address family.
func (w *worker) destination(from *origin) netip.AddrPort {
	local := w.addr.Addr()
	if from.local.IsValid() {
		local = from.local
	}
	if is4 := from.client.Addr().Is4(); is4 != local.Is4() {
		local = netip.IPv6Unspecified()
		if is4 {
			local = netip.IPv4Unspecified()
		}
	}
	return netip.AddrPortFrom(local, w.addr.Port())
}

// reply implements wire.
func (w *worker) reply(to *origin, msg []byte) {
	var p *parcel
	w.replies, p = grow(w.replies)
	p.to, p.local, p.msg = to.peer, to.local, msg
}

// flush sends what was decided, and what follows when that fails.
func (w *worker) flush() {
	m := w.relay.shared.metrics
	if w.requests > 0 {
		w.relay.shared.budget.earn(w.requests)
		w.requests = 0
	}
	for len(w.dirty) > 0 {
		u := w.dirty[len(w.dirty)-1]
		w.dirty = w.dirty[:len(w.dirty)-1]
		w.failed = w.failed[:0]
		w.sender.send(&u.sock, u.out, func(p *parcel, err error) { w.failed = append(w.failed, failure{p.id, err}) })
		m.toPrimary.Add(float64(len(u.out) - len(w.failed)))
		letGo(u.out)
		u.out = u.out[:0]
		for _, f := range w.failed {
			m.send.Inc()
			if unreachable(f.err) {
				w.x.refused(w.now, u.line)
			}
			w.x.unsent(w.now, u.line, f.id)
		}
	}
	unsent := 0
	w.sender.send(&w.in, w.replies, func(*parcel, error) { unsent++ })
	m.send.Add(float64(unsent))
	m.toClient.Add(float64(len(w.replies) - unsent))
	letGo(w.replies)
	w.replies = w.replies[:0]
	w.x.reclaim()
	if next := w.x.next(); !next.IsZero() && (w.next.IsZero() || next.Before(w.next)) {
		w.next = next
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// letGo forgets octets that belong to others, and memory for large datagrams.
func letGo(ps []parcel) {
	for i := range ps {
		if ps[i].msg = nil; cap(ps[i].own) > keepSize {
			ps[i].own = nil
		}
	}
}

// unreachable reports whether an error says that nobody listens, or that there is no way.
func unreachable(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
		errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EPERM) || errors.Is(err, net.ErrClosed)
}

// timer does what time brings, until the relay ends.
func (w *worker) timer(done <-chan struct{}) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-w.wake:
		case <-t.C:
		}
		w.mu.Lock()
		w.now = w.relay.cfg.Now()
		w.next = w.x.tick(w.now)
		w.flush()
		next, now := w.next, w.now
		w.mu.Unlock()
		if next.IsZero() {
			t.Stop()
		} else {
			t.Reset(next.Sub(now))
		}
	}
}

// answers takes what a primary says, until the socket is closed.
func (u *upstream) answers() {
	w := u.worker
	var err error
	each := func(i int) {
		if msg := w.inbox.msg(i); len(msg) >= headerSize {
			w.x.answer(w.now, u.line, msg)
		}
	}
	receive := func(fd uintptr) bool {
		var n int
		n, err = w.receive(fd, w.relay.shared.metrics.fromPrimary, each)
		return err != nil || n == w.relay.cfg.Batch
	}
	for u.sock.raw.Read(receive) == nil {
		if err != nil { // ICMP says that nobody listens there
			w.mu.Lock()
			w.now = w.relay.cfg.Now()
			w.x.refused(w.now, u.line)
			w.flush()
			w.mu.Unlock()
		}
	}
}

// set gives the worker its primaries: it opens sockets to new ones, and closes those that are needed no more.
func (w *worker) set(ups []Upstream) {
	r := w.relay
	var lines []*line
	var fresh []*upstream
	for _, up := range ups {
		i := slices.IndexFunc(w.x.lines, func(l *line) bool { return l.name == up.Name && l.to.addr == up.DNS })
		// One that comes back gets another socket: what the old one still hears is of the time before.
		if i >= 0 && (w.x.lines[i].tier != tierDown || up.Tier == tierDown) {
			lines = append(lines, w.x.lines[i])
			continue
		}
		if up.Tier >= tierDown {
			continue
		}
		sock, err := connect(&r.cfg, up.DNS)
		if err != nil {
			r.cfg.Logger.Warn("no way to a primary; trying again every second", "primary", up.Name, "err", err)
			continue
		}
		l := newLine(up.Name, up.Tier, allIDs, r.shared.metrics.seconds.WithLabelValues(up.Name), r.rng)
		l.to = &upstream{worker: w, line: l, addr: up.DNS, sock: sock}
		lines = append(lines, l)
		fresh = append(fresh, l.to)
	}
	w.mu.Lock()
	w.now = r.cfg.Now()
	for _, l := range lines {
		i := slices.IndexFunc(ups, func(up Upstream) bool { return up.Name == l.name && up.DNS == l.to.addr })
		l.tier = min(ups[i].Tier, tierDown)
	}
	w.x.set(w.now, lines)
	w.flush()
	left := w.x.left()
	w.mu.Unlock()
	for _, u := range fresh {
		r.running.Go(u.answers)
	}
	for _, l := range left {
		l.to.sock.conn.Close()
	}
}

// close ends everything that reads. Not under the lock: a socket is closed when nobody reads from it any more, and who reads may be
// waiting for the lock.
func (w *worker) close() {
	w.in.conn.Close()
	w.mu.Lock()
	lines := slices.Concat(w.x.lines, w.x.leaving)
	w.mu.Unlock()
	for _, l := range lines {
		l.to.sock.conn.Close()
	}
}

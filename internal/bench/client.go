package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

const (
	// tryTimeout and tries are a patient client's: nsupdate waits 3 s three times.
	tryTimeout = 3 * time.Second
	tries      = 3
	maxMessage = 65535
)

// outcome of an update, as its client knows it.
type outcome uint8

const (
	acknowledged outcome = iota
	refused              // answered with an error: must not be in the zone
	unknown              // no answer: may or may not be
)

// worker is one closed-loop client in one cell.
type worker struct {
	id        int
	cell      int
	transport string
	addr      netip.AddrPort
	templates []template
	key       tsig.Key

	conn net.Conn
	out  []byte
	in   []byte

	// Results. latencies are those of the counted period; outcomes are all, by seq.
	latencies []time.Duration
	outcomes  []outcome
	resent    int
	firstErr  error
}

// zoneOf says into which zone an update of this worker goes.
func (w *worker) zoneOf(seq int) int { return (w.id + seq) % len(w.templates) }

// run sends until ctx ends; answers that arrive in the counted period count.
func (w *worker) run(ctx context.Context, from, to time.Time) {
	w.in = make([]byte, maxMessage)
	defer w.disconnect()
	for seq := 0; seq < maxUpdates && ctx.Err() == nil; seq++ {
		start := time.Now()
		if start.After(to) {
			return
		}
		o, err := w.send(seq, start)
		end := time.Now()
		w.outcomes = append(w.outcomes, o)
		if err != nil && w.firstErr == nil {
			w.firstErr = err
		}
		if o == acknowledged && end.After(from) && !end.After(to) {
			w.latencies = append(w.latencies, end.Sub(start))
		}
	}
}

func (w *worker) disconnect() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// send does one update: the same bytes again when there is no answer. An error beside
// acknowledged says why they were sent again.
func (w *worker) send(seq int, now time.Time) (outcome, error) {
	id := uint16(seq) //nolint:gosec // IDs wrap around; one is in flight
	msg := w.templates[w.zoneOf(seq)].build(w.out[:cap(w.out)], id, update{w.cell, w.id, seq}, w.key, now)
	w.out = msg
	var last error
	for try := range tries {
		if try > 0 {
			w.resent++
		}
		resp, err := w.exchange(msg, id)
		if err != nil {
			last = err
			w.disconnect()
			continue
		}
		if rcode := resp[3] & rcodeMask; rcode != 0 {
			return refused, fmt.Errorf("answered RCODE %d", rcode)
		}
		if err := tsig.VerifyResponse(resp, msg, w.key, time.Now()); err != nil {
			return unknown, err
		}
		return acknowledged, last
	}
	return unknown, fmt.Errorf("no answer after %d tries: %w", tries, last)
}

func (w *worker) exchange(msg []byte, id uint16) ([]byte, error) {
	if w.conn == nil {
		conn, err := net.DialTimeout(w.transport, w.addr.String(), tryTimeout) //nolint:noctx // bounded by its timeout
		if err != nil {
			return nil, err
		}
		w.conn = conn
	}
	if err := w.conn.SetDeadline(time.Now().Add(tryTimeout)); err != nil {
		return nil, err
	}
	if w.transport == "tcp" {
		return w.exchangeTCP(msg)
	}
	if _, err := w.conn.Write(msg); err != nil {
		return nil, err
	}
	for {
		n, err := w.conn.Read(w.in)
		if err != nil {
			return nil, err
		}
		// A late answer to an earlier try of another request is not ours.
		if n >= headerSize && binary.BigEndian.Uint16(w.in) == id && w.in[2]&responseBit != 0 {
			return w.in[:n], nil
		}
	}
}

func (w *worker) exchangeTCP(msg []byte) ([]byte, error) {
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, len(msg)+2), uint16(len(msg))), msg...) //nolint:gosec // at most 512
	if _, err := w.conn.Write(framed); err != nil {
		return nil, err
	}
	// The two octets of length and the message usually arrive together.
	n, err := io.ReadAtLeast(w.conn, w.in, 2)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(w.in))
	if n < size+2 {
		if _, err := io.ReadFull(w.conn, w.in[n:size+2]); err != nil {
			return nil, err
		}
	}
	if size < headerSize {
		return nil, fmt.Errorf("an answer of %d octets", size)
	}
	return w.in[2 : size+2], nil
}

// load is what one cell's clients did.
type load struct {
	workers []*worker
	elapsed time.Duration
}

// drive runs one cell's clients against the addresses, in turn.
func drive(ctx context.Context, cfg Config, cell Cell, number int, addrs []netip.AddrPort, key tsig.Key, templates []template) (load, error) {
	from := time.Now().Add(cfg.Warmup)
	to := from.Add(cfg.Duration)
	l := load{elapsed: cfg.Duration}
	var wg sync.WaitGroup
	for i := range cell.Clients {
		w := &worker{
			id: i, cell: number, transport: cell.Transport, addr: addrs[i%len(addrs)], templates: templates, key: key,
			out: make([]byte, 0, 512), latencies: make([]time.Duration, 0, 1<<12), outcomes: make([]outcome, 0, 1<<12),
		}
		l.workers = append(l.workers, w)
		wg.Go(func() { w.run(ctx, from, to) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return l, err
	}
	for _, w := range l.workers {
		if len(w.latencies) > 0 {
			return l, nil
		}
	}
	for _, w := range l.workers {
		if w.firstErr != nil {
			return l, fmt.Errorf("no update was acknowledged; the first error: %w", w.firstErr)
		}
	}
	return l, errors.New("no update was acknowledged in the counted period")
}

// latencies of all workers, sorted.
func (l load) latencies() []time.Duration {
	var all []time.Duration
	for _, w := range l.workers {
		all = append(all, w.latencies...)
	}
	slices.Sort(all)
	return all
}

// count of updates by outcome, of resent messages, and the first error.
func (l load) count() (ok, bad, lost, resent int, first error) {
	for _, w := range l.workers {
		for _, o := range w.outcomes {
			switch o {
			case acknowledged:
				ok++
			case refused:
				bad++
			case unknown:
				lost++
			}
		}
		resent += w.resent
		if first == nil {
			first = w.firstErr
		}
	}
	return ok, bad, lost, resent, first
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// answer is a good answer of a primary: all of it, or its beginning.
type answer struct {
	primary string
	conn    *upstream
	ctx     context.Context //nolint:containedctx // ends with the primary's life; the answer is read under it
	cancel  context.CancelCauseFunc
	stop    func() bool // of the function that closes conn at the end of ctx

	begun  bool     // the first message has come
	msgs   [][]byte // kept back
	size   int      // octets of msgs
	end    *xfr.End // nil for a question for the SOA
	last   bool     // the last message has come
	serial uint32
	form   xfr.Form
}

// release ends the use of the connection. It is kept for another question when the
// answer was read to its end.
func (a *answer) release(p *pool) {
	if a.stop() && a.last {
		p.put(a.conn)
	} else {
		a.conn.Close()
	}
	a.cancel(nil)
}

// attempt asks one primary for an answer that is good, and complete or as long as
// is kept back. heard is called whenever something has come: the first octet, and
// each message. On an error the connection is gone or idle, and bad is the message
// that reported the error, if one did.
func (p *Proxy) attempt(ctx context.Context, q *question, pr Primary, deadline time.Time, heard func(xfr.Form)) (a *answer, bad []byte, err error) {
	a = &answer{primary: pr.Name, ctx: ctx, cancel: func(error) {}}
	if a.conn = p.pool.get(pr.Addr); a.conn == nil {
		if a.conn, err = p.pool.connect(ctx, pr.Addr); err != nil {
			return nil, nil, why(ctx, err)
		}
	}
	a.watch()
	err = p.first(a, q)
	if err != nil && a.conn.used && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The primary closed the idle connection. Asking again is harmless.
		a.stop()
		a.conn.Close()
		if a.conn, err = p.pool.connect(ctx, pr.Addr); err != nil {
			return nil, nil, why(ctx, err)
		}
		a.watch()
		err = p.first(a, q)
	}
	for err == nil && !p.enough(a, q, deadline) {
		heard(a.form)
		if bad, err = a.conn.next(nil, p.cfg.IdleTimeout); err == nil {
			err = a.add(q, bad)
		} else {
			bad = nil
		}
		if err == nil {
			err = p.usable(a, q)
		}
	}
	if err != nil {
		a.release(p.pool)
		var answered *AnswerError
		if !errors.As(err, &answered) {
			bad = nil
		}
		return nil, bad, why(ctx, err)
	}
	return a, nil, nil
}

// enough reports whether no more of the answer is kept back: it is complete, or
// long, or it is time to give something to the name server. The catalog zone's is
// kept back whole when it is screened.
func (p *Proxy) enough(a *answer, q *question, deadline time.Time) bool {
	switch {
	case a.last:
		return true
	case !a.begun || q.qtype == zone.TypeIXFR && a.form == xfr.Unknown:
		return false
	case p.screened(q):
		return false
	}
	return a.size >= p.cfg.HoldBytes || !time.Now().Before(deadline)
}

func (p *Proxy) screened(q *question) bool {
	return p.cfg.Screen != nil && q.transfer() && q.name == p.catalog
}

// usable says what is wrong with an answer below the floor, or with one of the
// catalog zone that is too long to be kept.
func (p *Proxy) usable(a *answer, q *question) error {
	if floor, ok := p.floor(q); ok && !zone.SerialGE(a.serial, floor) {
		return fmt.Errorf("%w: it has serial %d, served here is %d", ErrBehind, a.serial, floor)
	}
	if p.screened(q) && a.size > p.cfg.MaxCatalogBytes {
		return fmt.Errorf("%w: more than %d octets", ErrTooLong, p.cfg.MaxCatalogBytes)
	}
	return nil
}

// watch closes the connection when the context ends.
func (a *answer) watch() {
	conn := a.conn
	a.stop = context.AfterFunc(a.ctx, func() { conn.Close() })
}

// first sends the question and waits for the first octet of the answer, for as long
// as the contest lets it.
func (p *Proxy) first(a *answer, q *question) error {
	if err := a.conn.send(q.msg, p.cfg.Total); err != nil {
		return err
	}
	_ = a.conn.SetReadDeadline(time.Now().Add(p.cfg.Total)) // as in next
	_, err := a.conn.r.Peek(1)
	return err
}

// floor is the serial below which no answer may be: that of the zone that the name
// server serves. The one that it names in an IXFR request counts as well.
func (p *Proxy) floor(q *question) (serial uint32, ok bool) {
	serial, ok = p.cfg.Floor(q.name)
	if q.qtype == zone.TypeIXFR && q.have != 0 && (!ok || zone.SerialGT(q.have, serial)) {
		return q.have, true
	}
	return serial, ok
}

// add takes the next message of the answer and keeps it.
func (a *answer) add(q *question, msg []byte) error {
	if err := a.check(q, msg); err != nil {
		return err
	}
	a.msgs = append(a.msgs, msg)
	a.size += len(msg)
	return nil
}

// check reads the next message of the answer. After an error that came as a proper
// message of its own the connection is good for another question: a.last is set.
func (a *answer) check(q *question, msg []byte) error {
	if len(msg) < headerLen || msg[0] != q.msg[0] || msg[1] != q.msg[1] || msg[2]&0x80 == 0 {
		return fmt.Errorf("%w: it answers something else", ErrMalformed)
	}
	begins := !a.begun
	a.begun = true
	if begins {
		sig, err := tsig.Find(msg)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		case sig != nil && sig.PeerError != 0:
			a.last = true
			return &AnswerError{RCode: xfr.RCode(msg), TSIG: sig.PeerError}
		case sig == nil && q.signed && xfr.RCode(msg) == 0:
			return fmt.Errorf("%w: the question was signed, the answer is not", ErrMalformed)
		}
	}
	if rcode := xfr.RCode(msg); rcode != 0 {
		a.last = begins
		return &AnswerError{RCode: rcode}
	}
	if err := a.read(q, msg); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

var errNoSOA = errors.New("no SOA of the zone in it")

func (a *answer) read(q *question, msg []byte) (err error) {
	var ok bool
	if !q.transfer() {
		a.serial, ok = xfr.AnswerSerial(msg, q.name)
		a.last = true
	} else {
		if a.end == nil {
			if a.end, err = xfr.NewEnd(q.msg); err != nil {
				return err
			}
		}
		if a.last, err = a.end.Next(msg); err != nil {
			a.last = false
			return err
		}
		a.serial, ok = a.end.Serial()
		a.form = a.end.Form()
	}
	if !ok {
		return errNoSOA
	}
	return nil
}

// why says what a failure means: the reason for which the context ended, if that is
// it, or what happened on the connection.
func why(ctx context.Context, err error) error {
	var answered *AnswerError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrSlow, err)
	case errors.As(err, &answered), errors.Is(err, ErrMalformed), errors.Is(err, ErrUnreachable), errors.Is(err, ErrBehind), errors.Is(err, ErrTooLong):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

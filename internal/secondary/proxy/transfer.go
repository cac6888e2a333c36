package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// answerTransfer answers a zone transfer on w. An error means that the connection
// must be broken: part of an answer may be out.
func (p *Proxy) answerTransfer(ctx context.Context, q *question, w io.Writer) error {
	start := time.Now()
	r := p.newRace(ctx, q)
	defer r.close()
	a, err := p.beginning(r)
	var held *heldError
	switch {
	case errors.As(err, &held):
		p.metrics.transfer(Kind(0), resultRefused)
		return p.write(w, reply(q.msg, rcodeRefused))
	case ctx.Err() != nil:
		p.metrics.transfer(Kind(0), resultAbandoned)
		return context.Cause(ctx)
	case err != nil:
		p.metrics.transfer(Kind(0), resultFailed)
		return p.write(w, r.excuse(err))
	}
	defer a.release(p.pool)
	how := a.kind()
	if err := p.pass(a, q, w); err != nil {
		if ctx.Err() != nil || errors.Is(err, errClient) {
			p.metrics.transfer(how, resultAbandoned)
			return err
		}
		p.metrics.transfer(how, resultBroken)
		p.failed(q, a.primary, err)
		p.cfg.Logger.Warn("zone transfer broken off", "zone", q.name.String(), "serial", a.serial, "primary", a.primary, "err", err)
		return err
	}
	p.metrics.transfer(how, resultOK)
	p.metrics.observe(how.String(), time.Since(start))
	if p.cfg.Done != nil {
		p.cfg.Done(q.name, a.serial, how)
	}
	return nil
}

// beginning returns the answer from which the transfer is passed on: whole or as
// much as is kept back. Until then primaries replace each other.
func (p *Proxy) beginning(r *race) (*answer, error) {
	for lost := -1; ; {
		i, a, err := r.run(lost)
		if err != nil {
			return nil, err
		}
		err = p.hold(a, r)
		if err == nil {
			return a, nil
		}
		a.release(p.pool)
		var held *heldError
		if errors.As(err, &held) || r.ctx.Err() != nil {
			return nil, err
		}
		p.failed(r.q, a.primary, err)
		lost = i
	}
}

// heldError is what Config.Screen has against a transfer.
type heldError struct{ err error }

func (e *heldError) Error() string { return e.err.Error() }
func (e *heldError) Unwrap() error { return e.err }

// hold reads on until the transfer is complete or enough of it is kept back; the
// catalog zone's is read whole and screened.
func (p *Proxy) hold(a *answer, r *race) error {
	screened := p.cfg.Screen != nil && r.q.name == p.catalog
	for !a.last {
		if screened && a.size > p.cfg.MaxCatalogBytes {
			return fmt.Errorf("%w: more than %d octets", ErrTooLong, p.cfg.MaxCatalogBytes)
		}
		if !screened && (a.size >= p.cfg.HoldBytes || !time.Now().Before(r.deadline)) {
			break
		}
		msg, err := a.conn.next(nil, p.cfg.IdleTimeout)
		if err == nil {
			err = a.add(r.q, msg)
		}
		if err != nil {
			return why(a.ctx, err)
		}
	}
	if screened && a.form != xfr.UpToDate {
		if err := p.cfg.Screen(r.q.msg, a.msgs); err != nil {
			return &heldError{err}
		}
	}
	// The name server may have got a newer version meanwhile.
	if floor, ok := p.floor(r.q); ok && !zone.SerialGE(a.serial, floor) {
		return fmt.Errorf("%w: it has serial %d, served here is %d", ErrBehind, a.serial, floor)
	}
	return nil
}

// pass writes what was kept back and then what comes, until the end.
func (p *Proxy) pass(a *answer, q *question, w io.Writer) error {
	for i, msg := range a.msgs {
		if err := p.write(w, msg); err != nil {
			return err
		}
		a.msgs[i] = nil
	}
	var buf []byte
	for !a.last {
		var err error
		if buf, err = a.conn.next(buf, p.cfg.IdleTimeout); err == nil {
			err = a.check(q, buf)
		}
		if err != nil {
			return why(a.ctx, err)
		}
		if err := p.write(w, buf); err != nil {
			return err
		}
	}
	return nil
}

func (p *Proxy) write(w io.Writer, msg []byte) error {
	if err := xfr.WriteFrame(w, msg); err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	return nil
}

func (a *answer) kind() Kind {
	switch a.form {
	case xfr.UpToDate:
		return UpToDate
	case xfr.Incremental:
		return Incremental
	case xfr.Whole, xfr.Unknown:
	}
	return Full
}

// excuse is the answer when no primary has given a good one: what one of them said
// about it, or SERVFAIL.
func (r *race) excuse(err error) []byte {
	if r.bad != nil {
		return r.bad
	}
	r.p.giveUp.Do(func() {
		r.p.cfg.Logger.Warn("no primary answers as it should", "zone", r.q.name.String(), "type", r.q.qtype.String(), "err", err)
	})
	return reply(r.q.msg, rcodeServFail)
}

package endpoint

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/update"
)

// auditLimit lets through as many lines about refused requests a second as a
// person can use; metrics count all of them.
type auditLimit struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

const (
	auditPerSecond = 20
	auditBurst     = 100
)

func newAuditLimit() *auditLimit {
	return &auditLimit{limit: rate.NewLimiter(auditPerSecond, auditBurst)}
}

// allow reports whether a line may be written now. It is asked before the line
// is made, so that a flood of bad requests costs no more than counting.
func (a *auditLimit) allow() bool {
	if a.limit.Allow() {
		return true
	}
	a.suppressed.Add(1)
	return false
}

// attrs completes the attributes of a line.
func (a *auditLimit) attrs(attrs ...slog.Attr) []slog.Attr {
	if n := a.suppressed.Swap(0); n > 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	return attrs
}

// who describes a request's sender and aim. Nothing of it is authority.
func (r *request) who() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("client", r.client.addr.String()),
		slog.Bool("proven", r.client.proven),
		slog.String("transport", r.client.via.String()),
		slog.String("opcode", opcodeText(r.message.opcode)),
	}
	if r.signed {
		attrs = append(attrs, slog.String("key", r.sig.KeyName().String()))
	}
	if r.message.name != "" {
		attrs = append(attrs, slog.String("name", r.message.name.String()))
	}
	return attrs
}

// refused logs why (an error or a text) a request was not done. A prerequisite
// that does not hold is no refusal: clients ask that way.
func (s *Server) refused(r *request, rcode uint16, reason any) {
	switch rcode {
	case update.NoError, update.NXDomain, update.NXRRset, update.YXDomain, update.YXRRset:
		return
	}
	if s.auditLimit.allow() {
		s.logger.LogAttrs(s.ctx, slog.LevelWarn, "request refused",
			s.auditLimit.attrs(append(r.who(), slog.String("rcode", rcodeText(rcode)), slog.Any("reason", reason))...)...)
	}
}

// audit logs an update that the log has decided, when that is wanted.
func (s *Server) audit(r *request, res fsm.Result) {
	if !s.cfg.AuditUpdates {
		return
	}
	s.logger.LogAttrs(s.ctx, slog.LevelInfo, "update",
		append(r.who(), slog.String("rcode", rcodeText(res.RCode)), slog.Uint64("serial", uint64(res.Serial)), slog.Bool("duplicate", res.Duplicate))...)
}

// badProxy counts and logs a connection or datagram whose start is not what its
// address lets it be.
func (s *Server) badProxy(c client, err error) {
	if !errors.Is(err, proxyproto.Err) && !errors.Is(err, errNotFront) {
		s.metrics.drop(dropIdle) // it went away, or never said anything
		return
	}
	s.metrics.drop(dropProxy)
	// A limit of its own: a flood of other requests must not hide that somebody tries to borrow an address.
	if s.proxyLimit.allow() {
		s.logger.LogAttrs(s.ctx, slog.LevelWarn, "PROXY header refused",
			s.proxyLimit.attrs(slog.String("client", c.addr.String()), slog.String("transport", c.via.String()), slog.Any("reason", err))...)
	}
}

package relay

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A person can use so many lines about PROXY headers a second; the metric counts all of them.
const (
	complaintsPerSecond = 1
	complaintsBurst     = 10
)

// complaints are log lines about datagrams whose start is not what their address lets it be. It is safe for concurrent use.
type complaints struct {
	log    *slog.Logger
	limit  *rate.Limiter
	silent atomic.Int64 // since the last line
}

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, limit: rate.NewLimiter(complaintsPerSecond, complaintsBurst)}
}

// errNotBalancer is a PROXY header from whom none is believed.
var errNotBalancer = errors.New("a PROXY header from an address outside listen.proxy_from; if it is a load balancer of yours add it there, else somebody tries to speak for others")

// proxy is about a PROXY header that is missing, malformed, or not to be believed.
func (c *complaints) proxy(now time.Time, from netip.AddrPort, err error) {
	if !c.limit.AllowN(now, 1) {
		c.silent.Add(1)
		return
	}
	c.log.Warn("PROXY header refused", "client", from, "transport", "udp", "reason", err, "suppressed", c.silent.Swap(0))
}

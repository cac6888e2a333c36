package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// Config is where the relay listens, and its limits. Start from [DefaultConfig].
type Config struct {
	Listen []netip.AddrPort // one address of clients each; port 0 picks one
	// Freebind binds addresses that this node need not hold: with IP_TRANSPARENT, which may also send from them after they
	// have gone, or without that capability (CAP_NET_ADMIN or CAP_NET_RAW) with IP_FREEBIND.
	Freebind bool
	// PacketInfo lets wildcard addresses be listened on: each answer leaves from the address that was asked (IP_PKTINFO).
	PacketInfo bool
	Sockets    int // for each address of Listen, at most 64
	Batch      int // datagrams that one system call moves, at most 256
	// BufferSize is how many octets are asked of the kernel for each socket's receive buffer, and for its send buffer.
	BufferSize int
	// Keys has the one that proves the PROXY headers to the primaries first; see [proxyproto.Append]. They may change. Without any
	// the headers are audit data there.
	Keys func() proxyproto.Keys
	// ProxyFrom are load balancers: datagrams from there must begin with a PROXY header, which is believed; from elsewhere they
	// must not.
	ProxyFrom []netip.Prefix

	Retry  Retry
	Limits Limits
	// Drain is how long Run goes on for what is unanswered after its context has ended.
	Drain time.Duration

	// Answer is the reply to a request that no primary can be asked, nil for none. It is called with a worker's lock held.
	Answer func(query []byte) []byte

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Retry says when a second primary is asked.
type Retry struct {
	After time.Duration // of silence
	Max   int           // further primaries for one request, at most 4
	// Budget is the share of requests that may be sent once more because of silence, beside PerSecond: an overloaded cluster
	// must not get twice the load. What was sent to a primary that is lost is moved without asking the budget.
	Budget    float64
	PerSecond float64
	// Forget is when the client gets no answer any more; below the deadline that every update carries in the log.
	Forget time.Duration
}

// Limits of one relay. An address is an IPv4 address or an IPv6 /64.
type Limits struct {
	PerSecond float64 // datagrams of one address
	Burst     int     // beyond it
	Addresses int     // known ones; the rest share one allowance
	Pending   int     // requests that wait for an answer, at most 65,536 for each socket and primary
	// PendingPerAddress is how many of those one address may have.
	PendingPerAddress int
	Exempt            []netip.Prefix // have no limits of their own
}

// DefaultConfig has every value but addresses and Answer.
func DefaultConfig() Config {
	return Config{
		Sockets:    min(runtime.GOMAXPROCS(0), 4),
		Batch:      32,
		BufferSize: 4 << 20,
		Retry: Retry{
			// Above the p99 of an acknowledgement, below the patience of nsupdate (3 s) and Kea (0.5 s).
			After: 250 * time.Millisecond,
			Max:   2, Budget: 0.1, PerSecond: 20,
			Forget: 3 * time.Second,
		},
		Limits:     Limits{PerSecond: 2000, Burst: 4000, Addresses: 65_536, Pending: 65_536, PendingPerAddress: 4096},
		Keys:       proxyproto.Fixed(),
		Drain:      5 * time.Second,
		Answer:     func([]byte) []byte { return nil },
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
		Now:        time.Now,
	}
}

// The largest values that make sense.
const (
	maxSockets = 64
	maxBatch   = 256
	maxHedges  = 4
)

// Validate names every setting that is wrong, and the remedy.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("relay: "+format, args...)) }
	if len(c.Listen) == 0 {
		bad("no address to listen on: set Listen")
	}
	for _, a := range c.Listen {
		switch {
		case !a.IsValid():
			bad("%v is not an address and port", a)
		case a.Addr().IsUnspecified() && !c.PacketInfo:
			bad("%v: answers would leave from whatever address the kernel likes: list the addresses, or set PacketInfo", a)
		}
	}
	proxyproto.CheckKeys("Keys", c.Keys, bad)
	for _, n := range []struct {
		name        string
		value, most int
	}{
		{"Sockets", c.Sockets, maxSockets}, {"Batch", c.Batch, maxBatch}, {"BufferSize", c.BufferSize, 1 << 30},
		{"Limits.Burst", c.Limits.Burst, 1 << 30}, {"Limits.Addresses", c.Limits.Addresses, 1 << 24},
		{"Limits.Pending", c.Limits.Pending, 1 << 24}, {"Limits.PendingPerAddress", c.Limits.PendingPerAddress, 1 << 24},
	} {
		if n.value < 1 || n.value > n.most {
			bad("%s is %d: it must be from 1 to %d", n.name, n.value, n.most)
		}
	}
	if c.Retry.Max < 0 || c.Retry.Max > maxHedges {
		bad("Retry.Max is %d: it must be from 0 to %d", c.Retry.Max, maxHedges)
	}
	if !(c.Limits.PerSecond > 0) || !(c.Retry.Budget >= 0) || !(c.Retry.PerSecond >= 0) {
		bad("Limits.PerSecond is %v, Retry.Budget %v, Retry.PerSecond %v: the first must be positive, none negative", c.Limits.PerSecond, c.Retry.Budget, c.Retry.PerSecond)
	}
	if c.Retry.After <= 0 || c.Retry.Forget <= c.Retry.After || c.Drain < 0 {
		bad("Retry.After is %v, Retry.Forget %v, Drain %v: they must be positive, and the second longer than the first", c.Retry.After, c.Retry.Forget, c.Drain)
	}
	if c.Answer == nil || c.Logger == nil || c.Registerer == nil || c.Now == nil {
		bad("Answer, Logger, Registerer and Now must be set: start from DefaultConfig")
	}
	return errors.Join(errs...)
}

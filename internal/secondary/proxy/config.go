package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Primary is one that can be asked.
type Primary struct {
	Name string
	Addr netip.AddrPort // its endpoint; the zero value when it is not known
	// Gone is closed when the primary stops being live: transfers from it are
	// broken off. nil when it is not live now; it may be asked all the same.
	Gone <-chan struct{}
}

// Kind is how a transfer gave the zone.
type Kind uint8

// The kinds.
const (
	Incremental Kind = iota + 1 // differences
	Full                        // all records, whatever was asked
	UpToDate                    // the name server had it
)

func (k Kind) String() string {
	return [...]string{"none", "incremental", "full", "up_to_date"}[k]
}

// Config is what the proxy is made of and its limits. Start from [DefaultConfig].
// The functions are called concurrently and must not block.
type Config struct {
	Listen netip.AddrPort // UDP and TCP, a loopback address; port 0 picks one for both

	// Choose returns the primaries to ask for a zone, best first.
	Choose func(z zone.Name) []Primary
	// Floor returns the serial that the own name server serves; ok is false when
	// it has none. Called for each answer.
	Floor func(z zone.Name) (serial uint32, ok bool)
	// News returns a serial newer than the own name server's that a primary has
	// announced which is live and ready; ok is false when there is none. nil: every
	// question for an SOA goes to a primary. Keys are those of the own name server.
	News func(z zone.Name) (serial uint32, ok bool)
	Keys tsig.Keyring
	// Screen judges a whole transfer of Catalog before any of it is passed on,
	// query and messages as they came, nothing verified. An error means REFUSED.
	// nil passes all.
	Screen  func(query []byte, msgs [][]byte) error
	Catalog zone.Name

	// Done is told of each transfer that was handed over whole. May be nil.
	Done func(z zone.Name, to uint32, how Kind)
	// Failed is told of each primary that failed, so that Choose can put it last
	// for a while; the error wraps one of Err… or is an [*AnswerError]. A primary
	// whose answer was only not needed has not failed. May be nil.
	Failed func(primary string, err error)

	HedgeAfter  time.Duration // without a first octet the next primary is asked as well
	IdleTimeout time.Duration // between two messages of a transfer; after half of it one hedges
	Total       time.Duration // until the first octet of the answer, unless one is on its way

	HoldBytes       int // of a transfer are kept back, so that a failure can be hidden
	MaxCatalogBytes int // of a transfer of Catalog, which is kept back whole
	MaxConns        int // connections of the name server, and datagrams under way

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// DefaultConfig returns the limits of a secondary with up to some 10,000 zones.
// Listen, Choose and Floor have no default.
func DefaultConfig() Config {
	return Config{
		HedgeAfter:      300 * time.Millisecond,
		IdleTimeout:     2 * time.Second,
		Total:           4 * time.Second, // BIND waits 5 s for an answer over UDP
		HoldBytes:       1 << 20,
		MaxCatalogBytes: 64 << 20, // 800,000 members
		MaxConns:        256,
		Logger:          slog.New(slog.DiscardHandler),
		Registerer:      prometheus.NewRegistry(),
	}
}

// Validate names every setting that is wrong, and the remedy.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("proxy: "+format, args...)) }
	if !c.Listen.IsValid() || !c.Listen.Addr().IsLoopback() {
		bad("Listen is %v: give a loopback address and a port; answers are not for the network", c.Listen)
	}
	if c.Choose == nil {
		bad("Choose is missing: say which primaries to ask")
	}
	if c.Floor == nil {
		bad("Floor is missing: say which serials the name server serves")
	}
	if (c.News == nil) != (c.Keys == nil) {
		bad("News and Keys: answers to a signed question are signed; give both or none")
	}
	if c.Screen != nil && !c.Catalog.Valid() {
		bad("Catalog is %q: Screen needs the name of a catalog zone", string(c.Catalog))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"HedgeAfter", c.HedgeAfter}, {"IdleTimeout", c.IdleTimeout}, {"Total", c.Total}} {
		if d.value <= 0 {
			bad("%s is %v: give a positive time", d.name, d.value)
		}
	}
	if c.HedgeAfter > c.Total {
		bad("HedgeAfter is %v, later than Total (%v): nothing would ever be hedged", c.HedgeAfter, c.Total)
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"HoldBytes", c.HoldBytes}, {"MaxCatalogBytes", c.MaxCatalogBytes}, {"MaxConns", c.MaxConns}} {
		if n.value <= 0 {
			bad("%s is %d: give a positive number", n.name, n.value)
		}
	}
	if c.Logger == nil || c.Registerer == nil {
		bad("Logger or Registerer is nil: start from DefaultConfig")
	}
	return errors.Join(errs...)
}

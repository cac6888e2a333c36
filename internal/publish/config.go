package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// Opener unseals TSIG secrets; *seal.Sealer is one. It is called from several goroutines.
type Opener interface {
	Open(name string, version uint64, sealed []byte) ([]byte, error)
}

// Cutter asks for a publish boundary of a zone's pending changes; *replica.Replica's Flush is one. It may return before
// there is one.
type Cutter func(ctx context.Context, id fsm.ZoneID) error

// Observer is told what named serves. It is called with the publisher's lock held, in order for each zone; it must not block
// or call back.
type Observer interface {
	// Served: named serves the zone with this serial, from this step on or because the zone begins to be served.
	Served(id fsm.ZoneID, serial uint32)
	// Gone: the zone is not served now. It is being loaded or replaced, or it was deleted.
	Gone(id fsm.ZoneID)
}

// nobody is the Observer of a publisher that is not observed.
type nobody struct{}

func (nobody) Served(fsm.ZoneID, uint32) {}
func (nobody) Gone(fsm.ZoneID)           {}

// Config bounds a Publisher. Start from DefaultConfig.
type Config struct {
	Opener Opener
	Cutter Cutter // nil: a reader who waits for pending changes waits for the state machine's own cut
	// Observer is told what named serves, and when.
	Observer Observer
	Logger   *slog.Logger

	Pushers int // streams of UPDATEs to named, each serving one zone at a time
	Syncers int // zones loaded, replayed or verified at a time

	// MaxUpdate is the longest UPDATE, in octets before the signature. A step that is longer replaces the zone.
	MaxUpdate int
	// A zone that is more than MergeSteps steps or MergeAfter behind gets several in one message. Secondaries then find no
	// IXFR from the serials in between.
	MergeSteps int
	MergeAfter time.Duration
	// MaxQueue is how many octets of steps wait for one zone before the zone is synchronised from the state machine instead.
	MaxQueue int

	UpdateTimeout time.Duration // for the answer to an UPDATE or a SOA query
	LoadTimeout   time.Duration // for named to load a zone, and another second for each 50,000 RRs
	VerifyTimeout time.Duration // for a zone transfer, and another second for each 50,000 RRs
	VerifyEvery   time.Duration // pause between two comparisons of all zones
	SerialEvery   time.Duration // between two looks at the serials of quiet zones
	VerifyPause   time.Duration // pause between two zones within a comparison
	RetryMin      time.Duration // first pause after a failure; doubles
	RetryMax      time.Duration // longest pause after a failure
	// Deaths is how often named may end with the same step in flight before that step is no longer sent to it.
	Deaths int
}

// DefaultConfig returns everything but Opener and Cutter.
func DefaultConfig() Config {
	return Config{
		Observer:      nobody{},
		Logger:        slog.New(slog.DiscardHandler),
		Pushers:       4,
		Syncers:       4,
		MaxUpdate:     60_000,
		MergeSteps:    8,
		MergeAfter:    200 * time.Millisecond,
		MaxQueue:      16 << 20,
		UpdateTimeout: 2 * time.Second,
		LoadTimeout:   20 * time.Second,
		VerifyTimeout: 20 * time.Second,
		VerifyEvery:   10 * time.Minute,
		SerialEvery:   500 * time.Millisecond,
		VerifyPause:   50 * time.Millisecond,
		RetryMin:      50 * time.Millisecond,
		RetryMax:      5 * time.Second,
		Deaths:        2,
	}
}

// Validate reports every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("publish: "+format, args...)) }
	if c.Opener == nil {
		bad("Opener is missing: give the cluster's sealer")
	}
	if c.Observer == nil {
		bad("Observer is missing: start from DefaultConfig, whose Observer ignores everything")
	}
	if c.Logger == nil {
		bad("Logger is missing: give slog.New(slog.DiscardHandler) for none")
	}
	for _, n := range []struct {
		name      string
		v, lo, hi int
	}{
		{"Pushers", c.Pushers, 1, 256}, {"Syncers", c.Syncers, 1, 256}, {"MaxUpdate", c.MaxUpdate, 1024, 64000},
		{"MergeSteps", c.MergeSteps, 1, 1 << 20}, {"MaxQueue", c.MaxQueue, 1 << 16, 1 << 30}, {"Deaths", c.Deaths, 1, 100},
	} {
		if n.v < n.lo || n.v > n.hi {
			bad("%s is %d; use %d to %d", n.name, n.v, n.lo, n.hi)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"MergeAfter", c.MergeAfter}, {"UpdateTimeout", c.UpdateTimeout}, {"LoadTimeout", c.LoadTimeout}, {"VerifyTimeout", c.VerifyTimeout},
		{"VerifyEvery", c.VerifyEvery}, {"SerialEvery", c.SerialEvery}, {"VerifyPause", c.VerifyPause}, {"RetryMin", c.RetryMin}, {"RetryMax", c.RetryMax},
	} {
		if d.v <= 0 {
			bad("%s is %s; use a positive duration", d.name, d.v)
		}
	}
	return errors.Join(errs...)
}

package notify

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

// Target is a server that is told about changes.
type Target struct {
	Addr netip.AddrPort
	Key  zone.Name // signs the message, canonical; "": unsigned
}

// String gives the target as the settings of a zone write it.
func (t Target) String() string {
	if t.Key == "" {
		return t.Addr.String()
	}
	return fmt.Sprintf("%s key %s", t.Addr, t.Key)
}

// Config bounds a Sender. Start from DefaultConfig.
type Config struct {
	Keys tsig.Keyring
	// Retries are the times to wait for an answer to each message of one change: the first message is repeated after Retries[0],
	// and so on. After the last repetition it waits as long once more.
	Retries []time.Duration
	// MaxInFlight is how many messages to one target may be unanswered.
	MaxInFlight int
	// FollowerDelay is how much later who does not lead sends, and the least time between two of its messages for one zone and
	// target.
	FollowerDelay time.Duration
	// Again is how old a change may be that a new leader announces once more.
	Again  time.Duration
	Logger *slog.Logger
	// Registerer takes the metrics; nil: nobody does.
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// DefaultConfig returns everything but Keys and Registerer.
func DefaultConfig() Config {
	return Config{
		Retries:       []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second},
		MaxInFlight:   100,
		FollowerDelay: time.Second,
		Again:         30 * time.Second,
		Logger:        slog.New(slog.DiscardHandler),
		Now:           time.Now,
	}
}

// Validate reports every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("notify: "+format, args...)) }
	if c.Keys == nil {
		bad("Keys is missing: give the cluster's keyring")
	}
	if len(c.Retries) == 0 {
		bad("Retries is empty; give at least one time to wait for an answer")
	}
	for _, d := range c.Retries {
		if d <= 0 {
			bad("Retries has %s; use positive durations", d)
		}
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > maxIDs {
		bad("MaxInFlight is %d; use 1 to %d", c.MaxInFlight, maxIDs)
	}
	if c.FollowerDelay < 0 || c.Again < 0 {
		bad("FollowerDelay is %s and Again %s; use 0 or more", c.FollowerDelay, c.Again)
	}
	if c.Logger == nil || c.Now == nil {
		bad("Logger or Now is missing; start from DefaultConfig")
	}
	return errors.Join(errs...)
}

// maxIDs leaves message IDs (16 bits) to choose from at random.
const maxIDs = 4096

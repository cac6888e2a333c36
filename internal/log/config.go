package log

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Config says how a replica uses the log. The zero value is not valid: start from DefaultConfig.
type Config struct {
	// Replica is the replica's stable name, unique in the cluster. It becomes part of a key: no '/'.
	Replica string
	// Prefix is where the log lies in etcd, like /zonekeeper. Several clusters may share one external etcd.
	Prefix string

	// AppendTimeout bounds one append; at the timeout it is in doubt and Settle finds out. etcd itself answers a
	// proposal that was lost with a dead leader only after 5 s plus two election timeouts, far too late for a DNS
	// client. On an embedded member a new leader ends the append at once, so that this timeout only matters when a
	// message is lost otherwise; it should exceed the stalls of a busy disk, because every doubt costs a Settle.
	AppendTimeout time.Duration
	// AttemptTimeout bounds each attempt of Settle, Barrier and Compact, which are repeated until their context ends.
	AttemptTimeout time.Duration
	// RetryDelay is the pause before the second attempt; it doubles up to 16 times its value.
	RetryDelay time.Duration

	// MaxInFlight is how many appends may be under way at once. More than one pays only where the disk or the network is
	// slow: with records of 20 kB and an fsync of 0.3 ms, three members on two cores took 1,220 records a second one at
	// a time, 1,141 with two and 575 with four in flight.
	MaxInFlight int
	// MaxRecordBytes bounds the data of one record.
	MaxRecordBytes int

	Logger *slog.Logger
}

// DefaultConfig returns the settings that suit a cluster within one region.
func DefaultConfig() Config {
	return Config{
		Prefix:         "/zonekeeper",
		AppendTimeout:  time.Second,
		AttemptTimeout: 500 * time.Millisecond,
		RetryDelay:     5 * time.Millisecond,
		MaxInFlight:    1,
		MaxRecordBytes: 1<<20 + 64<<10,
		Logger:         slog.New(slog.DiscardHandler),
	}
}

// Validate names every setting that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("log: "+format, args...)) }
	if err := checkName(c.Replica); err != nil {
		errs = append(errs, err)
	}
	if !strings.HasPrefix(c.Prefix, "/") || strings.Trim(c.Prefix, "/") == "" {
		bad("Prefix %q: must be a path like /zonekeeper", c.Prefix)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"AppendTimeout", c.AppendTimeout}, {"AttemptTimeout", c.AttemptTimeout}, {"RetryDelay", c.RetryDelay}} {
		if d.d <= 0 {
			bad("%s %v: must be positive", d.name, d.d)
		}
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > 64 {
		bad("MaxInFlight %d: must be 1 to 64", c.MaxInFlight)
	}
	if c.MaxRecordBytes < 1 {
		bad("MaxRecordBytes %d: must be positive", c.MaxRecordBytes)
	}
	if c.Logger == nil {
		bad("Logger is nil: pass slog.New(slog.DiscardHandler) for silence")
	}
	return errors.Join(errs...)
}

// checkName accepts what can be a path element of an etcd key and a member's name.
func checkName(name string) error {
	if name == "" || len(name) > 63 {
		return fmt.Errorf("log: replica name %q: must have 1 to 63 characters", name)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_') {
			return fmt.Errorf("log: replica name %q: only letters, digits, '-', '.' and '_' are allowed", name)
		}
	}
	return nil
}

package named

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
)

// Config describes one named process. It does not change while a Server runs; zones and keys do (Content).
type Config struct {
	// Path is the named binary, or a wrapper that execs it.
	Path string
	// Dir is the working directory, created when missing and owned by this package. An absolute path. The files of a hidden
	// primary are deleted at each start: it belongs on a tmpfs, what must last is in the log. A secondary's zones are kept.
	Dir string
	// User, when not empty, is the account that named runs as. This process must then be root.
	User string
	// Threads is the number of network threads, named's -n. Zero lets named decide.
	Threads int

	// Listen are the addresses for DNS over UDP and TCP, at least one. The first is where this process sends its own
	// UPDATEs and queries, so it must be reachable from here; a wildcard is not allowed there.
	Listen []netip.AddrPort
	// ListenProxy are further addresses that expect PROXY protocol version 2 before each message. BIND 9.20 only.
	ListenProxy []netip.AddrPort
	// ProxyFrom are the peers believed on ListenProxy.
	ProxyFrom []netip.Prefix
	// Control is the address of the control channel (rndc), on loopback.
	Control netip.AddrPort

	// Forwarders are source addresses whose queries and transfers are admitted to every zone: the endpoint has already
	// authorised them. They must be loopback addresses.
	Forwarders []netip.Addr

	// Secondary makes it a public secondary; nil is a hidden primary.
	Secondary *SecondaryConf

	// TCPClients and TCPIdleTimeout are named's limits on TCP connections. The endpoint forwards each zone transfer over a
	// connection of its own.
	TCPClients     int
	TCPIdleTimeout time.Duration
	// MaxJournalSize bounds each zone's journal, in octets; it decides how far back IXFR reaches.
	MaxJournalSize int64

	StartTimeout  time.Duration // until the first answer, after which the child is killed
	StopTimeout   time.Duration // between SIGTERM and SIGKILL
	ProbeInterval time.Duration // between liveness queries
	ProbeTimeout  time.Duration // for one liveness query
	ProbeFailures int           // consecutive unanswered queries after which the child is killed
	RestartMin    time.Duration // first pause before a restart; doubles
	RestartMax    time.Duration // longest pause before a restart
}

// DefaultConfig returns everything but Dir, Listen and Control.
func DefaultConfig() Config {
	return Config{
		Path:           "/usr/sbin/named",
		Forwarders:     []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 53})},
		TCPClients:     2000,
		TCPIdleTimeout: 60 * time.Second,
		// A one-RR change takes about 220 octets of journal: 32 MiB hold some 150,000 of them.
		MaxJournalSize: 32 << 20,
		StartTimeout:   60 * time.Second,
		StopTimeout:    5 * time.Second,
		ProbeInterval:  500 * time.Millisecond,
		// Patient: a machine that is short of processor time is not helped by a restart, and a primary whose named hangs
		// withholds its reads from the first query on that stays unanswered.
		ProbeTimeout:  2 * time.Second,
		ProbeFailures: 3,
		RestartMin:    100 * time.Millisecond,
		RestartMax:    5 * time.Second,
	}
}

// Validate reports every problem of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Path == "" {
		bad("named path is empty; set it to the named binary, usually /usr/sbin/named")
	}
	if !filepath.IsAbs(c.Dir) {
		bad("named directory %q is not absolute", c.Dir)
	}
	if len(c.Listen) == 0 {
		bad("named listens nowhere; give at least one address and port")
	}
	for i, a := range c.Listen {
		if !a.IsValid() || a.Port() == 0 {
			bad("named listen address %q needs an address and a port", a)
		} else if i == 0 && a.Addr().IsUnspecified() {
			bad("named's first listen address %q is a wildcard; list a loopback address first", a)
		}
	}
	for _, a := range c.ListenProxy {
		if !a.IsValid() || a.Port() == 0 {
			bad("named PROXY listen address %q needs an address and a port", a)
		}
	}
	if !c.Control.IsValid() || c.Control.Port() == 0 || !c.Control.Addr().IsLoopback() {
		bad("named control address %q must be a loopback address with a port", c.Control)
	}
	for _, a := range c.Forwarders {
		// From another host these would be addresses anyone can claim over UDP.
		if !a.IsLoopback() {
			bad("named forwarder %q must be a loopback address", a)
		}
	}
	if c.Secondary != nil {
		c.Secondary.check(bad)
	}
	if c.TCPClients < 100 {
		bad("named tcp-clients %d is below 100", c.TCPClients)
	}
	if c.TCPIdleTimeout < time.Second || c.TCPIdleTimeout > 120*time.Second {
		bad("named tcp-idle-timeout %s is not within 1s to 120s", c.TCPIdleTimeout)
	}
	if c.MaxJournalSize < 64<<10 {
		bad("named max-journal-size %d is below 65536 octets", c.MaxJournalSize)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"start timeout", c.StartTimeout}, {"stop timeout", c.StopTimeout}, {"probe interval", c.ProbeInterval},
		{"probe timeout", c.ProbeTimeout}, {"restart pause", c.RestartMin}, {"longest restart pause", c.RestartMax},
	} {
		if d.value <= 0 {
			bad("named %s %s must be positive", d.name, d.value)
		}
	}
	if c.ProbeFailures < 1 {
		bad("named probe failures %d must be at least 1", c.ProbeFailures)
	}
	return errors.Join(errs...)
}

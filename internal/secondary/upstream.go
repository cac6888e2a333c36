package secondary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	dialTimeout = 500 * time.Millisecond
	// handshakeTimeout bounds TLS with a primary.
	handshakeTimeout = 2 * time.Second
	redial           = 200 * time.Millisecond
	resolveEvery     = 5 * time.Second
	// tolerated is a skew of the clock that is nobody's concern; signatures allow 300 s (RFC 8945 section 10).
	tolerated = 5 * time.Second
)

// upstream is one primary: its addresses, its stream, and what it has to be told.
type upstream struct {
	name    string
	dns     string
	client  *adminapi.Client
	log     func(msg string, args ...any)
	address atomic.Pointer[netip.AddrPort]
	resolve chan struct{} // the address may have changed

	// The rest belongs to secondary.mu.
	failed time.Time
	gone   chan struct{} // closed when the stream ends; nil without one
	skew   time.Duration // own clock minus the primary's
	// What the primary has not been told yet, while connected.
	dirty map[zone.Name]struct{}
	full  bool
	work  chan struct{} // there may be something to report
}

func (s *secondary) newUpstreams() error {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
	}
	if a := s.cfg.Admin; a.TLSCert != "" {
		cert, err := conf.LoadCertificate(a.TLSCert, a.TLSKey, a.TLSClientCA)
		if err != nil {
			return fmt.Errorf("admin: %w", err)
		}
		t.DialTLSContext = cert.Dial(&net.Dialer{Timeout: dialTimeout}, handshakeTimeout)
	}
	for _, p := range s.cfg.Primaries {
		c, err := adminapi.NewClient(p.Admin, &http.Client{Transport: t})
		if err != nil {
			return fmt.Errorf("primaries: %s: %w", p.Name, err)
		}
		s.upstreams = append(s.upstreams, &upstream{
			name: p.Name, dns: p.DNS, client: c, log: s.log.With("primary", p.Name).Warn,
			resolve: make(chan struct{}, 1), work: make(chan struct{}, 1), dirty: map[zone.Name]struct{}{},
		})
	}
	return nil
}

// addr is the primary's endpoint; the zero value when it is not known.
func (u *upstream) addr() netip.AddrPort {
	if a := u.address.Load(); a != nil {
		return *a
	}
	return netip.AddrPort{}
}

// resolveAddresses keeps the address of the endpoint. A resolver that is down leaves the last one.
func (u *upstream) resolveAddresses(ctx context.Context) {
	if a, err := netip.ParseAddrPort(u.dns); err == nil {
		u.address.Store(&a)
		return
	}
	said := ""
	for ctx.Err() == nil {
		a, err := lookUp(ctx, u.dns)
		switch {
		case err == nil:
			u.address.Store(&a)
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			u.log("the primary's address can't be looked up; the last one stays in use", "dns", u.dns, "last", u.addr(), "err", err)
			said = err.Error()
		}
		if !pause(ctx, redial) { // not more often, however much fails
			return
		}
		t := time.NewTimer(resolveEvery)
		select {
		case <-t.C:
		case <-u.resolve:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func lookUp(ctx context.Context, hostport string) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveEvery)
	defer cancel()
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)), nil //nolint:gosec // a port
}

// listen keeps a stream of changes from the primary.
func (s *secondary) listen(ctx context.Context, u *upstream) {
	said := ""
	for ctx.Err() == nil {
		connected := false
		err := u.client.Changes(ctx, s.cfg.Name, func(c adminapi.Changes) error {
			if !connected {
				connected, said = true, ""
				s.log.Info("primary is live", "primary", u.name)
			}
			s.heard(u, c)
			return nil
		})
		if ctx.Err() != nil {
			err = errStopping
		}
		s.lost(u, err)
		if text := err.Error(); text != said && ctx.Err() == nil {
			u.log("primary is not live", "err", err)
			said = text
		}
		pause(ctx, redial)
	}
}

var errStopping = errors.New("this secondary is stopping")

const clockProblem = "the clock is more than 5 s off the median of the primaries': mend its time synchronisation"

// heard takes one line of a stream.
func (s *secondary) heard(u *upstream, c adminapi.Changes) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.gone == nil {
		u.gone = make(chan struct{})
		s.t.connect(u.name)
		s.reportAllLocked(u)
	}
	u.skew = now.Sub(time.UnixMilli(c.UnixMS))
	s.t.announce(now, u.name, c)
	if c.Complete && s.t.asOf.IsZero() {
		signal(s.save) // the first contact ever: who is killed in the next seconds knows of it
	}
	if c.Confirmed != 0 && (s.confirmed == 0 || zone.SerialGT(c.Confirmed, s.confirmed)) {
		s.confirmed = c.Confirmed
		if s.hold != nil && zone.SerialGE(s.confirmed, s.hold.Serial) {
			s.log.Info("the removal is confirmed", "serial", s.confirmed)
			s.t.hurry(now, s.catalog)
		}
	}
	if n, err := zone.ParseName(c.Catalog); err == nil && c.Catalog != "" && !n.Equal(s.catalog) {
		s.problemLocked("catalog", fmt.Sprintf("the primaries' catalog zone is %s, this secondary is configured for %s: set catalog", n, s.catalog))
	}
	if skew := s.skewLocked(); skew.Abs() > tolerated {
		s.problemLocked("clock", clockProblem)
	}
	s.wake()
}

// lost ends a stream: transfers from that primary are broken off.
func (s *secondary) lost(u *upstream, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.gone != nil {
		close(u.gone)
		u.gone = nil
	}
	s.t.disconnect(time.Now(), u.name, err.Error())
	clear(u.dirty)
	u.full = false
	signal(u.resolve)
	s.wake()
}

// skewLocked is the own clock minus the median of the live primaries'.
func (s *secondary) skewLocked() time.Duration {
	var all []time.Duration
	for _, u := range s.upstreams {
		if u.gone != nil {
			all = append(all, u.skew)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// DNSConfig names a name whose addresses are the primaries, such as that of a headless Service. Such a Service must publish the
// addresses of pods that are not ready (publishNotReadyAddresses): whether one is ready is for the front's checks.
type DNSConfig struct {
	Name  string
	Every time.Duration // between two questions; times to live are not looked at
	// Timeout of one question, in which the resolver asks other servers when the first is silent (for 5 s, see resolv.conf(5)). An answer
	// that fails keeps the last list.
	Timeout time.Duration
	// Lookup asks for the addresses of a name; nil: the system's resolver.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	Logger *slog.Logger
}

// DefaultDNSConfig has the times.
func DefaultDNSConfig() DNSConfig {
	return DNSConfig{Every: 5 * time.Second, Timeout: 15 * time.Second}
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c DNSConfig) Validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("backends: Name: empty; give a name with an address for each primary"))
	}
	if c.Every <= 0 || c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("backends: Every %s, Timeout %s; give positive times", c.Every, c.Timeout))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("backends: Logger: nil; give one"))
	}
	return errors.Join(errs...)
}

// DNS asks for the addresses of a name again and again. A primary's name is its address, because a DNS answer has no other. Run fails
// when the configuration is wrong.
func DNS(cfg DNSConfig) Source {
	if cfg.Lookup == nil {
		cfg.Lookup = system(nil)
	}
	return &dns{keeper: keeper{log: cfg.Logger}, cfg: cfg}
}

// system asks the servers of /etc/resolv.conf, by dial unless that is nil.
func system(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string) ([]netip.Addr, error) {
	// Strict: without the answer for A the one for AAAA is not all there is. The C library has no such choice.
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: dial}
	return func(ctx context.Context, name string) ([]netip.Addr, error) { return r.LookupNetIP(ctx, "ip", name) }
}

type dns struct {
	keeper
	cfg DNSConfig
}

func (d *dns) Run(ctx context.Context, set func([]Primary)) error {
	if err := d.cfg.Validate(); err != nil {
		return err
	}
	for {
		list, err := d.ask(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the error, if any, is the end's
		}
		if err != nil {
			d.fail(err)
		} else {
			d.offer(list, set)
		}
		if !pause(ctx, d.cfg.Every) {
			return nil
		}
	}
}

func (d *dns) ask(ctx context.Context) ([]Primary, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	addrs, err := d.cfg.Lookup(ctx, d.cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("backends: addresses of %s: %w", d.cfg.Name, err)
	}
	seen := map[netip.Addr]bool{}
	var list []Primary
	for _, a := range addrs {
		if a = a.Unmap(); a.IsValid() && usable(a) && !seen[a] {
			seen[a] = true
			list = append(list, Primary{Name: a.String(), Addr: a})
		}
	}
	return list, nil
}

package zoneobject

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Times of a new zone's SOA (RFC 1912, section 2.2, and RIPE-203 for the last): secondaries of ours don't wait for them.
const (
	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 1209600
	soaMinimum = 300
	soaTTL     = 3600
)

// Content is the text of a zone file for a zone that begins with an SOA and name servers; "" when its first content comes from elsewhere
// (bootstrap.zoneFile, bootstrap.transfer).
func Content(z *v1alpha1.Zone, defaults *v1alpha1.ZoneDefaults) (string, error) {
	var b v1alpha1.ZoneBootstrap
	if z.Spec.Bootstrap != nil {
		b = *z.Spec.Bootstrap
	}
	if b.ZoneFile != nil || b.Transfer != nil {
		return "", nil
	}
	if defaults != nil {
		if len(b.NameServers) == 0 {
			b.NameServers = defaults.NameServers
		}
		if b.Mailbox == "" {
			b.Mailbox = defaults.Mailbox
		}
	}
	origin := absolute(string(z.Spec.ZoneName))
	if b.Mailbox == "" {
		b.Mailbox = v1alpha1.DomainName("hostmaster." + origin)
	}
	if len(b.NameServers) == 0 {
		return "", fmt.Errorf("zone %s has no name servers; list them in bootstrap.nameServers, or in zoneDefaults of the BindCluster", origin)
	}
	var text strings.Builder
	line := func(owner, typ, data string) { fmt.Fprintf(&text, "%s %d IN %s %s\n", owner, soaTTL, typ, data) }
	line(origin, "SOA", fmt.Sprintf("%s %s 1 %d %d %d %d", absolute(string(b.NameServers[0].Name)), absolute(string(b.Mailbox)), soaRefresh, soaRetry, soaExpire, soaMinimum))
	var errs []error
	for _, n := range b.NameServers {
		line(origin, "NS", absolute(string(n.Name)))
	}
	for _, n := range b.NameServers {
		name := absolute(string(n.Name))
		if !below(name, origin) {
			continue // its addresses are another zone's
		}
		if len(n.Addresses) == 0 {
			errs = append(errs, fmt.Errorf("name server %s lies in zone %s and has no addresses; give them, or nobody finds it", name, origin))
		}
		for _, a := range n.Addresses {
			x, err := netip.ParseAddr(string(a))
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("name server %s: %w", name, err))
			case x.Is4():
				line(name, "A", x.String())
			default:
				line(name, "AAAA", x.String())
			}
		}
	}
	return text.String(), errors.Join(errs...)
}

// below says whether an absolute name is at or below another one.
func below(name, of string) bool {
	return of == "." || name == of || strings.HasSuffix(name, "."+of)
}

// Package axfr fetches whole zones from other people's servers (RFC 5936), for imports.
package axfr

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// fetchFudge is the usual allowance for clocks, RFC 8945 section 10.
const fetchFudge = 300

// Key is a TSIG key of somebody else's server. Secret is base64.
type Key struct{ Name, Algorithm, Secret string }

// Fetch transfers a zone by AXFR (RFC 5936), signed if there is a key, and returns it as zone-file text, one record a
// line, the closing SOA left out. server is an address, or address:port.
func Fetch(ctx context.Context, name, server string, key *Key) (string, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	m := new(dns.Msg)
	m.SetAxfr(name)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return "", fmt.Errorf("transfer of %s from %s: %w", name, server, err)
	}
	defer conn.Close()
	t := &dns.Transfer{Conn: &dns.Conn{Conn: conn}}
	if key != nil {
		m.SetTsig(dns.Fqdn(key.Name), dns.Fqdn(key.Algorithm), fetchFudge, time.Now().Unix())
		t.TsigSecret = map[string]string{dns.Fqdn(key.Name): key.Secret}
	}
	if deadline, ok := ctx.Deadline(); ok {
		t.ReadTimeout = time.Until(deadline)
	}
	envelopes, err := t.In(m, server)
	if err != nil {
		return "", fmt.Errorf("transfer of %s from %s: %w", name, server, err)
	}
	var b strings.Builder
	soas := 0
	for e := range envelopes {
		if e.Error != nil {
			return "", fmt.Errorf("transfer of %s from %s: %w; does the server permit it (allow-transfer), to this key or address?", name, server, e.Error)
		}
		for _, rr := range e.RR {
			if rr.Header().Rrtype == dns.TypeSOA {
				if soas++; soas == 2 {
					continue
				}
			}
			b.WriteString(rr.String())
			b.WriteByte('\n')
		}
	}
	if soas != 2 {
		return "", fmt.Errorf("transfer of %s from %s: it ended early, with %d of its 2 SOA records", name, server, soas)
	}
	return b.String(), nil
}

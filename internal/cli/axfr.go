package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// tsigFudge is the usual allowance for clocks, RFC 8945 section 10.
const tsigFudge = 300

// transferKey is a TSIG key of somebody else's server.
type transferKey struct{ algorithm, name, secret string }

// parseKey reads [algorithm:]name:secret, the form of dig -y, or @FILE that holds it.
func parseKey(s string) (transferKey, error) {
	if path, ok := strings.CutPrefix(s, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return transferKey{}, fmt.Errorf("--key: %w", err)
		}
		s = strings.TrimSpace(string(b))
	}
	parts := strings.SplitN(s, ":", 3)
	switch len(parts) {
	case 2:
		return transferKey{dns.HmacSHA256, absolute(parts[0]), parts[1]}, nil
	case 3:
		return transferKey{absolute(strings.ToLower(parts[0])), absolute(parts[1]), parts[2]}, nil
	default:
		return transferKey{}, &usageError{err: errors.New("--key: write [algorithm:]name:secret, as for dig -y")}
	}
}

// transfer fetches a zone by AXFR (RFC 5936) and returns it as zone-file text, one
// record a line, the closing SOA left out.
func transfer(ctx context.Context, name, server, key string) (string, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	m := new(dns.Msg)
	m.SetAxfr(name)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return "", fmt.Errorf("transfer of %s: %w", name, err)
	}
	defer conn.Close()
	t := &dns.Transfer{Conn: &dns.Conn{Conn: conn}}
	if key != "" {
		k, err := parseKey(key)
		if err != nil {
			return "", err
		}
		m.SetTsig(k.name, k.algorithm, tsigFudge, time.Now().Unix())
		t.TsigSecret = map[string]string{k.name: k.secret}
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

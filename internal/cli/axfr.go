package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// tsigFudge is the usual allowance for clocks, RFC 8945 section 10.
const tsigFudge = 300

// transferKey is a TSIG key of somebody else's server.
type transferKey struct{ algorithm, name, secret string }

// parseKey reads [algorithm:]name:secret, the form of dig -y, or @FILE that holds it.
func parseKey(s string) (*transferKey, error) {
	if path, ok := strings.CutPrefix(s, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		s = strings.TrimSpace(string(b))
	}
	parts := strings.SplitN(s, ":", 3)
	if len(parts) == 2 {
		parts = append([]string{"hmac-sha256"}, parts...)
	}
	if len(parts) != 3 {
		return nil, &usageError{err: errors.New("--key: write [algorithm:]name:secret, as for dig -y")}
	}
	algorithm, err := tsig.ParseAlgorithm(parts[0])
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("--key: %w", err)}
	}
	if b, err := base64.StdEncoding.DecodeString(parts[2]); err != nil || len(b) == 0 {
		return nil, &usageError{err: errors.New("--key: the secret is not base64; write [algorithm:]name:secret, as for dig -y")}
	}
	return &transferKey{algorithm.Name().String(), absolute(parts[1]), parts[2]}, nil
}

// transfer fetches a zone by AXFR (RFC 5936), signed if there is a key, and returns it as zone-file text, one record a
// line, the closing SOA left out.
func transfer(ctx context.Context, name, server string, key *transferKey) (string, error) {
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
		m.SetTsig(key.name, key.algorithm, tsigFudge, time.Now().Unix())
		t.TsigSecret = map[string]string{key.name: key.secret}
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

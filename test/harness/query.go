package harness

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// Asker asks questions with another implementation of DNS than the one under test.
type Asker struct {
	Key     *tsig.Key // signs the question; nil: unsigned
	Timeout time.Duration
}

// sign makes m signed and gives the secrets that verify the answer.
func (a Asker) sign(m *dns.Msg) map[string]string {
	if a.Key == nil {
		return nil
	}
	name := a.Key.Name.Canonical().String()
	m.SetTsig(name, dns.Fqdn(a.Key.Algorithm.String()), 300, time.Now().Unix())
	return map[string]string{name: base64.StdEncoding.EncodeToString(a.Key.Secret)}
}

// Ask sends one query over "udp" or "tcp" and returns the answer, whose signature has been verified. Over UDP it asks
// once: a lost datagram is an error.
func (a Asker) Ask(ctx context.Context, network, addr, name string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.RecursionDesired = false
	c := dns.Client{Net: network, Timeout: a.Timeout, TsigSecret: a.sign(m)}
	resp, _, err := c.ExchangeContext(ctx, m, addr)
	if err != nil {
		return nil, fmt.Errorf("%s query of %s %s at %s: %w", network, name, dns.TypeToString[qtype], addr, err)
	}
	if !resp.Response {
		// Where nobody listens, a socket may have been given the port that it sends to.
		return nil, fmt.Errorf("%s query of %s %s at %s: it came back to its sender", network, name, dns.TypeToString[qtype], addr)
	}
	return resp, nil
}

// RCodeError is the response code of a transfer that was refused.
type RCodeError int

func (e RCodeError) Error() string { return dns.RcodeToString[int(e)] }

// Transfer fetches a zone: the whole (AXFR), or what changed since a serial (IXFR). The RRs come as they were sent, with
// the SOA at both ends.
func (a Asker) Transfer(ctx context.Context, addr, name string, since *uint32) ([]dns.RR, error) {
	m := new(dns.Msg)
	what := "AXFR"
	if since == nil {
		m.SetAxfr(dns.Fqdn(name))
	} else {
		what = "IXFR"
		m.SetIxfr(dns.Fqdn(name), *since, ".", ".")
	}
	d := net.Dialer{Timeout: a.Timeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s of %s from %s: %w", what, name, addr, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	tr := dns.Transfer{Conn: &dns.Conn{Conn: conn}, ReadTimeout: a.Timeout, WriteTimeout: a.Timeout, TsigSecret: a.sign(m)}
	parts, err := tr.In(m, addr)
	if err != nil {
		return nil, fmt.Errorf("%s of %s from %s: %w", what, name, addr, err)
	}
	var out []dns.RR
	for p := range parts {
		if p.Error != nil && err == nil {
			cause := p.Error
			var rcode int
			if _, scanErr := fmt.Sscanf(p.Error.Error(), "dns: bad xfr rcode: %d", &rcode); scanErr == nil {
				cause = RCodeError(rcode)
			}
			err = fmt.Errorf("%s of %s from %s: %w", what, name, addr, cause)
		}
		out = append(out, p.RR...)
	}
	return out, err
}

// Bytes sends a message that is complete, over "udp" or "tcp", once, and returns the first answer with its ID.
func Bytes(ctx context.Context, network, addr string, msg []byte) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 12 && buf[0] == msg[0] && buf[1] == msg[1] && buf[2]&0x80 != 0 {
			return buf[:n], nil
		}
	}
}

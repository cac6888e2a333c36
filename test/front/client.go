package front

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	// again is when a client sends the same octets again over UDP.
	again = 250 * time.Millisecond
	// patience is how long a client waits on one TCP connection before it tries the same octets on a new one; connectPatience is for that
	// one to be opened. A kernel by itself repeats a lost SYN after a second.
	patience        = 500 * time.Millisecond
	connectPatience = 250 * time.Millisecond
	// backOff is how long it waits after a connection that was refused or cut.
	backOff = 50 * time.Millisecond
	// giveUp is how long it tries at all.
	giveUp = 20 * time.Second
)

// client sends updates from the host "client". It is for one goroutine.
type client struct {
	s       *site
	network string // udp; tcp: a connection for each write, as nsupdate -v; tcp-kept: one for all, as long as it lasts
	addr    string
	key     tsig.Key
	id      uint16
	udp     *udpClient
	kept    net.Conn
	broken  []string     // TCP connections that could not be opened, or ended before the answer to their first request
	closed  atomic.Int64 // kept ones that had ended when they were used again: clients connect anew (RFC 7766, section 6.2.4)
	turned  atomic.Int64 // SERVFAIL
	late    atomic.Int64 // requests without an answer in time, sent again
}

func (s *site) client(network, addr string) *client {
	return &client{s: s, network: network, addr: addr, key: s.c.Key()}
}

// update makes one signed update, tried until it is answered.
func (c *client) update(zoneName zone.Name, prereqs, updates []zone.RR) (rcode uint16, err error) {
	c.id++
	return c.exchange(tsig.SignRequest(named.AppendUpdate(nil, c.id, zoneName, prereqs, updates), c.key, time.Now()))
}

// nothing makes an update that changes nothing, and takes the same way.
func (c *client) nothing() error {
	rcode, err := c.update(zone.MustParseName(origin), nil, nil)
	if err == nil && rcode != 0 {
		err = fmt.Errorf("rcode %d", rcode)
	}
	return err
}

// exchange sends the same octets until an answer comes. SERVFAIL is none: whoever gets it asks again, and the same octets mean the same
// request (I4).
func (c *client) exchange(msg []byte) (rcode uint16, err error) {
	end := time.Now().Add(giveUp)
	for time.Now().Before(end) {
		var answer []byte
		if c.network == "udp" {
			answer, err = c.overUDP(msg)
		} else {
			answer, err = c.overTCP(msg)
		}
		if err != nil {
			continue
		}
		if rcode = binary.BigEndian.Uint16(answer[2:]) & 0xf; rcode != dns.RcodeServerFailure {
			return rcode, nil
		}
		c.turned.Add(1)
		err = errors.New("SERVFAIL")
		<-time.After(backOff)
	}
	return 0, fmt.Errorf("no answer over %s in %v: %w", c.network, giveUp, err)
}

func (c *client) overUDP(msg []byte) ([]byte, error) {
	if c.udp == nil {
		conn, err := c.dial("udp")
		if err != nil {
			return nil, err
		}
		c.udp = &udpClient{conn: conn, buf: make([]byte, dns.MaxMsgSize)}
		c.s.t.Cleanup(func() { _ = conn.Close() })
	}
	return c.udp.once(msg, again)
}

// udpClient is a socket with a destination.
type udpClient struct {
	conn net.Conn
	buf  []byte
}

// once sends a message and waits for its answer. Errors of the network (nobody has the address now) count as silence.
func (u *udpClient) once(msg []byte, wait time.Duration) ([]byte, error) {
	until := time.Now().Add(wait)
	_, lost := u.conn.Write(msg)
	if err := u.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	for {
		n, err := u.conn.Read(u.buf)
		switch {
		case err == nil && n >= 12 && u.buf[0] == msg[0] && u.buf[1] == msg[1]:
			return u.buf[:n], nil
		case err == nil:
			continue // of an earlier request
		case time.Now().Before(until):
			lost = errors.Join(lost, err)
			<-time.After(min(20*time.Millisecond, time.Until(until)))
		default:
			return nil, errors.Join(lost, err)
		}
	}
}

func (c *client) overTCP(msg []byte) ([]byte, error) {
	conn := c.kept
	c.kept = nil
	began := time.Now()
	old := conn != nil
	if conn == nil {
		var err error
		if conn, err = c.dial("tcp"); err != nil {
			c.note(false, began, err)
			<-time.After(backOff)
			return nil, err
		}
	}
	answer, err := once(conn, msg)
	if err == nil && c.network == "tcp-kept" {
		c.kept = conn
		return answer, nil
	}
	_ = conn.Close()
	c.note(old, began, err)
	if err != nil && !old {
		<-time.After(backOff)
	}
	return answer, err
}

// note counts why a request over TCP has to be sent again.
func (c *client) note(old bool, began time.Time, err error) {
	var timeout net.Error
	switch {
	case err == nil:
	case errors.As(err, &timeout) && timeout.Timeout():
		c.late.Add(1)
	case old:
		c.closed.Add(1)
	default:
		c.broken = append(c.broken, fmt.Sprintf("%v, %v after it was opened", err, time.Since(began).Round(time.Millisecond)))
	}
}

// once sends a message over a connection and reads one answer.
func once(conn net.Conn, msg []byte) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	co := dns.Conn{Conn: conn}
	if _, err := co.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := co.Read(buf)
	if err != nil {
		return nil, err
	}
	if n < 12 || buf[0] != msg[0] || buf[1] != msg[1] {
		return nil, fmt.Errorf("% x is no answer", buf[:n])
	}
	return buf[:n], nil
}

func (c *client) dial(network string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectPatience)
	defer cancel()
	return c.s.DialContext("client")(ctx, network, c.addr)
}

// ask asks a query from a host once, signed or not, and gives the answer, whose signature has been verified.
func (s *site) ask(host, network, addr string, m *dns.Msg, key *tsig.Key) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	conn, err := s.DialContext(host)(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: dns.MaxMsgSize}
	if key != nil {
		name := key.Name.Canonical().String()
		m.SetTsig(name, dns.Fqdn(key.Algorithm.String()), 300, time.Now().Unix())
		c.TsigSecret = map[string]string{name: base64Secret(key)}
	}
	answer, _, err := c.ExchangeWithConnContext(ctx, m, &dns.Conn{Conn: conn})
	return answer, err
}

// reason gives the text and the code of the Extended DNS Error of an answer.
func reason(m *dns.Msg) (code uint16, text string) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return e.InfoCode, e.ExtraText
			}
		}
	}
	return 0, ""
}

// a is the value of a counter as an address.
func a(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// valueOf reads a counter's value in an answer: 0 where there is none yet.
func valueOf(m *dns.Msg) (int, error) {
	switch {
	case m.Rcode == dns.RcodeNameError:
		return 0, nil
	case m.Rcode != dns.RcodeSuccess:
		code, text := reason(m)
		return 0, fmt.Errorf("%s (%d %s)", dns.RcodeToString[m.Rcode], code, text)
	}
	i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeA })
	if i < 0 || len(m.Answer) != 1 {
		return 0, fmt.Errorf("not one address: %s", strings.ReplaceAll(m.String(), "\n", "; "))
	}
	return int(binary.BigEndian.Uint32(m.Answer[i].(*dns.A).A.To4())), nil
}

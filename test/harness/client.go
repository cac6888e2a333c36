package harness

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ErrNoAnswer: the client gave up. What it asked for may have been done.
var ErrNoAnswer = errors.New("no answer")

// Client sends signed UPDATEs over UDP as nsupdate does: it repeats the same octets until an answer comes. It is for one
// goroutine.
type Client struct {
	key    tsig.Key
	conn   net.Conn
	id     uint16
	buf    []byte
	Repeat time.Duration // between two sendings of one request
	GiveUp time.Duration // after the first sending
	// Sent counts datagrams, Repeated those after the first of a request.
	Sent, Repeated int
}

// Key gives the cluster's development key.
func (c *Cluster) Key() tsig.Key {
	c.t.Helper()
	return MustKey(c.t, c.Info().Key.Name, c.Info().Key.Algorithm, c.Info().Key.Secret)
}

// MustKey makes a key from what key files hold.
func MustKey(t testing.TB, name, algorithm, secret string) tsig.Key {
	t.Helper()
	alg, err := tsig.ParseAlgorithm(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	n, err := zone.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	k, err := tsig.NewKey(tsig.Key{Name: n, Algorithm: alg, Secret: raw})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Dial makes a client of an address, such as the cluster's relay.
func Dial(t testing.TB, addr string, key tsig.Key) *Client {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(t, conn, key)
}

// NewClient makes a client of a UDP socket that has a destination.
func NewClient(t testing.TB, conn net.Conn, key tsig.Key) *Client {
	t.Cleanup(func() { _ = conn.Close() })
	return &Client{key: key, conn: conn, buf: make([]byte, 65535), Repeat: time.Second, GiveUp: 10 * time.Second}
}

// Update sends one UPDATE and returns the response code.
func (c *Client) Update(origin zone.Name, prereqs, updates []zone.RR) (rcode uint16, err error) {
	return c.UpdateWithin(0, origin, prereqs, updates)
}

const servFail = 2 // RFC 1035 4.1.1

// UpdateWithin is Update by a client that does not give up at SERVFAIL, as while a cluster elects a leader: it sends the same octets
// again, which are applied once (I4), until the limit.
func (c *Client) UpdateWithin(limit time.Duration, origin zone.Name, prereqs, updates []zone.RR) (rcode uint16, err error) {
	c.id++
	signed := tsig.SignRequest(named.AppendUpdate(nil, c.id, origin, prereqs, updates), c.key, time.Now())
	for end := time.Now().Add(limit); ; {
		if rcode, err = c.Exchange(signed); err != nil || rcode != servFail || time.Now().After(end) {
			return rcode, err
		}
		<-time.After(50 * time.Millisecond) // it answers at once
	}
}

// Exchange sends a message that is already signed, repeats it, and returns the response code of the answer.
func (c *Client) Exchange(signed []byte) (rcode uint16, err error) {
	id := binary.BigEndian.Uint16(signed)
	end := time.Now().Add(c.GiveUp)
	for first := true; ; first = false {
		left := time.Until(end)
		if left <= 0 {
			return 0, ErrNoAnswer
		}
		c.Sent++
		if !first {
			c.Repeated++
		}
		if _, err := c.conn.Write(signed); err != nil && left < c.Repeat {
			return 0, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		until := time.Now().Add(min(c.Repeat, left))
		for {
			if err := c.conn.SetReadDeadline(until); err != nil {
				return 0, err
			}
			n, err := c.conn.Read(c.buf)
			if err != nil {
				// A refused datagram (nobody listens yet) is no answer either; do not spin on it.
				if time.Now().Before(until) {
					time.Sleep(min(20*time.Millisecond, time.Until(until)))
					continue
				}
				break
			}
			if n < 12 || binary.BigEndian.Uint16(c.buf) != id {
				continue // of an earlier request
			}
			return binary.BigEndian.Uint16(c.buf[2:]) & 0xf, nil
		}
	}
}

// A makes an address record of a name given relative to origin.
func A(origin zone.Name, label string, ttl uint32, addr [4]byte) zone.RR {
	return zone.RR{Name: zone.MustParseName(label + "." + origin.String()), Type: zone.TypeA, Class: zone.ClassIN, TTL: ttl, Data: string(addr[:])}
}

package differential

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Secret is the secret of every key of a run; the algorithm is hmac-sha256.
const Secret = "a secret for tests on loopback.."

// timeout bounds each exchange; a server on loopback that needs longer has dropped the request.
const timeout = 10 * time.Second

// Client is a Target behind a DNS server's address. It signs as asked and keeps one TCP and one UDP socket.
type Client struct {
	server netip.AddrPort
	keys   map[zone.Name]tsig.Key
	tcp    net.Conn
	id     uint16
}

// Dial returns a client of server. It connects when it is used.
func Dial(server netip.AddrPort) *Client {
	return &Client{server: server, keys: map[zone.Name]tsig.Key{}, id: 0x8000}
}

// Close closes the connection.
func (c *Client) Close() error {
	if c.tcp == nil {
		return nil
	}
	err := c.tcp.Close()
	c.tcp = nil
	return err
}

// Send implements Target.
func (c *Client) Send(ctx context.Context, r Request) (Answer, error) {
	msg, err := c.signed(r)
	if err != nil {
		return Answer{}, err
	}
	var answer []byte
	if r.UDP {
		answer, err = c.datagram(ctx, msg)
	} else {
		answer, err = c.exchange(ctx, msg)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("UPDATE to %s: %w", c.server, err)
	}
	a := Answer{RCode: binary.BigEndian.Uint16(answer[2:]) & 0xf}
	a.TSIGError, err = tsigError(answer)
	return a, err
}

func (c *Client) signed(r Request) ([]byte, error) {
	msg := append(make([]byte, 0, len(r.Wire)+256), r.Wire...)
	if r.Signer == "" {
		return msg, nil
	}
	if r.Tamper == Genuine {
		if key, ok := c.keys[r.Signer]; ok {
			return tsig.SignRequest(msg, key, time.Now()), nil
		}
	}
	key := tsig.Key{Name: r.Signer, Algorithm: tsig.HMACSHA256, Secret: []byte(Secret)}
	now := time.Now()
	switch r.Tamper {
	case WrongSecret:
		key.Secret = []byte("not the secret")
	case OtherAlgorithm:
		key.Algorithm = tsig.HMACSHA512
	case OldSignature:
		now = now.Add(-time.Hour)
	case Genuine:
	}
	key, err := tsig.NewKey(key)
	if err != nil {
		return nil, err
	}
	if r.Tamper == Genuine {
		c.keys[r.Signer] = key
	}
	return tsig.SignRequest(msg, key, now), nil
}

// tsigError returns the error field of the TSIG RR, the last RR of a response that has one.
func tsigError(msg []byte) (uint16, error) {
	off := 12
	var err error
	for range binary.BigEndian.Uint16(msg[4:]) {
		if _, off, err = zone.UnpackName(msg, off); err != nil {
			return 0, err
		}
		off += 4
	}
	var last zone.RR
	for range int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:])) {
		if last, off, err = zone.UnpackRR(msg, off); err != nil {
			return 0, err
		}
	}
	if last.Type != zone.TypeTSIG {
		return 0, nil
	}
	d := []byte(last.Data)
	_, at, err := zone.UnpackName(d, 0) // algorithm, time signed, fudge, MAC, original ID, error (RFC 8945 4.2)
	if err != nil {
		return 0, err
	}
	at += 8
	at += 2 + int(binary.BigEndian.Uint16(d[at:])) + 2
	return binary.BigEndian.Uint16(d[at:]), nil
}

func (c *Client) datagram(ctx context.Context, msg []byte) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", c.server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	n, err := conn.Read(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], checkAnswer(msg, buf[:n])
}

// exchange sends msg over TCP and reads the answer. The server may have closed an idle or offended connection: one that was
// used before is opened again, once.
func (c *Client) exchange(ctx context.Context, msg []byte) ([]byte, error) {
	reused := c.tcp != nil
	answer, err := c.tryExchange(ctx, msg)
	var timedOut net.Error
	if err != nil && reused && !(errors.As(err, &timedOut) && timedOut.Timeout()) {
		answer, err = c.tryExchange(ctx, msg)
	}
	return answer, err
}

func (c *Client) tryExchange(ctx context.Context, msg []byte) ([]byte, error) {
	if c.tcp == nil {
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", c.server.String())
		if err != nil {
			return nil, err
		}
		c.tcp = conn
	}
	answer, err := c.roundTrip(msg)
	if err != nil {
		_ = c.Close() // its state is unknown
	}
	return answer, err
}

func (c *Client) roundTrip(msg []byte) ([]byte, error) {
	if err := c.tcp.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := c.tcp.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return nil, err
	}
	answer, err := readMessage(c.tcp)
	if err != nil {
		return nil, err
	}
	return answer, checkAnswer(msg, answer)
}

func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func checkAnswer(msg, answer []byte) error {
	if len(answer) < 12 || answer[0] != msg[0] || answer[1] != msg[1] || answer[2]&0x80 == 0 {
		return fmt.Errorf("answer does not belong to the request: %x", answer)
	}
	return nil
}

func (c *Client) query(origin zone.Name, t zone.Type) Request {
	c.id++
	b := binary.BigEndian.AppendUint16(nil, c.id)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	b = append(b, origin...)
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	return Request{Wire: binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN)), Signer: zone.MustParseName(KeyMain)}
}

// Serial implements Target. The answer to a query that follows the answer to an UPDATE shows that update.
func (c *Client) Serial(ctx context.Context, origin zone.Name) (uint32, error) {
	msg, err := c.signed(c.query(origin, zone.TypeSOA))
	if err != nil {
		return 0, err
	}
	answer, err := c.exchange(ctx, msg)
	if err != nil {
		return 0, fmt.Errorf("SOA query to %s: %w", c.server, err)
	}
	rrs, err := answers(answer)
	if err != nil || len(rrs) == 0 || rrs[0].Type != zone.TypeSOA {
		return 0, fmt.Errorf("SOA query to %s: RRs %v, error %w", c.server, rrs, err)
	}
	return zone.SOASerial(rrs[0].Data), nil
}

// Zone implements Target by an AXFR on a connection of its own.
func (c *Client) Zone(ctx context.Context, origin zone.Name) ([]zone.RR, error) {
	msg, err := c.signed(c.query(origin, zone.TypeAXFR))
	if err != nil {
		return nil, err
	}
	other := &Client{server: c.server}
	defer other.Close()
	answer, err := other.exchange(ctx, msg)
	var all []zone.RR
	for {
		if err != nil {
			return nil, fmt.Errorf("AXFR of %s from %s: %w", origin, c.server, err)
		}
		var rrs []zone.RR
		if rrs, err = answers(answer); err != nil {
			continue
		}
		all = append(all, rrs...)
		if n := len(all); n > 1 && all[n-1].Type == zone.TypeSOA {
			return all[:n-1], nil
		}
		answer, err = readMessage(other.tcp)
	}
}

// answers returns the RRs of the answer section.
func answers(msg []byte) ([]zone.RR, error) {
	if rcode := msg[3] & 0xf; rcode != 0 {
		return nil, fmt.Errorf("response code %d", rcode)
	}
	off := 12
	for range binary.BigEndian.Uint16(msg[4:]) {
		_, next, err := zone.UnpackName(msg, off)
		if err != nil {
			return nil, err
		}
		off = next + 4
	}
	var rrs []zone.RR
	for range binary.BigEndian.Uint16(msg[6:]) {
		rr, next, err := zone.UnpackRR(msg, off)
		if err != nil {
			return nil, err
		}
		rrs = append(rrs, rr)
		off = next
	}
	return rrs, nil
}

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
	"github.com/zonekeeper/zonekeeper/internal/update"
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
	msg, key, err := c.signed(r)
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
	a, err := readAnswer(answer)
	if err != nil {
		return Answer{}, fmt.Errorf("answer %x of %s to an UPDATE: %w", answer, c.server, err)
	}
	if r.Signer != "" {
		a.Form += ", " + signature(answer, msg, key)
	}
	return a, nil
}

// signature says what the sender of a signed request makes of the answer's TSIG RR.
func signature(answer, request []byte, key tsig.Key) string {
	err := tsig.VerifyResponse(answer, request, key, time.Now())
	var reported *tsig.ResponseError
	switch {
	case err == nil:
		return "verified"
	case errors.As(err, &reported):
		return fmt.Sprintf("TSIG error %d, signed %t", reported.TSIGError, reported.Signed)
	}
	return "not verified"
}

// signed gives the octets to send, and the key that the request asks for.
func (c *Client) signed(r Request) ([]byte, tsig.Key, error) {
	msg := append(make([]byte, 0, len(r.Wire)+256), r.Wire...)
	if r.Signer == "" {
		return msg, tsig.Key{}, nil
	}
	key, ok := c.keys[r.Signer]
	if !ok {
		var err error
		if key, err = tsig.NewKey(tsig.Key{Name: r.Signer, Algorithm: tsig.HMACSHA256, Secret: []byte(Secret)}); err != nil {
			return nil, key, err
		}
		c.keys[r.Signer] = key
	}
	if r.Tamper == Genuine {
		return tsig.SignRequest(msg, key, r.Time), key, nil
	}
	msg, err := r.Tamper.sign(msg, key, r.Time)
	return msg, key, err
}

// readAnswer reads what an Answer has of a response.
func readAnswer(msg []byte) (Answer, error) {
	flags := binary.BigEndian.Uint16(msg[2:])
	a := Answer{RCode: flags & 0xf}
	off := 12
	var err error
	for range binary.BigEndian.Uint16(msg[4:]) {
		if _, off, err = zone.UnpackName(msg, off); err != nil {
			return a, err
		}
		off += 4
	}
	var types []string
	for range int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:])) {
		var rr zone.RR
		if rr, off, err = zone.UnpackRR(msg, off); err != nil {
			return a, err
		}
		types = append(types, rr.Type.String())
		switch rr.Type {
		case zone.TypeOPT:
			a.RCode |= uint16(rr.TTL>>24) << 4 // RFC 6891 6.1.3
		case zone.TypeTSIG:
			if a.TSIGError, err = tsigError(rr); err != nil {
				return a, err
			}
		default:
		}
	}
	if a.RCode == update.FormErr {
		return a, nil // how much of what can't be read comes back is nothing that anybody relies on
	}
	a.Form = fmt.Sprintf("flags %#04x, RRs by section %x, types %v", flags&^0xf, msg[4:12], types)
	return a, nil
}

// tsigError returns the error field of a TSIG RR.
func tsigError(rr zone.RR) (uint16, error) {
	d := []byte(rr.Data)
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
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	return Request{Wire: b, Signer: zone.MustParseName(KeyMain), Time: time.Now()}
}

// Serial implements Target. The answer to a query that follows the answer to an UPDATE shows that update.
func (c *Client) Serial(ctx context.Context, origin zone.Name) (uint32, error) {
	msg, _, err := c.signed(c.query(origin, zone.TypeSOA))
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
	msg, _, err := c.signed(c.query(origin, zone.TypeAXFR))
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

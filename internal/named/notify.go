package named

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// notifyTimeout bounds the wait for the answer to a NOTIFY on loopback.
const notifyTimeout = 200 * time.Millisecond

const opcodeNotify = 4 // RFC 1996

// Notify tells a secondary's named that the zone has this serial (RFC 1996). from is the address that named believes. It
// returns nil when named has taken it, also when it has that serial already, and a *RCodeError when it refuses.
func (s *Session) Notify(ctx context.Context, from netip.Addr, z zone.Name, serial uint32) error {
	select {
	case <-s.gone:
		return ErrGone
	default:
	}
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := d.DialContext(ctx, "udp", s.Addr().String())
	if err != nil {
		return fmt.Errorf("NOTIFY of %s: %w", z, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return fmt.Errorf("NOTIFY of %s: %w", z, err)
	}
	// Only this answer can come on this socket: it is connected, and its port was never used.
	id := uint16(serial) //nolint:gosec // any number will do
	if _, err := conn.Write(appendNotify(nil, id, z, serial)); err != nil {
		return fmt.Errorf("NOTIFY of %s: %w", z, err)
	}
	buf := make([]byte, 1232)
	n, err := conn.Read(buf)
	if err != nil {
		return fmt.Errorf("NOTIFY of %s: no answer: %w", z, err)
	}
	a, err := parseAnswer(buf[:n], id)
	if err != nil {
		return fmt.Errorf("NOTIFY of %s: %w", z, err)
	}
	if a.rcode != 0 {
		return &RCodeError{RCode: a.rcode, What: "a NOTIFY of " + z.String()}
	}
	return nil
}

// appendNotify appends a NOTIFY with the SOA in its answer section: of it named reads the serial only, and spares the
// refresh when it has that already.
func appendNotify(b []byte, id uint16, z zone.Name, serial uint32) []byte {
	b = appendHeader(b, id, opcodeNotify<<11|0x0400, 1, 1, 0)
	b = append(b, z...)
	b = binary.BigEndian.AppendUint16(b, typeSOA)
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	return appendRR(b, 0, z, zone.RR{Name: z, Type: zone.TypeSOA, Class: zone.ClassIN,
		Data: zone.SOA{MName: zone.Root, RName: zone.Root, Serial: serial}.Data()}, zone.ClassIN, 0)
}

// Retransfer makes a secondary's named drop its copy of the zone and transfer it whole. It returns when named has begun.
func (s *Session) Retransfer(ctx context.Context, z zone.Name) error {
	if _, err := s.command(ctx, "retransfer "+quoteName(z)); err != nil {
		return fmt.Errorf("retransfer zone %s: %w", z, err)
	}
	return nil
}

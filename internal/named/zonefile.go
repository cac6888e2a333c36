package named

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// zoneFile names a file for a zone: readable, safe whatever octets the name holds, different for different zones and for
// different loads of one zone. named removes a deleted zone's files when the last transfer of it has ended, which may be
// after the zone was added again.
func zoneFile(n zone.Name, load uint64) string {
	n = n.Canonical()
	sum := sha256.Sum256([]byte(n))
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return '_'
	}, strings.TrimSuffix(n.String(), "."))
	if len(readable) > 64 {
		readable = readable[:64]
	}
	return fmt.Sprintf("%s-%s-%d.raw", strings.TrimLeft(readable, "."), hex.EncodeToString(sum[:8]), load)
}

// Raw master file format, version 1, as in BIND's lib/dns/master.c (dns_masterrawheader_t, load_raw): all integers in
// network byte order.
const (
	rawFormat  = 2 // dns_masterformat_raw
	rawVersion = 1
)

// writeRaw writes z in BIND's raw format. The raw format carries wire RDATA, so that no type depends on two
// implementations of its text form, and it loads several times faster than text.
func writeRaw(w io.Writer, z *zone.Zone) error {
	out := bufio.NewWriterSize(w, 256<<10)
	hdr := make([]byte, 0, 24)
	hdr = binary.BigEndian.AppendUint32(hdr, rawFormat)
	hdr = binary.BigEndian.AppendUint32(hdr, rawVersion)
	hdr = binary.BigEndian.AppendUint32(hdr, 0) // dump time: unused on load
	hdr = binary.BigEndian.AppendUint32(hdr, 0) // flags: neither source serial nor last transfer set
	hdr = binary.BigEndian.AppendUint32(hdr, 0)
	hdr = binary.BigEndian.AppendUint32(hdr, 0)
	if _, err := out.Write(hdr); err != nil {
		return err
	}
	var buf []byte
	var failed error
	z.Ascend(func(s *zone.RRset) bool {
		buf = appendRawSet(buf[:0], s)
		_, failed = out.Write(buf)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return out.Flush()
}

func appendRawSet(b []byte, s *zone.RRset) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, 0) // length of the whole, filled in below
	b = binary.BigEndian.AppendUint16(b, uint16(zone.ClassIN))
	b = binary.BigEndian.AppendUint16(b, uint16(s.Type))
	b = binary.BigEndian.AppendUint16(b, 0) // covered type: the state machine holds no signatures
	b = binary.BigEndian.AppendUint32(b, s.TTL)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Data)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Owner)))
	b = append(b, s.Owner...)
	for _, d := range s.Data {
		b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
		b = append(b, d...)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

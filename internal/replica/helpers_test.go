package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// testZone is what all tests here update, with testKey.
const (
	testZone = "example.test."
	testKey  = "k."
)

func mustName(text string) zone.Name {
	n, err := zone.ParseName(text)
	if err != nil {
		panic(err)
	}
	return n
}

func zoneID() fsm.ZoneID { return fsm.ZoneOf(mustName(testZone)) }

// setup are the commands that make an empty state machine ready for updates.
func setup() []fsm.Command {
	return []fsm.Command{
		&fsm.PutKey{Name: mustName(testKey), Algorithm: "hmac-sha256", Version: 1, Sealed: []byte("sealed"), SecretID: [16]byte{1}},
		&fsm.PutZone{
			Zone: zoneID(), Create: true, Settings: fsm.ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"},
			RRs: fsm.NewZoneRRs(mustName(testZone), mustName("ns.example.test."), mustName("hostmaster.example.test."),
				[]netip.Addr{netip.MustParseAddr("192.0.2.1")}),
		},
	}
}

// wire makes an UPDATE message from lines: "add RR", "del RR", "need RR" (it exists with this data).
func wire(lines ...string) []byte {
	m := new(dns.Msg)
	m.SetUpdate(testZone)
	m.Id = 1
	for _, line := range lines {
		verb, text, _ := strings.Cut(line, " ")
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		switch verb {
		case "add":
			m.Insert([]dns.RR{rr})
		case "del":
			m.Remove([]dns.RR{rr})
		case "need":
			m.Used([]dns.RR{rr})
		default:
			panic("unknown verb in " + line)
		}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// signedUpdate is a request signed at a time; id tells requests apart.
func signedUpdate(id uint64, signedMS int64, message []byte) *fsm.Update {
	u := &fsm.Update{KeyName: mustName(testKey), KeyVersion: 1, TimeSigned: uint64(signedMS / 1000), Fudge: 300, Wire: message}
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("request"), id))
	copy(u.Fingerprint[:], sum[:])
	return u
}

// hasName says whether the test zone has data at a name.
func hasName(m *fsm.Machine, name string) bool {
	v, ok := m.Zone(zoneID())
	return ok && v.Zone.Exists(mustName(name))
}

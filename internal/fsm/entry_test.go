package fsm

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// everyCommand has one command of each kind with every field set.
func everyCommand() []Command {
	id := ZoneOf(mustName("example.test."))
	actor := Actor{By: "cli", TakeOver: true}
	settings := ZoneSettings{
		AllowUpdate: "key k;", AllowQuery: "any;", AllowTransfer: "key t;", AlsoNotify: []string{"192.0.2.1:53", "[2001:db8::1]:53 key k."},
		MaxTTL: 86400, MaxRecords: 1000, LocalReads: true, Guarantee: Guarantee{Secondaries: 2, LimitMS: 1500},
	}
	rrs := NewZoneRRs(id.Name, mustName("ns.example.test."), mustName("h.example.test."), []netip.Addr{netip.MustParseAddr("2001:db8::1")})
	return []Command{
		&Update{
			View: "v", KeyName: mustName("k."), KeyVersion: 300, Fingerprint: Fingerprint{1, 2, 3}, TimeSigned: startMS / 1000, Fudge: 299,
			TCP: true, Addr: netip.MustParseAddr("192.0.2.7"), AddrProven: true, DeadlineMS: startMS, Wire: []byte("wire"),
		},
		&Update{Addr: netip.MustParseAddr("2001:db8::7"), Wire: bytes.Repeat([]byte{7}, 300)},
		&PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: 1 << 40, Sealed: []byte("box"), SecretID: [16]byte{9}, NotAfterMS: startMS, Rotate: true, Actor: actor},
		&DeleteKey{Name: mustName("k."), Version: 2, Actor: actor},
		&PutZone{Zone: id, Create: true, Settings: settings, RRs: rrs, Actor: actor},
		&DeleteZone{Zone: id, Confirm: id.Name, Actor: actor},
		&DeleteZone{Zone: id, Confirm: id.Name, Actor: actor, Incarnation: 77},
		&ImportBegin{ID: "i", Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k zonesub ANY;"}, Replace: true, MoveSerial: true, Actor: actor},
		&ImportChunk{ID: "i", Seq: 1, RRs: rrs},
		&ImportCommit{ID: "i", Records: 3, Digest: zone.DigestRRs(rrs)},
		&ImportAbort{ID: "i"},
		&Cut{Zone: id},
		&Cut{},
		&BumpSerial{Zone: id, Past: 1<<32 - 1, HasPast: true},
		&Mark{Replica: "a", Index: 12, Digest: Digest{4}},
		&Checkpoint{},
		&Support{Version: 2},
		&Activate{Version: 2, Members: []string{"a", "b"}},
		&Floor{Key: mustName("k."), TimeSigned: startMS / 1000},
		&PutLimits{Limits: DefaultLimits()},
		&PutSecondary{Name: "secondary-0", Key: mustName("k."), Notify: []string{"192.0.2.1:53"}, Foreign: true, Actor: actor},
		&DeleteSecondary{Name: "secondary-0", Actor: actor},
		&PutKeyGuarantee{Key: mustName("k."), Guarantee: Guarantee{Secondaries: 1}, Actor: actor},
		&PutKeyRate{Key: mustName("k."), Rate: Rate{Group: "tenant a", PerSecond: 300}, Actor: actor},
		&PutCatalog{Name: mustName("catalog.invalid."), Settings: ZoneSettings{AllowQuery: "none;"}, Actor: actor},
		&ConfirmCatalog{Serial: 1<<32 - 1, Actor: actor},
		&SeedChunk{ID: "r1", Seq: 2, Data: []byte("octets")},
		&SeedCommit{ID: "r1", Chunks: 2},
		&SeedAbort{ID: "r1"},
	}
}

func TestEntryRoundTrip(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, c := range everyCommand() {
		seen[c.Kind()] = true
		if got := len(AppendCommand(nil, c)); got > CommandSize(c) {
			t.Errorf("%s takes %d octets, CommandSize says at most %d", c.Kind(), got, CommandSize(c))
		}
	}
	for k := range Kind(255) {
		if newCommand(k) != nil && !seen[k] {
			t.Errorf("no example of command %s", k)
		}
	}
	want := Entry{Header: Header{Version: 1, Replica: "primary-0", Epoch: 3, Seq: 77, TimeMS: startMS}, Commands: everyCommand()}
	got, err := DecodeEntry(EncodeEntry(want))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Commands) != len(want.Commands) || got.Header != want.Header {
		t.Fatalf("got %+v with %d commands", got.Header, len(got.Commands))
	}
	for i := range want.Commands {
		if !reflect.DeepEqual(got.Commands[i], want.Commands[i]) {
			t.Errorf("%s:\n got %+v\nwant %+v", want.Commands[i].Kind(), got.Commands[i], want.Commands[i])
		}
	}
}

func TestEntryStrict(t *testing.T) {
	whole := EncodeEntry(Entry{Header: Header{Replica: "a", Epoch: 1, Seq: 1, TimeMS: startMS}, Commands: everyCommand()})
	for n := range whole {
		if _, err := DecodeEntry(whole[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("the first %d of %d octets: %v, want ErrFormat", n, len(whole), err)
		}
	}
	if _, err := DecodeEntry(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("an octet too many: %v, want ErrFormat", err)
	}
	newer := bytes.Clone(whole)
	newer[0] = MaxVersion + 1
	if _, err := DecodeEntry(newer); !errors.Is(err, ErrVersion) {
		t.Errorf("newer version: %v, want ErrVersion", err)
	}
	unknown := []byte{Version1, 1, 'a', 1, 1, 1, 1, 200, 0}
	if _, err := DecodeEntry(unknown); !errors.Is(err, ErrVersion) {
		t.Errorf("unknown command: %v, want ErrVersion", err)
	}
	flags := []byte{Version1, 1, 'a', 1, 1, 1, 1, byte(KindUpdate), 1, 0x80}
	if _, err := DecodeEntry(flags); !errors.Is(err, ErrFormat) {
		t.Errorf("unknown flag: %v, want ErrFormat", err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range everyCommand() {
		f.Add(EncodeEntry(Entry{Header: Header{Replica: "a", Epoch: 1, Seq: 1, TimeMS: startMS}, Commands: []Command{c}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := DecodeEntry(EncodeEntry(e))
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("decoded %+v, again %+v", e, again)
		}
		// Whatever can be decoded can be applied, with or without success, but never with a panic.
		m := New()
		seedMachine(t, m)
		e.Replica, e.Epoch, e.Seq = "fuzz", 1, 1
		if _, err := m.Apply(1000, EncodeEntry(e)); err != nil && !errors.Is(err, ErrVersion) {
			t.Fatal(err)
		}
		restored, err := Restore(bytes.NewReader(checkpointOf(t, m)))
		if err != nil {
			t.Fatalf("the state after it does not restore: %v", err)
		}
		if restored.Snapshot().Digest() != m.Snapshot().Digest() {
			t.Fatal("the state after it restores to another")
		}
	})
}

// seedMachine gives a machine a zone, a key, a secondary, a catalog and an import under way.
func seedMachine(t testing.TB, m *Machine) {
	c := newCluster(t, 0)
	c.machines = []*Machine{m}
	c.addZone("example.test.")
	v := c.addKey("k.")
	c.apply(c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9")))
	c.addKey("s.")
	c.must(&PutSecondary{Name: "secondary-1", Key: mustName("s.")})
	c.must(&PutCatalog{Name: mustName("catalog.invalid.")})
	c.must(&ImportBegin{ID: "i", Zone: ZoneOf(mustName("other.test."))})
}

func checkpointOf(t testing.TB, m *Machine) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.Snapshot().WriteCheckpoint(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

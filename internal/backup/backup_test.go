package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const startMS = 1_700_000_000_000

func name(t testing.TB, text string) zone.Name {
	t.Helper()
	n, err := zone.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sample is a state with something of everything: made by a seed, which is how a cluster gets one.
func sample(t testing.TB, zones int) *fsm.Snapshot {
	t.Helper()
	s := fsm.NewSeed(startMS)
	do := func(c fsm.Command) {
		t.Helper()
		if err := s.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	for i, k := range []string{"k.", "s0."} {
		do(&fsm.PutKey{Name: name(t, k), Algorithm: "hmac-sha256", Version: uint64(10 + i), Sealed: []byte("sealed:" + k), SecretID: [16]byte{byte(i + 1)}, Actor: fsm.Actor{By: "cli"}})
	}
	do(&fsm.PutKey{Name: name(t, "k."), Algorithm: "hmac-sha512", Version: 12, Sealed: []byte("sealed:k.new"), SecretID: [16]byte{9}, Rotate: true, Actor: fsm.Actor{By: "cli"}})
	do(&fsm.PutSecondary{Name: "s0", Key: name(t, "s0."), Notify: []string{"192.0.2.1:53"}, Actor: fsm.Actor{By: "operator"}})
	do(&fsm.PutKeyGuarantee{Key: name(t, "k."), Guarantee: fsm.Guarantee{Secondaries: 1}, Actor: fsm.Actor{By: "cli"}})
	do(&fsm.PutKeyRate{Key: name(t, "k."), Rate: fsm.Rate{Group: "a tenant", PerSecond: 50}, Actor: fsm.Actor{By: "cli"}})
	names := []string{".", "a/b.test.", `we\.ird\255.test.`, "example.test."}
	for i := range zones {
		names = append(names, fmt.Sprintf("z%d.test.", i))
	}
	for _, n := range names {
		origin := name(t, n).Canonical()
		rrs := fsm.NewZoneRRs(origin, name(t, "ns.elsewhere."), name(t, "hostmaster."), nil)
		if origin == zone.Root {
			rrs = append(rrs, zone.RR{Name: name(t, "ns.elsewhere."), Type: zone.TypeA, Class: zone.ClassIN, TTL: 7, Data: "\xc0\x00\x02\x06"})
		}
		rrs = append(rrs, zone.RR{Name: origin, Type: zone.TypeTXT, Class: zone.ClassIN, TTL: 7, Data: "\x03\x00\xff\""})
		rrs = append(rrs, zone.RR{Name: origin, Type: zone.TypeA, Class: zone.ClassIN, TTL: 7, Data: string(netip.MustParseAddr("192.0.2.5").AsSlice())})
		z, err := zone.FromRRs(origin, rrs)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddZone(fsm.ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;", AlsoNotify: []string{"192.0.2.9:53 key k."}, MaxRecords: 100}, "operator Zone dns/x", fsm.WithSerial(z, 4_294_967_290)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddDeleted(name(t, "gone.test."), 5); err != nil {
		t.Fatal(err)
	}
	do(&fsm.PutCatalog{Name: name(t, "catalog.invalid."), Actor: fsm.Actor{By: "cli"}})
	return s.Machine().Snapshot()
}

func options(recipients ...string) Options {
	return Options{
		Program: "test", Replica: "primary-0", ClusterKeyID: "id", Now: time.UnixMilli(startMS), Recipients: recipients,
		Open: func(_ zone.Name, s *fsm.KeySecret) ([]byte, error) {
			return append([]byte("plain of "), s.Sealed...), nil
		},
	}
}

func written(t testing.TB, s *fsm.Snapshot, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(&b, s, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func clusterIdentity(t testing.TB, seed byte) *age.X25519Identity {
	t.Helper()
	id, err := ClusterIdentity(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func seal(n zone.Name, algorithm string, version uint64, secret []byte) *fsm.PutKey {
	return &fsm.PutKey{Name: n, Algorithm: algorithm, Version: version, Sealed: append([]byte("again "), secret...), SecretID: [16]byte{byte(version)}}
}

// TestRoundTrip: what is restored is what was backed up, but for serials and the versions of secrets.
func TestRoundTrip(t *testing.T) {
	id := clusterIdentity(t, 1)
	file := written(t, sample(t, 3), options(id.Recipient().String()))
	for _, plain := range []string{"plain of", "sealed:"} {
		if bytes.Contains(file, []byte(plain)) {
			t.Errorf("%q is in the file", plain)
		}
	}
	var l Loaded
	var err error
	if l.Manifest, err = Read(bytes.NewReader(file), l.Visitor()); err != nil {
		t.Fatal(err)
	}
	secrets, err := OpenSecrets(l.Sealed, []age.Identity{clusterIdentity(t, 2), id})
	if err != nil || len(secrets) != 3 {
		t.Fatalf("%d secrets: %v", len(secrets), err)
	}
	before := *l.Manifest
	s, err := l.Seed(Restoring{
		Now: time.UnixMilli(startMS).Add(time.Hour), FirstVersion: 100, Seal: seal, Secrets: secrets,
		Seen: func(n string, _ uint32) (uint32, bool) { return 100_000_000, n == "example.test." },
	})
	if err != nil {
		t.Fatal(err)
	}
	again := written(t, s.Machine().Snapshot(), options(id.Recipient().String()))
	after, err := Verify(bytes.NewReader(again))
	if err != nil {
		t.Fatal(err)
	}
	for i := range after.Zones {
		got, want := after.Zones[i], before.Zones[i]
		if !zone.SerialGT(got.Serial, want.Serial) || got.Digest == want.Digest {
			t.Errorf("zone %s went from serial %d to %d", got.Name, want.Serial, got.Serial)
		}
		if got.Name == "example.test." && got.Serial != 100_000_001 {
			t.Errorf("serial %d, want the one after that which is served", got.Serial)
		}
		got.Serial, got.Digest, want.Serial, want.Digest = 0, "", 0, ""
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if !zone.SerialGT(after.Catalog.Serial, before.Catalog.Serial) || !zone.SerialGT(after.DeletedZones[0].Serial, before.DeletedZones[0].Serial) {
		t.Error("the serials of the catalog or of a deleted zone stayed")
	}
	for i, k := range after.Keys {
		want := before.Keys[i]
		if k.Name != want.Name || k.ManagedBy != want.ManagedBy || k.Guarantee != want.Guarantee || k.Rate != want.Rate || len(k.Versions) != len(want.Versions) || k.Versions[0].Algorithm != want.Versions[0].Algorithm {
			t.Errorf("key: got %+v, want %+v", k, want)
		}
	}
	if fmt.Sprint(after.Secondaries) != fmt.Sprint(before.Secondaries) || after.Limits != before.Limits {
		t.Error("secondaries or limits differ")
	}
}

// TestDamage: whatever octet changes, and wherever the file ends, it is noticed.
func TestDamage(t *testing.T) {
	file := written(t, sample(t, 0), options(clusterIdentity(t, 1).Recipient().String()))
	if _, err := Verify(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		if _, err := Verify(bytes.NewReader(file[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("the first %d of %d octets: %v", n, len(file), err)
		}
		bad := bytes.Clone(file)
		bad[n] ^= 1 << (n % 8)
		if _, err := Verify(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("octet %d of %d: %v", n, len(file), err)
		}
	}
	if _, err := Verify(bytes.NewReader(append(bytes.Clone(file), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("an octet too many: %v", err)
	}
}

// TestSecrets: without the key the error says so, and the key can be changed.
func TestSecrets(t *testing.T) {
	old, fresh := clusterIdentity(t, 1), clusterIdentity(t, 2)
	file := written(t, sample(t, 0), options(old.Recipient().String()))
	var l Loaded
	var err error
	if l.Manifest, err = Read(bytes.NewReader(file), l.Visitor()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSecrets(l.Sealed, []age.Identity{fresh}); !errors.Is(err, ErrIdentity) {
		t.Errorf("another key: %v", err)
	}
	if _, err := OpenSecrets(l.Sealed, nil); !errors.Is(err, ErrIdentity) {
		t.Errorf("no key: %v", err)
	}
	var moved bytes.Buffer
	if err := Rewrap(&moved, bytes.NewReader(file), []age.Identity{fresh}, []string{fresh.Recipient().String()}); !errors.Is(err, ErrIdentity) {
		t.Errorf("rewrap without the old key: %v", err)
	}
	moved.Reset()
	if err := Rewrap(&moved, bytes.NewReader(file), []age.Identity{old}, []string{fresh.Recipient().String()}); err != nil {
		t.Fatal(err)
	}
	var l2 Loaded
	if l2.Manifest, err = Read(&moved, l2.Visitor()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSecrets(l2.Sealed, []age.Identity{old}); !errors.Is(err, ErrIdentity) {
		t.Errorf("the old key still opens it: %v", err)
	}
	if list, err := OpenSecrets(l2.Sealed, []age.Identity{fresh}); err != nil || len(list) != 3 {
		t.Errorf("the new key: %d secrets, %v", len(list), err)
	}
	// Without secrets there is nothing to restore keys from, unless new ones are asked for.
	bare := Loaded{}
	if bare.Manifest, err = Read(bytes.NewReader(written(t, sample(t, 0), options())), bare.Visitor()); err != nil {
		t.Fatal(err)
	}
	r := Restoring{Now: time.UnixMilli(startMS), FirstVersion: 1, Seal: seal}
	if _, err := bare.Seed(r); !errors.Is(err, ErrNoSecrets) {
		t.Errorf("no secrets: %v", err)
	}
	r.New = func(string) ([]byte, error) { return []byte("new"), nil }
	if _, err := bare.Seed(r); err != nil {
		t.Errorf("new secrets: %v", err)
	}
	if err := Rewrap(&moved, bytes.NewReader(written(t, sample(t, 0), options())), nil, []string{fresh.Recipient().String()}); err == nil {
		t.Error("rewrapped a backup without secrets")
	}
	if _, err := Write(&moved, sample(t, 0), options("age1nonsense")); err == nil || !strings.Contains(err.Error(), "age-keygen") {
		t.Errorf("a recipient that is none: %v", err)
	}
}

// TestHuman: tar and gzip alone read it.
func TestHuman(t *testing.T) {
	cmd := exec.Command("tar", "-xzO", "-f", "-", "zones/example.test.zone")
	cmd.Stdin = bytes.NewReader(written(t, sample(t, 0), options()))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "example.test.\t7\tIN\tA\t192.0.2.5\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestManifestRefused(t *testing.T) {
	for text, m := range map[string]Manifest{
		"format":    {Format: "x"},
		"version 9": {Format: Format, FormatVersion: 9},
		"lower":     {Format: Format, FormatVersion: 1, Zones: []Zone{{Name: "A.", File: "zones/a"}}},
		"its own":   {Format: Format, FormatVersion: 1, Zones: []Zone{{Name: "a.", File: "zones/a"}, {Name: "b.", File: "zones/a"}}},
	} {
		if err := m.check(); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Verify(strings.NewReader("no backup at all")); err == nil {
		t.Error("read nonsense")
	}
}

// TestNextSerial: past what was served, and a step that a secondary takes as one forward (C3).
func TestNextSerial(t *testing.T) {
	for _, tc := range []struct {
		saved   uint32
		elapsed time.Duration
		seen    uint32
		has     bool
		want    uint32
	}{
		{1, 0, 0, false, 1 + 1<<20},
		{1, -time.Hour, 0, false, 1 + 1<<20},
		{1, time.Minute, 0, false, 1 + 1<<20 + 60_000},
		{1, 10 * 365 * 24 * time.Hour, 0, false, 1 + 1<<30},
		{1, 0, 2_000_000, true, 2_000_001},
		{2_000_000, 0, 1, true, 2_000_000 + 1<<20},
		{1<<32 - 1<<20, 0, 0, false, 1}, // 0 is no serial
	} {
		got := NextSerial(tc.saved, tc.elapsed, tc.seen, tc.has)
		if got != tc.want {
			t.Errorf("%+v: got %d", tc, got)
		}
		if !zone.SerialGT(got, tc.saved) {
			t.Errorf("%+v: %d is not newer", tc, got)
		}
	}
}

// FuzzRead: no input crashes the reader, and none but what Write wrote is taken.
func FuzzRead(f *testing.F) {
	file := written(f, sample(f, 0), options())
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum would keep nearly everything from the reader behind it, so that one is driven as well.
		_, _ = readArchive(newSumReader(bytes.NewReader(sealed(b))), Visitor{})
		if _, err := Verify(bytes.NewReader(b)); err == nil && len(b) < trailerSize {
			t.Error("took a file shorter than its end")
		}
	})
}

// sealed gives octets the trailer that fits them.
func sealed(b []byte) []byte {
	var out bytes.Buffer
	w := &sumWriter{w: &out, sum: newSumReader(nil).sum}
	_ = binary.Write(w, binary.BigEndian, b)
	return append(out.Bytes(), trailer(w.sum.Sum(nil))...)
}

package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

var rewriteGolden = flag.Bool("rewrite-golden", false, "write testdata/log-v1.hex anew; only before a release has used the format")

// busyMachine has something of everything in its state.
func busyMachine(t testing.TB) *Machine {
	g := newLogMaker(t, 7, 1)
	for range 400 {
		g.step()
	}
	g.c.must(&Floor{TimeSigned: 1})
	id := ZoneOf(mustName("pending.test."))
	g.c.must(&PutZone{Zone: id, Create: true, Settings: ZoneSettings{UpdatePolicy: "grant p. zonesub ANY;"}, RRs: NewZoneRRs(id.Name, mustName("ns."), mustName("h."), nil)})
	gone := g.c.addZone("gone.test.")
	g.c.must(&DeleteZone{Zone: gone, Confirm: gone.Name})
	g.c.addKey("p.")
	g.c.must(&DeleteKey{Name: mustName("p.")})
	v := g.c.addKey("p.")
	g.c.must(&Mark{Replica: "a", Index: g.c.index, Digest: Digest{1}})
	g.c.tick(100)
	g.c.apply(g.c.signed("p.", v, updateWire(t, "pending.test", "add a.pending.test. 60 A 192.0.2.1")))
	g.c.apply(g.c.signed("p.", v, updateWire(t, "pending.test", "add b.pending.test. 60 A 192.0.2.1")))
	g.c.apply(&ImportBegin{ID: "last", Zone: ZoneOf(mustName("import.test."))}, &ImportChunk{ID: "last", Seq: 1, RRs: []zone.RR{
		{Name: mustName("import.test."), Type: zone.TypeA, Class: zone.ClassIN, TTL: 5, Data: "\xc0\x00\x02\x01"},
	}})
	return g.c.machines[0]
}

func TestBusyMachineIsBusy(t *testing.T) {
	m := busyMachine(t)
	s := &m.st
	var pending, history int
	s.zones.Scan(func(_ string, z *zoneState) bool {
		pending += len(z.pending)
		history += len(z.history)
		return true
	})
	for what, n := range map[string]int{
		"keys": s.keys.Len(), "forgotten": s.forgotten.Len(), "zones": s.zones.Len(), "graves": s.graves.Len(), "imports": s.imports.Len(),
		"replicas": s.replicas.Len(), "marks": s.marks.Len(), "dedupe": s.dedupe.table.Len(), "pending": pending, "history": history,
	} {
		if n == 0 {
			t.Errorf("no %s: tests of checkpoints that use this machine prove less than they say", what)
		}
	}
}

func TestRestore(t *testing.T) {
	m := busyMachine(t)
	data := checkpointOf(t, m)
	got, err := Restore(iotest.OneByteReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	if again := checkpointOf(t, got); !bytes.Equal(again, data) {
		t.Error("the restored machine writes another checkpoint")
	}
	if a, b := fmt.Sprint(m.Stats(), m.Limits(), m.Supports()), fmt.Sprint(got.Stats(), got.Limits(), got.Supports()); a != b {
		t.Errorf("restored %s, was %s", b, a)
	}
	a, b := m.Settings(), got.Settings()
	if a.Generation != b.Generation || a.NextKeyVersion != b.NextKeyVersion || a.NumKeys() != b.NumKeys() || a.NumZones() != b.NumZones() {
		t.Errorf("settings restored as %+v, were %+v", b, a)
	}
}

func TestRestoreRefuses(t *testing.T) {
	data := checkpointOf(t, busyMachine(t))
	for n := 0; n < len(data); n += 1 + n/64 {
		if _, err := Restore(bytes.NewReader(data[:n])); !errors.Is(err, ErrFormat) {
			t.Fatalf("the first %d octets of %d: %v, want ErrFormat", n, len(data), err)
		}
	}
	for at := 0; at < len(data); at += 1 + at/64 {
		altered := bytes.Clone(data)
		altered[at] ^= 0x41
		if _, err := Restore(bytes.NewReader(altered)); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
			t.Fatalf("octet %d of %d altered: %v, want ErrFormat", at, len(data), err)
		}
	}
	if _, err := Restore(bytes.NewReader(append(bytes.Clone(data), 0))); !errors.Is(err, ErrFormat) {
		t.Errorf("an octet too many: %v, want ErrFormat", err)
	}
	broken := errors.New("disk on fire")
	if _, err := Restore(io.MultiReader(bytes.NewReader(data[:100]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("read error: %v, want it wrapped", err)
	}
	if _, err := New().Snapshot().WriteCheckpoint(failingWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("write error: %v, want it wrapped", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// resealed gives a checkpoint a trailer that fits, as a forger or a fuzzer that wants to get past the digest must.
func resealed(b []byte) []byte {
	if len(b) < sha256.Size {
		return b
	}
	body := b[:len(b)-sha256.Size]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), sum[:]...)
}

func FuzzRestore(f *testing.F) {
	f.Add(checkpointOf(f, New()))
	m := New()
	seedMachine(f, m)
	f.Add(checkpointOf(f, m))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Restore(bytes.NewReader(resealed(b)))
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		// It may not be canonical, but it is a state: it can be written, read and used.
		again, err := Restore(bytes.NewReader(checkpointOf(t, m)))
		if err != nil {
			t.Fatalf("written again it does not restore: %v", err)
		}
		if again.Snapshot().Digest() != m.Snapshot().Digest() {
			t.Fatal("written again it restores to another state")
		}
	})
}

// The log of the first format, recorded once, leads to the state that it led to then: semantics of an activated version
// never change (rule C8). A failure here means that replicas of two releases would differ.
func TestC8GoldenLog(t *testing.T) {
	path := filepath.Join("testdata", "log-v1.hex")
	if *rewriteGolden {
		g := newLogMaker(t, 20260101, 1)
		for range 300 {
			g.step()
		}
		var b strings.Builder
		for _, e := range g.c.log {
			fmt.Fprintf(&b, "%d %x\n", e.index, e.data)
		}
		fmt.Fprintf(&b, "digest %s\n", g.c.machines[0].Snapshot().Digest())
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := New()
	for line := range strings.Lines(string(text)) {
		first, second, _ := strings.Cut(strings.TrimSpace(line), " ")
		if first == "digest" {
			if got := m.Snapshot().Digest().String(); got != second {
				t.Errorf("the recorded log leads to digest %s, it was %s", got, second)
			}
			return
		}
		var index uint64
		data, err := hex.DecodeString(second)
		if _, serr := fmt.Sscan(first, &index); err != nil || serr != nil {
			t.Fatalf("%s: bad line %q", path, line)
		}
		if _, err := m.Apply(index, data); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("%s has no digest", path)
}

// TestRestoreImportUnderWay (I2): a replica that was restored in the middle of an import, and of an RRset, comes to the same
// zone as one that saw all of it.
func TestRestoreImportUnderWay(t *testing.T) {
	c := newCluster(t, 2)
	id := ZoneOf(mustName("import.test."))
	rrs := NewZoneRRs(id.Name, mustName("ns.other.test."), mustName("h."), nil)
	for i := range 9 {
		rrs = append(rrs, zone.RR{Name: "\x01A" + id.Name, Type: zone.TypeA, Class: zone.ClassIN, TTL: uint32(60 + i), Data: string([]byte{192, 0, 2, byte(9 - i)})})
	}
	c.must(&ImportBegin{ID: "i", Zone: id})
	for i, rr := range rrs {
		c.must(&ImportChunk{ID: "i", Seq: uint64(i + 1), RRs: []zone.RR{rr}})
		m, err := Restore(bytes.NewReader(checkpointOf(t, c.machines[1])))
		if err != nil {
			t.Fatal(err)
		}
		c.machines[1] = m
	}
	want, err := zone.FromRRs(id.Name, rrs)
	if err != nil {
		t.Fatal(err)
	}
	c.must(&ImportCommit{ID: "i", Records: uint64(len(rrs)), Digest: want.Digest()})
	if a, b := c.machines[0].Snapshot().Digest(), c.machines[1].Snapshot().Digest(); a != b {
		t.Errorf("the restored machine has digest %s, the other %s", b, a)
	}
}

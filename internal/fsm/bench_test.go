package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// fillZone imports n more one-record names into a zone of the cluster.
func fillZone(b testing.TB, c *cluster, name string, n int) ZoneID {
	id := ZoneOf(mustName(name))
	rrs := NewZoneRRs(id.Name, mustName("ns.elsewhere.test."), mustName("h.elsewhere.test."), nil)
	for i := range n {
		owner := zone.Name(fmt.Sprintf("\x08h%07d", i)) + id.Name
		rrs = append(rrs, zone.RR{Name: owner, Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: string(binary.BigEndian.AppendUint32(nil, uint32(i)))})
	}
	importZone(c, id, rrs)
	return id
}

// importZone imports records in chunks as large as a primary makes them, and returns how long the longest chunk and the
// commit took to apply: what everybody else waits for.
func importZone(c *cluster, id ZoneID, rrs []zone.RR) (chunk, commit time.Duration) {
	const size = 8000
	c.must(&ImportBegin{ID: "i", Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY;"}})
	timed := func(cmd Command) time.Duration {
		start := time.Now()
		c.must(cmd)
		return time.Since(start)
	}
	for seq, rest := uint64(1), rrs; len(rest) > 0; seq++ {
		part := rest[:min(size, len(rest))]
		rest = rest[len(part):]
		chunk = max(chunk, timed(&ImportChunk{ID: "i", Seq: seq, RRs: part}))
	}
	return chunk, timed(&ImportCommit{ID: "i", Records: uint64(len(rrs)), Digest: zone.DigestRRs(rrs)})
}

// BenchmarkImport shows how long the import of 1,000,000 records keeps everybody else waiting at a time.
func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		c := newCluster(b, 1)
		id := ZoneOf(mustName("example.test."))
		rrs := NewZoneRRs(id.Name, mustName("ns.elsewhere.test."), mustName("h.elsewhere.test."), nil)
		for i := range 1_000_000 {
			owner := zone.Name(fmt.Sprintf("\x08h%07d", i)) + id.Name
			rrs = append(rrs, zone.RR{Name: owner, Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: string(binary.BigEndian.AppendUint32(nil, uint32(i)))})
		}
		chunk, commit := importZone(c, id, rrs)
		b.ReportMetric(float64(chunk)/1e6, "ms/longest-chunk")
		b.ReportMetric(float64(commit)/1e6, "ms/commit")
	}
}

// addWire is an update message that adds one A record, made by hand because a benchmark makes millions.
func addWire(origin, owner zone.Name, addr uint32) []byte {
	b := []byte{0, 1, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0}
	b = append(b, origin...)
	b = append(b, 0, 6, 0, 1)
	b = append(b, owner...)
	b = append(b, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return binary.BigEndian.AppendUint32(b, addr)
}

func benchmarkApply(b *testing.B, records int) {
	const batch = 100
	c := newCluster(b, 1)
	id := fillZone(b, c, "example.test.", records)
	v := c.addKey("k.")
	runtime.GC()
	m := c.machines[0]
	entries := make([][]byte, 0, b.N/batch+1)
	n := 0
	for range b.N/batch + 1 {
		c.timeMS += 2
		c.seq["a"]++
		cmds := make([]Command, batch)
		for i := range cmds {
			h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
			owner := zone.Name(fmt.Sprintf("\x09n%08x", binary.BigEndian.Uint32(h[16:]))) + id.Name
			u := &Update{KeyName: "\x01k\x00", KeyVersion: v, TimeSigned: uint64(c.timeMS / 1000), Fudge: 300,
				TCP: true, DeadlineMS: c.timeMS + 4000, Wire: addWire(id.Name, owner, uint32(n))}
			copy(u.Fingerprint[:], h[:])
			cmds[i] = u
			n++
		}
		entries = append(entries, EncodeEntry(Entry{Header: Header{Replica: "a", Epoch: 1, Seq: c.seq["a"], TimeMS: c.timeMS}, Commands: cmds}))
	}
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	for i, e := range entries {
		eff, err := m.Apply(c.index+1+uint64(i), e)
		if err != nil {
			b.Fatal(err)
		}
		if eff.Results[0].RCode != 0 {
			b.Fatalf("%+v", eff.Results[0])
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "user-ns/op")
}

// cpuTime is the process's user CPU time, collection of garbage included. Unlike the time on the wall it means something
// on a busy machine.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}

// One operation is one update of one RR, applied in batches of 100, with everything that goes with it.
func BenchmarkApplyEmptyZone(b *testing.B)   { benchmarkApply(b, 0) }
func BenchmarkApplyMillionZone(b *testing.B) { benchmarkApply(b, 1_000_000) }

func BenchmarkEncodeEntry(b *testing.B) {
	cmds := make([]Command, 100)
	for i := range cmds {
		cmds[i] = &Update{KeyName: "\x01k\x00", KeyVersion: 1, TimeSigned: startMS / 1000, Fudge: 300,
			Wire: addWire("\x07example\x04test\x00", "\x01a\x07example\x04test\x00", uint32(i))}
	}
	buf := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for range b.N {
		buf = AppendEntry(buf[:0], Entry{Header: Header{Replica: "a", Epoch: 1, Seq: 1, TimeMS: startMS}, Commands: cmds})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/update")
}

func BenchmarkCheckpointMillion(b *testing.B) {
	c := newCluster(b, 1)
	fillZone(b, c, "example.test.", 1_000_000)
	m := c.machines[0]
	var buf bytes.Buffer
	if _, err := m.Snapshot().WriteCheckpoint(&buf); err != nil {
		b.Fatal(err)
	}
	b.Run("pause", func(b *testing.B) {
		for range b.N {
			m.Snapshot()
		}
	})
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for range b.N {
			if _, err := m.Snapshot().WriteCheckpoint(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for range b.N {
			if _, err := Restore(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDedupe fills the table as 10,000 requests a second for 300 s do, and reports what an entry takes.
func BenchmarkDedupe(b *testing.B) {
	const perSecond, seconds = 10_000, 300
	for range b.N {
		before := heapInUse()
		d := newDedupe()
		var n uint64
		for s := range uint64(seconds) {
			for range perSecond {
				h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
				d.insert(newDedupeEntry(startMS/1000+s+300, Fingerprint(h[:16]), 1, answer{}))
				n++
			}
		}
		used := heapInUse() - before
		b.ReportMetric(float64(used)/float64(d.table.Len()), "B/entry")
		b.ReportMetric(float64(used)/(1<<20), "MiB")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/insert")
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}

// One operation is adding a zone to so many others, its settings published.
func BenchmarkAddZone(b *testing.B) {
	for _, others := range []int{0, 10_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			c := newCluster(b, 1)
			add := func(i int) {
				id := ZoneOf(mustName(fmt.Sprintf("z%d.test.", i)))
				c.must(&PutZone{Zone: id, Create: true, RRs: NewZoneRRs(id.Name, mustName("ns."), mustName("h."), nil)})
			}
			for i := range others {
				add(i)
			}
			b.ResetTimer()
			for i := range b.N {
				add(others + i)
			}
		})
	}
}

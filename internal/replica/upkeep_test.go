package replica

import (
	"errors"
	"slices"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// work carries out what the core asks for, with saves that end as told, until it asks for nothing. It counts.
func (b *bench) work(save error) (checkpoints int, compacted []uint64) {
	for b.take(); len(b.todo) > 0; b.take() {
		a := b.todo[0]
		b.todo = b.todo[1:]
		switch a.kind {
		case actAppend:
			if slices.Contains(commands(b.t, a), fsm.KindCheckpoint) {
				checkpoints++
			}
			b.commit(a)
		case actSave:
			b.core.saved(b.now, a.index, a.snap.Digest(), 1000, save)
		case actCompact:
			compacted = append(compacted, a.index)
		default:
			b.t.Fatalf("action %+v", a)
		}
	}
	return checkpoints, compacted
}

// wait lets the time for another try pass.
func (b *bench) wait() {
	b.now = b.now.Add(checkpointRetry)
	b.core.tick(b.now)
}

// TestFailedCheckpoint: while a quorum can't save, checkpoints are asked for until the log has become shorter, though nothing
// makes it longer; then no more.
func TestFailedCheckpoint(t *testing.T) {
	b := newBench(t)
	full := errors.New("no space left on device")
	asked := 0
	for id := uint64(1); asked == 0; id++ {
		b.propose(id)
		asked, _ = b.work(full)
	}
	for range 3 {
		b.wait()
		if n, compacted := b.work(full); n != 1 || len(compacted) > 0 {
			t.Fatalf("after a failed save: %d checkpoints asked for, compacted %v; want 1 and none", n, compacted)
		}
	}
	failed := b.core.upkeep.failed
	b.wait()
	if n, _ := b.work(nil); n != 1 {
		t.Fatalf("%d checkpoints asked for, want 1", n)
	}
	b.wait()
	n, compacted := b.work(nil)
	if n != 1 || len(compacted) != 1 || compacted[0] < failed {
		t.Fatalf("%d more checkpoints asked for, compacted %v; want 1 and at least %d: the log is forgotten one checkpoint late", n, compacted, failed)
	}
	b.wait()
	if n, _ := b.work(nil); n != 0 {
		t.Errorf("%d checkpoints asked for when all is well", n)
	}
}

// TestFailedCheckpointOfMinority: others that can save do not write checkpoints all the time because one can't.
func TestFailedCheckpointOfMinority(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	asked := 0
	for id := uint64(1); asked == 0; id++ {
		b.propose(id)
		asked, _ = b.work(errors.New("no space left on device"))
	}
	failed := b.core.upkeep.failed
	for _, name := range []string{"b", "c"} {
		b.at++
		data := fsm.EncodeEntry(fsm.Entry{
			Header:   fsm.Header{Replica: name, Epoch: 1, Seq: 1, TimeMS: b.now.UnixMilli()},
			Commands: []fsm.Command{&fsm.Mark{Replica: name, Index: failed, Digest: fsm.Digest{1}}},
		})
		if err := b.core.records(b.now, []log.Record{{Index: b.at, Replica: name, Epoch: 1, Seq: 1, Data: data}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		b.wait()
		if n, _ := b.work(nil); n != 0 {
			t.Fatalf("%d checkpoints asked for, and a quorum has one", n)
		}
	}
}

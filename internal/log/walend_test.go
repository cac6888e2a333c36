package log

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// frames gives the offsets of the records of a write-ahead log's file, and the offset of its end.
func frames(t *testing.T, b []byte) (starts []int, end int) {
	t.Helper()
	for end+8 <= len(b) {
		field := binary.LittleEndian.Uint64(b[end:])
		if field == 0 {
			return starts, end
		}
		starts = append(starts, end)
		end += 8 + int(field&(1<<56-1))
		if field>>63 != 0 {
			end += int(field >> 56 & 7)
		}
	}
	return starts, end
}

// TestEndOfLog: power loss tears the last write, and the member goes on without it: it has not acknowledged it. A disk that
// lost what it had confirmed leaves the same picture, and there the member must not vote.
func TestEndOfLog(t *testing.T) {
	t.Parallel()
	const acknowledged = 50
	cfgs := memberConfigs(t, 1)
	m := startOne(t, cfgs[0])
	l := openMember(t, m, nil, "r")
	mustSettle(t, l)
	for range acknowledged {
		mustAppend(t, l, strings.Repeat("x", 1000))
	}
	m.Close()
	pristine := os.DirFS(cfgs[0].DataDir)
	for _, tc := range []struct {
		name    string
		damage  func(b []byte, starts []int, end int)
		refused bool
	}{
		{"intact", func([]byte, []int, int) {}, false},
		{"the last write is torn in its middle", func(b []byte, _ []int, end int) {
			binary.LittleEndian.PutUint64(b[end:], 3000)
			for i := range 900 { // the sectors behind were not written
				b[end+8+i] = 'y'
			}
		}, false},
		{"the last write is torn before its length", func(b []byte, _ []int, end int) {
			next := end + 1024 - end%512
			copy(b[next:], slices.Repeat([]byte{'y'}, 700))
		}, false},
		{"a sector within a record reads as zeros", func(b []byte, starts []int, _ int) {
			at := starts[len(starts)/2]
			at += 512 - at%512
			clear(b[at : at+512])
		}, true},
		{"a sector with a record's length reads as zeros", func(b []byte, starts []int, _ int) {
			at := starts[len(starts)/2]
			at -= at % 512
			clear(b[at : at+512])
		}, true},
		{"the end reads as zeros", func(b []byte, starts []int, end int) {
			clear(b[starts[len(starts)-10]:end])
		}, true},
		{"all but the start reads as zeros", func(b []byte, _ []int, _ int) { clear(b[4096:]) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := cfgs[0]
			cfg.DataDir = filepath.Join(t.TempDir(), "d")
			if err := os.CopyFS(cfg.DataDir, pristine); err != nil {
				t.Fatal(err)
			}
			files, err := walFiles(dataDir{cfg.DataDir}.wal())
			if err != nil || len(files) != 1 {
				t.Fatalf("files %v, %v", files, err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			starts, end := frames(t, b)
			if len(starts) < acknowledged {
				t.Fatalf("only %d records", len(starts))
			}
			tc.damage(b, starts, end)
			if err := os.WriteFile(files[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
			// A process of its own: a failed etcd leaves goroutines behind until its process ends.
			n := startNode(t, nodeConfig{Member: cfg})
			if tc.refused {
				got := strings.Join(n.expect("config"), " ")
				if !strings.Contains(got, cfg.DataDir) || !strings.Contains(got, "move the directory away") {
					t.Errorf("error %q: want the directory and the remedy", got)
				}
				if after, err := os.ReadFile(files[0]); err != nil || !slices.Equal(after, b) {
					t.Errorf("the file was changed (%v)", err)
				}
				return
			}
			n.expect("ready")
			if got := len(n.records()); got != acknowledged {
				t.Errorf("%d records, %d were acknowledged", got, acknowledged)
			}
		})
	}
}

// TestForgotten: what raft says of a disk that lost the end of the log without a trace has the remedy with it.
func TestForgotten(t *testing.T) {
	m := &Member{cfg: MemberConfig{Name: "a", DataDir: "/data/etcd"}, log: slog.New(slog.DiscardHandler), done: make(chan struct{})}
	m.fail(errors.New("etcd: tocommit(5208) is out of range [lastIndex(5207)]. Was the raft log corrupted, truncated, or lost?"))
	<-m.Done()
	if err := m.Err(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "move the directory away") || !strings.Contains(err.Error(), "/data/etcd") {
		t.Error(err)
	}
}

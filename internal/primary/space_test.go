package primary

import (
	"errors"
	"math"
	"path/filepath"
	"testing"
)

func TestJudgeSpace(t *testing.T) {
	for _, tc := range []struct {
		name        string
		ownFull     bool
		log         bool
		peers, of   int
		leave, deny error
	}{
		{"nobody is full", false, false, 0, 3, nil, nil},
		{"a peer is: the quorum goes on", false, false, 1, 3, nil, nil},
		{"this one is, and leaves", true, false, 0, 3, errDiskFull, errDiskFull},
		{"this one and a peer: reads go on here", true, false, 1, 3, nil, errQuorumFull},
		{"two peers: no quorum could store an update", false, false, 2, 3, nil, errQuorumFull},
		{"all", true, false, 2, 3, nil, errQuorumFull},
		{"alone", true, false, 0, 1, nil, errQuorumFull},
		{"two of five", true, false, 1, 5, errDiskFull, errDiskFull},
		{"the log is", false, true, 0, 3, nil, errLogFull},
		{"the log is, and this disk", true, true, 0, 3, errDiskFull, errDiskFull},
		{"three of five", true, false, 2, 5, nil, errQuorumFull},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := judgeSpace(tc.ownFull, tc.log, tc.peers, tc.of)
			if !errors.Is(v.leave, tc.leave) || !errors.Is(v.noWrite, tc.deny) || (v.leave == nil) != (tc.leave == nil) || (v.noWrite == nil) != (tc.deny == nil) {
				t.Errorf("judgeSpace = %+v, want leave %v, noWrite %v", v, tc.leave, tc.deny)
			}
		})
	}
}

func TestIsFull(t *testing.T) {
	const reserve = 100
	was := false
	for _, step := range []struct {
		free uint64
		want bool
	}{{200, false}, {100, false}, {99, true}, {110, true}, {124, true}, {125, false}, {101, false}, {0, true}} {
		if was = isFull(was, step.free, reserve); was != step.want {
			t.Fatalf("with %d free: full is %v", step.free, was)
		}
	}
}

func TestJudgeLog(t *testing.T) {
	const quota = 800
	was := logRoomy
	for _, step := range []struct {
		used int64
		want logFill
	}{
		{100, logRoomy}, {300, logRoomy}, {301, logFilling}, {251, logFilling}, {250, logRoomy}, {500, logFilling},
		{501, logFull}, {450, logFull}, {401, logFull}, {400, logFilling}, {500, logFilling}, {800, logFull}, {100, logRoomy}, {800, logFull},
	} {
		if was = judgeLog(was, step.used, quota); was != step.want {
			t.Fatalf("with %d used: %v, want %v", step.used, was, step.want)
		}
	}
	if judgeLog(logRoomy, 1, 0) != logRoomy {
		t.Error("a log without a quota is full")
	}
}

func TestFreeBytes(t *testing.T) {
	free, err := freeBytes([]string{t.TempDir(), t.TempDir()})
	if err != nil || free == 0 || free == math.MaxUint64 {
		t.Errorf("freeBytes = %d, %v", free, err)
	}
	if _, err := freeBytes([]string{filepath.Join(t.TempDir(), "gone")}); err == nil {
		t.Error("the free space of a directory that is not there")
	}
}

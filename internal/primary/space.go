package primary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// This file keeps a primary from filling its disk: etcd ends when it can't write, and a quorum that has ended answers
// nobody, readers neither. So writes stop while there is still room for the log's own housekeeping.

// space watches the free space of the directories that must last.
type space struct {
	dirs    []string
	reserve uint64 // octets; 0: no watch
	log     *slog.Logger
	free    atomic.Uint64

	full     atomic.Bool
	fill     logFill // watch's own
	verdict  atomic.Pointer[spaceVerdict]
	peerFull func() int                                           // how many other primaries have said that theirs is full
	used     func(context.Context) (used, quota int64, err error) // of the log's store
	cutEach  func(context.Context, bool) error                    // replica.CutEach
	members  int
	every    time.Duration // between two looks
}

// spaceVerdict is what follows from the free space of all primaries; nil errors: nothing.
type spaceVerdict struct {
	leave   error // why this primary should get no requests
	noWrite error // why it takes no updates
}

// spaceEvery is short enough that a fast disk writes a few megabytes between two looks, and a look costs microseconds.
const spaceEvery = 200 * time.Millisecond

// memberEvery is for a member in this process, whose store is asked by reading a number: what somebody else writes to it must not
// take it from roomy to NOSPACE between two looks.
const memberEvery = 20 * time.Millisecond

func (p *Primary) newSpace() (*space, error) {
	cfg := p.cfg
	s := &space{dirs: []string{cfg.Dir}, reserve: uint64(cfg.MinFreeBytes), log: p.log, members: len(p.members()), peerFull: p.peers.full,
		cutEach: func(ctx context.Context, on bool) error { return p.replica.CutEach(ctx, on) }}
	if cfg.Etcd.External() {
		s.every = spaceEvery
		s.used = func(ctx context.Context) (int64, int64, error) {
			st, err := p.logStatus(ctx)
			return st.DBUsed, st.QuotaBytes, err
		}
	} else {
		s.dirs = append(s.dirs, cfg.Etcd.DataDir)
		s.every = memberEvery
		s.used = func(context.Context) (used, quota int64, err error) {
			used, quota = p.member.StoreUsed()
			return used, quota, nil
		}
	}
	s.free.Store(math.MaxUint64)
	s.verdict.Store(&spaceVerdict{})
	return s, p.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zonekeeper_primary_disk_free_bytes",
		Help: "Free space for checkpoints and the log, whichever has less."}, func() float64 { return float64(s.free.Load()) }))
}

// watch looks at the disks until ctx ends.
func (s *space) watch(ctx context.Context) {
	t := time.NewTicker(s.every)
	defer t.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *space) look(ctx context.Context) {
	if used, quota, err := s.used(ctx); err == nil {
		s.fillsUp(ctx, judgeLog(s.fill, used, quota))
	}
	free, err := freeBytes(s.dirs)
	if err != nil {
		s.log.Warn("the free space is not known", "err", err)
		return
	}
	s.free.Store(free)
	s.full.Store(isFull(s.full.Load(), free, s.reserve))
	v := judgeSpace(s.full.Load(), s.fill == logFull, s.peerFull(), s.members)
	old := s.verdict.Swap(&v)
	switch was, is := old.noWrite, v.noWrite; {
	case is != nil && (was == nil || was.Error() != is.Error()):
		s.log.Error("no updates are taken", "reason", is, "free", free, "reserve", s.reserve, "dirs", s.dirs)
	case is == nil && was != nil:
		s.log.Info("there is space again, updates are taken", "free", free)
	}
}

// fillsUp notes how full the log's store is.
func (s *space) fillsUp(ctx context.Context, fill logFill) {
	if each := fill != logRoomy; each != (s.fill != logRoomy) {
		if err := s.cutEach(ctx, each); err != nil {
			return // the replica ends, or ctx; else the next look tries again
		}
	}
	s.fill = fill
}

// isFull adds hysteresis: once below the reserve, a disk has space again only when a quarter more than it is free.
func isFull(was bool, free, reserve uint64) bool {
	if was {
		return free < reserve+reserve/4
	}
	return free < reserve
}

// logFill says how full the log's store is.
type logFill int

const (
	logRoomy logFill = iota
	// logFilling: entries bring the publish boundaries of their own changes. Should etcd take nothing more before the next
	// look, whoever fills it, no reader waits for a boundary that can't be written.
	logFilling
	// logFull: updates leave the rest to the replicas' own entries: the publish boundaries that readers wait for, and the
	// checkpoints that make the log shorter.
	logFull
)

// judgeLog adds hysteresis to both bounds. The store's file is larger than what it holds by up to 16 MB, and etcd counts the
// file.
func judgeLog(was logFill, used, quota int64) logFill {
	full, filling := quota/8*5, quota/8*3
	if was == logFull {
		full = quota / 2
	}
	if was != logRoomy {
		filling = quota / 16 * 5
	}
	switch {
	case quota <= 0:
		return logRoomy
	case used > full:
		return logFull
	case used > filling:
		return logFilling
	}
	return logRoomy
}

var (
	errDiskFull   = errors.New("the disk of this primary is full: make room on it, or lower min_free_bytes")
	errLogFull    = errors.New("the log is near its quota: mend what `zonekeeper status` names, or raise etcd.quota_bytes")
	errQuorumFull = errors.New("the disks of a majority of the primaries are full: make room on them")
)

// judgeSpace decides. A log that is near its quota takes no updates from anybody. A primary whose disk is full leaves service, and the others go on without it. When a quorum can't
// store any more, nobody takes updates, and all stay in service for readers: leaving would help nobody.
func judgeSpace(ownFull, logFull bool, peersFull, members int) spaceVerdict {
	full := peersFull
	if ownFull {
		full++
	}
	if members-full < members/2+1 {
		return spaceVerdict{noWrite: errQuorumFull}
	}
	if ownFull {
		return spaceVerdict{leave: errDiskFull, noWrite: errDiskFull}
	}
	if logFull {
		return spaceVerdict{noWrite: errLogFull}
	}
	return spaceVerdict{}
}

// refuse is why no updates are taken; nil when they are.
func (s *space) refuse() error {
	if err := s.verdict.Load().noWrite; err != nil {
		return fmt.Errorf("%w: %w", replica.ErrNoSpace, err)
	}
	return nil
}

// freeBytes is what an unprivileged process may still write, in the fullest of some directories.
func freeBytes(dirs []string) (uint64, error) {
	least := uint64(math.MaxUint64)
	for _, dir := range dirs {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return 0, fmt.Errorf("%s: %w", dir, err)
		}
		least = min(least, st.Bavail*uint64(st.Bsize))
	}
	return least, nil
}

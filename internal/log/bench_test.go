package log

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// leaderFirst orders members so that the leader comes first.
func leaderFirst(members []*Member) []*Member {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b *Member) int {
		switch {
		case a.IsLeader() && !b.IsLeader():
			return -1
		case b.IsLeader() && !a.IsLeader():
			return 1
		}
		return 0
	})
	return members
}

func reportPercentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[(len(took)-1)*p/100].Microseconds()) }
	b.ReportMetric(at(50), "p50-µs")
	b.ReportMetric(at(99), "p99-µs")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLatency is one client's append until its own follower has the record, and a barrier, at the leader and at a
// follower.
func BenchmarkLatency(b *testing.B) {
	members := leaderFirst(startMembers(b, 3))
	for i, where := range []string{"leader", "follower"} {
		l := openMember(b, members[i], nil, fmt.Sprint("bench", i))
		mustSettle(b, l)
		seen := make(chan uint64, 1024)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		from := mustBarrier(b, l)
		go func() {
			_ = l.Follow(ctx, from, func(rs []Record) error {
				for _, r := range rs {
					seen <- r.Index
				}
				return nil
			})
		}()
		b.Run("append200B/"+where, func(b *testing.B) {
			var took []time.Duration
			data := make([]byte, 200)
			for b.Loop() {
				start := time.Now()
				index, err := l.Append(ctx, data)
				if err != nil {
					b.Fatal(err)
				}
				for <-seen < index {
				}
				took = append(took, time.Since(start))
			}
			reportPercentiles(b, took)
		})
		b.Run("barrier/"+where, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if _, err := l.Barrier(ctx); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			reportPercentiles(b, took)
		})
	}
}

// BenchmarkThroughput appends records of 20 kB (about 100 updates each), with several in flight, at one replica and at
// all three.
func BenchmarkThroughput(b *testing.B) {
	members := leaderFirst(startMembers(b, 3))
	for _, at := range []struct {
		name    string
		members []*Member
	}{{"leader", members[:1]}, {"follower", members[1:2]}, {"all", members}} {
		for _, inFlight := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("20kB/%s/inflight=%d", at.name, inFlight), func(b *testing.B) {
				var logs []*EtcdLog
				for i, m := range at.members {
					l := openMember(b, m, func(c *Config) { c.MaxInFlight = inFlight; c.AppendTimeout = 5 * time.Second }, fmt.Sprint("bench", i))
					mustSettle(b, l)
					logs = append(logs, l)
				}
				data := make([]byte, 20_000)
				jobs := make(chan struct{})
				var wg sync.WaitGroup
				for _, l := range logs {
					for range inFlight {
						wg.Go(func() {
							for range jobs {
								if _, err := l.Append(context.Background(), data); err != nil {
									b.Error(err)
								}
							}
						})
					}
				}
				start := time.Now()
				for b.Loop() {
					jobs <- struct{}{}
				}
				close(jobs)
				wg.Wait()
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "records/s")
				if err := logs[0].Compact(context.Background(), mustBarrier(b, logs[0])); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// BenchmarkCatchUp is what a replica that was away for 5,000 records needs to have them.
func BenchmarkCatchUp(b *testing.B) {
	const records = 5000
	l := openMember(b, startMembers(b, 1)[0], nil, "bench")
	mustSettle(b, l)
	from := mustBarrier(b, l)
	var last uint64
	for range records {
		last = mustAppend(b, l, string(make([]byte, 4096)))
	}
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		_ = l.Follow(ctx, from, func(rs []Record) error {
			if rs[len(rs)-1].Index >= last {
				cancel()
			}
			return nil
		})
	}
}

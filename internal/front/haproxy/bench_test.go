package haproxy

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkConnection says what a connection of a client costs: HAProxy makes one to a primary for each, with a TLS handshake in which both
// sides show certificates, or with the keys of an earlier one (resumed). "message" is one more message on a connection that stays. CPU is
// that of HAProxy, and that of client and primary together, which "message" has as well.
//
//	go test ./internal/front/haproxy -run '^$' -bench Connection -benchtime 5s
func BenchmarkConnection(b *testing.B) {
	for _, bc := range []struct {
		name  string
		keep  bool          // one connection for all messages
		every time.Duration // between checks of the primary
		words string        // added to each server's line
	}{
		{"message", true, 200 * time.Millisecond, ""},
		{"connection", false, 200 * time.Millisecond, ""},
		{"connection-without-checks", false, patience, ""},
		{"connection-never-resumed", false, 200 * time.Millisecond, " no-ssl-reuse"},
	} {
		for _, clients := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/clients=%d", bc.name, clients), func(b *testing.B) {
				r, fakes := newRig(b, 1)
				r.cfg.Checks.Every, r.cfg.Checks.Fall = bc.every, 100 // this load is no reason to call the primary down
				r.adjust = func(conf []byte) []byte {
					return bytes.ReplaceAll(conf, []byte(" ssl-min-ver TLSv1.3"), []byte(" ssl-min-ver TLSv1.3"+bc.words))
				}
				r.run()
				var left atomic.Int64
				left.Store(int64(b.N))
				conns, resumed := fakes[0].conns.Load(), fakes[0].resumed.Load()
				own, its := cpu(b), cpuOf(b, r.p.PID())
				b.ResetTimer()
				done := make(chan error, clients)
				for range clients {
					go func() { done <- r.spend(&left, bc.keep) }()
				}
				for range clients {
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
				b.StopTimer()
				n := float64(b.N)
				b.ReportMetric(float64((cpuOf(b, r.p.PID())-its).Microseconds())/n, "µs-haproxy/op")
				b.ReportMetric(float64((cpu(b)-own).Microseconds())/n, "µs-others/op")
				b.ReportMetric(100*float64(fakes[0].resumed.Load()-resumed)/max(1, float64(fakes[0].conns.Load()-conns)), "%resumed")
			})
		}
	}
}

// spend sends messages until none is left, each on a connection of its own unless it is kept.
func (r *rig) spend(left *atomic.Int64, keep bool) error {
	var kept *client
	for left.Add(-1) >= 0 {
		if !keep {
			if _, err := r.once("", "x"); err != nil {
				return err
			}
			continue
		}
		if kept == nil {
			var err error
			if kept, err = r.dial(""); err != nil {
				return err
			}
			defer kept.Close()
		}
		if _, err := kept.ask("x"); err != nil {
			return err
		}
	}
	return nil
}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is what another process has used, in user and in system mode.
func cpuOf(b *testing.B, pid int) time.Duration { return ticks(b, pid, 14, 15) }

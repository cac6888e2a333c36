package log

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitDeath: only a leader that was reached and now refuses is dead.
func TestAwaitDeath(t *testing.T) {
	const (
		connects = iota // and the connection closes after a second
		refuses
		hangs // the attempt times out
	)
	for _, tc := range []struct {
		name  string
		dials []int // the last one repeats
		dead  bool
	}{
		{"the process died", []int{connects, refuses}, true},
		{"it died after etcd had closed idle connections", []int{connects, connects, connects, refuses}, true},
		{"never reached: a firewall", []int{refuses}, false},
		{"the host died", []int{connects, hangs}, false},
		{"the host died, and comes back without the process", []int{connects, hangs, refuses}, false},
		{"nothing is wrong", []int{connects}, false},
		{"it was starting", []int{refuses, connects}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				n := 0
				w := leaderWatch{m: &Member{cfg: DefaultMemberConfig()}, dial: func(context.Context, uint64) (net.Conn, error) {
					what := tc.dials[min(n, len(tc.dials)-1)]
					n++
					switch what {
					case refuses:
						return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
					case hangs:
						time.Sleep(time.Second) // virtual time
						return nil, os.ErrDeadlineExceeded
					}
					here, there := net.Pipe()
					time.AfterFunc(time.Second, func() { there.Close() })
					return here, nil
				}}
				if got := w.awaitDeath(ctx, 1); got != tc.dead {
					t.Errorf("awaitDeath = %v, want %v", got, tc.dead)
				}
			})
		})
	}
}

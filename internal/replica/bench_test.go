package replica

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
)

// quietSink is a Sink that wants nothing.
type quietSink struct{}

func (quietSink) Applied([]fsm.Effects) {}
func (quietSink) Reset(*fsm.Machine)    {}

// BenchmarkSubmit measures what the replica adds to a proposal: the log is in memory and takes no time, and the command is the
// cheapest to apply.
func BenchmarkSubmit(b *testing.B) {
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r, stop := benchReplica(b)
			defer stop()
			b.ReportAllocs()
			b.ResetTimer()
			eachClient(clients, b.N, func(ctx context.Context, _ int) error {
				_, err := r.Submit(ctx, &fsm.Cut{}, time.Time{})
				return err
			}, b)
		})
	}
}

// BenchmarkUpdate is the same with signed updates that change a zone, Apply included.
func BenchmarkUpdate(b *testing.B) {
	r, stop := benchReplica(b)
	defer stop()
	for _, cmd := range setup() {
		if res, err := r.Submit(context.Background(), cmd, time.Time{}); err != nil || res.Err != "" {
			b.Fatal(res, err)
		}
	}
	updates := make([]*fsm.Update, b.N)
	for i := range updates {
		updates[i] = signedUpdate(uint64(i), time.Now().UnixMilli(), wire(fmt.Sprintf("add h%d.example.test. 60 A 192.0.2.1", i)))
	}
	b.ReportAllocs()
	b.ResetTimer()
	eachClient(256, b.N, func(ctx context.Context, i int) error {
		_, err := r.Submit(ctx, updates[i], time.Now().Add(4*time.Second))
		return err
	}, b)
}

func benchReplica(b *testing.B) (*Replica, func()) {
	lcfg := log.DefaultConfig()
	lcfg.Replica = "a"
	l, err := log.NewMemCluster(log.MemConfig{}).Open(lcfg)
	if err != nil {
		b.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.Dir, cfg.Log, cfg.Sink, cfg.Members = "a", b.TempDir(), benchLog{MemLog: l, recs: make(chan log.Record, 64)}, quietSink{}, []string{"a"}
	r, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	if err := r.Serve(ctx, true, nil); err != nil {
		b.Fatal(err)
	}
	return r, func() {
		b.StopTimer()
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// benchLog is a log that keeps nothing: a record goes straight to the one follower.
type benchLog struct {
	*log.MemLog
	recs chan log.Record
}

func (l benchLog) Append(ctx context.Context, data []byte) (uint64, error) {
	e, err := fsm.DecodeEntry(data)
	if err != nil {
		return 0, err
	}
	l.recs <- log.Record{Index: e.Seq + 1, Replica: "a", Epoch: e.Epoch, Seq: e.Seq, Data: data}
	return e.Seq + 1, nil
}

func (l benchLog) Follow(ctx context.Context, _ uint64, fn func([]log.Record) error) error {
	for {
		select {
		case r := <-l.recs:
			if err := fn([]log.Record{r}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func eachClient(clients, n int, do func(ctx context.Context, i int) error, b *testing.B) {
	work := make(chan int, n)
	for i := range n {
		work <- i
	}
	close(work)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range work {
				if err := do(context.Background(), i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

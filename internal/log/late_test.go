package log

import (
	"context"
	"errors"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lateKV is a network that holds a transaction back: its caller gives up, and the transaction arrives when deliver is
// called.
type lateKV struct {
	clientv3.KV
	mu   sync.Mutex
	hold bool
	held []func() (*clientv3.TxnResponse, error)
}

func (k *lateKV) Txn(ctx context.Context) clientv3.Txn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.hold {
		return k.KV.Txn(ctx)
	}
	return &lateTxn{Txn: k.KV.Txn(context.WithoutCancel(ctx)), kv: k}
}

func (k *lateKV) holding(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hold = on
}

func (k *lateKV) deliver() (responses []*clientv3.TxnResponse, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, commit := range k.held {
		r, e := commit()
		responses, err = append(responses, r), errors.Join(err, e)
	}
	k.held = nil
	return responses, err
}

type lateTxn struct {
	clientv3.Txn
	kv *lateKV
}

func (t *lateTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(cs...); return t }
func (t *lateTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *lateTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }

func (t *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	t.kv.mu.Lock()
	defer t.kv.mu.Unlock()
	t.kv.held = append(t.kv.held, t.Txn.Commit)
	return nil, context.DeadlineExceeded
}

func openLate(t *testing.T, m *Member, replica string) (*EtcdLog, *lateKV) {
	l := openMember(t, m, nil, replica)
	kv := &lateKV{KV: l.cli.KV}
	cli := clientv3.NewCtxClient(context.Background())
	cli.KV, cli.Watcher = kv, l.cli.Watcher
	l.cli = cli
	return l, kv
}

// TestLateAppend is hazard C2 on a real etcd: an append that timed out arrives late. Unsettled it becomes a ghost,
// which is why absence proves nothing; settled it never enters the log.
func TestLateAppend(t *testing.T) {
	t.Parallel()
	m := startMembers(t, 1)[0]
	for _, settle := range []bool{false, true} {
		name := map[bool]string{false: "unsettled", true: "settled"}[settle]
		t.Run(name, func(t *testing.T) {
			l, kv := openLate(t, m, name)
			mustSettle(t, l)
			mustAppend(t, l, "first")
			_, seq := l.Next()
			kv.holding(true)
			if _, err := l.Append(testContext(t), []byte("late")); !errors.Is(err, ErrInDoubt) {
				t.Fatalf("Append = %v, want ErrInDoubt", err)
			}
			if _, err := l.Append(testContext(t), []byte("next")); !errors.Is(err, ErrUnsettled) {
				t.Fatalf("Append after a doubt = %v, want ErrUnsettled", err)
			}
			kv.holding(false)
			head := mustBarrier(t, l)
			if settle {
				if s := mustSettle(t, l); s.Contains(seq) {
					t.Fatalf("Settle = %+v: the late append has not arrived yet", s)
				}
			}
			if _, err := kv.deliver(); err != nil {
				t.Fatal(err)
			}
			ghost := mustBarrier(t, l) != head
			if ghost == settle {
				t.Errorf("the late append is in the log: %v; settled before it arrived: %v", ghost, settle)
			}
		})
	}
}

// TestLateSettle: an attempt to raise the epoch that arrives after a later one has succeeded changes nothing.
func TestLateSettle(t *testing.T) {
	t.Parallel()
	m := startMembers(t, 1)[0]
	l, kv := openLate(t, m, "r")
	first := mustSettle(t, l)

	kv.holding(true)
	ctx, cancel := context.WithTimeout(testContext(t), l.cfg.RetryDelay)
	if _, err := l.Settle(ctx); err == nil {
		t.Fatal("Settle succeeded without an answer")
	}
	cancel()
	kv.holding(false)
	second := mustSettle(t, l)
	if second.Epoch != first.Epoch+1 {
		t.Fatalf("epoch %d after %d", second.Epoch, first.Epoch)
	}
	responses, err := kv.deliver()
	if err != nil || len(responses) == 0 {
		t.Fatalf("%d late attempts, %v", len(responses), err)
	}
	mustAppend(t, l, "still in the same epoch")
	if epoch, _ := l.Next(); epoch != second.Epoch {
		t.Errorf("epoch %d, want %d: the late attempt took effect", epoch, second.Epoch)
	}

	// The other way round: it took effect and only its answer was lost.
	kv.holding(true)
	ctx, cancel = context.WithTimeout(testContext(t), l.cfg.RetryDelay)
	_, _ = l.Settle(ctx)
	cancel()
	kv.holding(false)
	if _, err := kv.deliver(); err != nil {
		t.Fatal(err)
	}
	third := mustSettle(t, l)
	if third.Epoch != second.Epoch+1 || third.LastSeq != 1 {
		t.Errorf("Settle = %+v after epoch %d: the lost answer was not recognised", third, second.Epoch)
	}
}

package log

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Follow implements Log. What fn has not taken yet waits in memory: at most the history that the log keeps.
func (l *EtcdLog) Follow(ctx context.Context, from uint64, fn func([]Record) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()

	f := &follower{keys: l.keys, from: from, seq: newSequence(), fn: fn}
	if err := l.checkHistory(ctx, from); err != nil {
		return l.followError(from, err)
	}
	pause := l.cfg.RetryDelay
	for {
		before := f.from
		err := f.catchUp(ctx, l.cli)
		if err == nil {
			err = f.watch(ctx, l.cli)
		}
		if p := (permanent{}); errors.As(err, &p) {
			return p.error
		}
		if f.from != before {
			pause = l.cfg.RetryDelay
		}
		if perr := l.pause(ctx, pause); perr != nil {
			return l.followError(f.from, perr)
		}
		l.log.Warn("log: following again", "after", f.from, "err", err)
		pause = min(2*pause, 64*l.cfg.RetryDelay)
	}
}

func (l *EtcdLog) followError(from uint64, err error) error {
	if l.ctx.Err() != nil {
		err = ErrClosed
	}
	return fmt.Errorf("log: follow after index %d: %w", from, err)
}

// checkHistory refuses to follow a log that ends before the index that the caller already has: an etcd that was
// restored from a backup, or another cluster. A watch would wait silently for that index to come round again.
func (l *EtcdLog) checkHistory(ctx context.Context, from uint64) error {
	if from == 0 {
		return nil
	}
	return l.retry(ctx, "check the history", func(ctx context.Context) error {
		resp, err := l.cli.Get(ctx, l.keys.headKey())
		if err == nil && headIndex(resp) < from {
			return permanent{fmt.Errorf("the log ends at index %d: etcd lost its history or is another cluster; "+
				"restore it, or reset the replicas to a common checkpoint: %w", headIndex(resp), ErrCorrupt)}
		}
		return err
	})
}

// follower turns watch events into records. It survives reconnects: from is the last index that was delivered.
type follower struct {
	keys layout
	from uint64
	seq  *sequence
	fn   func([]Record) error
}

// catchUpPage is how many revisions are read in one request. A record has at most Config.MaxRecordBytes, most have some KB.
const catchUpPage = 64

// catchUp delivers most of what the follower lacks, in requests of bounded size; the rest is for the watch. A watch alone
// would deliver it as well. But for each thousand records that a late watcher gets, etcd reads all that it lacks, and
// holds the lock meanwhile that every write takes (storage/mvcc/watchable_store.go, syncWatchers): a replica that comes
// back 30,000 records late would hold up its own member for seconds.
func (f *follower) catchUp(ctx context.Context, cli *clientv3.Client) error {
	// Reading the member's own state is enough: like a watch it shows nothing that is not committed.
	resp, err := cli.Get(ctx, f.keys.headKey(), clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("log: catch up: %w", err)
	}
	for at := f.from + 1; at+catchUpPage <= uint64(resp.Header.Revision); at += catchUpPage {
		if err := f.page(ctx, cli, at); errors.Is(err, rpctypes.ErrCompacted) {
			return nil // the watch says so too, and how far
		} else if err != nil {
			return err
		}
	}
	return nil
}

// page delivers the records of the revisions from at on.
func (f *follower) page(ctx context.Context, cli *clientv3.Client, at uint64) error {
	ops := make([]clientv3.Op, catchUpPage)
	for i := range ops {
		rev := int64(at) + int64(i)
		ops[i] = clientv3.OpGet(f.keys.logPrefix(), clientv3.WithPrefix(), clientv3.WithSerializable(),
			clientv3.WithRev(rev), clientv3.WithMinModRev(rev))
	}
	resp, err := cli.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return fmt.Errorf("log: catch up from revision %d: %w", at, err)
	}
	var events []*clientv3.Event
	for _, r := range resp.Responses {
		for _, kv := range r.GetResponseRange().Kvs {
			events = append(events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
		}
	}
	if err := f.deliver(events); err != nil {
		return permanent{err}
	}
	return nil
}

// watch delivers until the watch ends. A permanent error ends Follow, any other one is worth a reconnect.
func (f *follower) watch(ctx context.Context, cli *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Without a leader the server ends the watch instead of serving a partitioned member's past for ever.
	events := cli.Watch(clientv3.WithRequireLeader(ctx), f.keys.logPrefix(),
		clientv3.WithPrefix(), clientv3.WithRev(int64(f.from)+1))
	for resp := range events {
		if resp.CompactRevision != 0 {
			return permanent{&CompactedError{From: f.from, Compacted: uint64(resp.CompactRevision)}}
		}
		if err := resp.Err(); err != nil {
			return fmt.Errorf("log: watch: %w", err)
		}
		if err := f.deliver(resp.Events); err != nil {
			return permanent{err}
		}
	}
	return errors.New("log: the watch ended")
}

func (f *follower) deliver(events []*clientv3.Event) error {
	records := make([]Record, 0, len(events))
	for _, ev := range events {
		r, err := f.record(ev)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil // a progress notification
	}
	if err := f.fn(records); err != nil {
		return err
	}
	f.from = records[len(records)-1].Index
	return nil
}

func (f *follower) record(ev *clientv3.Event) (Record, error) {
	r := Record{Index: uint64(ev.Kv.ModRevision)}
	var err error
	if r.Replica, err = f.keys.replicaOf(ev.Kv.Key); err != nil {
		return r, err
	}
	if ev.Type != clientv3.EventTypePut {
		return r, fmt.Errorf("log: key %q was deleted at index %d: %w", ev.Kv.Key, r.Index, ErrCorrupt)
	}
	if r.Epoch, r.Seq, r.Data, err = parseRecord(ev.Kv.Value); err != nil {
		return r, fmt.Errorf("index %d: %w", r.Index, err)
	}
	if r.Seq != uint64(ev.Kv.Version) {
		return r, fmt.Errorf("log: record %d of replica %q says sequence number %d, its key has version %d: somebody else wrote it: %w",
			r.Index, r.Replica, r.Seq, ev.Kv.Version, ErrCorrupt)
	}
	return r, f.seq.check(r)
}

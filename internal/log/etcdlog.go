package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// EtcdLog is a Log on etcd, embedded (Member.Open) or external (Dial).
type EtcdLog struct {
	*sequencer
	cfg  Config
	keys layout
	cli  *clientv3.Client
	host host
	log  *slog.Logger

	process string // identifies this process's claim of the replica's name; the value of the epoch key

	ctx   context.Context // ends with Close
	close context.CancelFunc
	reads barrier
}

var _ Log = (*EtcdLog)(nil)

// host is what the log asks of the member that it runs on, beyond etcd's client API.
type host interface {
	// leaderChanged returns a channel that is closed when a new leader is known; nil: the host can't tell.
	leaderChanged() <-chan struct{}
	status(ctx context.Context) (Status, error)
	moveLeader(ctx context.Context) error
	release() error // Close of the Log
}

func newEtcdLog(cfg Config, cli *clientv3.Client, h host) (*EtcdLog, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	l := &EtcdLog{
		cfg:     cfg,
		keys:    newLayout(cfg.Prefix),
		cli:     cli,
		host:    h,
		log:     cfg.Logger.With("replica", cfg.Replica),
		process: rand.Text(),
	}
	l.ctx, l.close = context.WithCancel(context.Background())
	l.sequencer = newSequencer(cfg.MaxInFlight, cfg.MaxRecordBytes, l.ctx.Done())
	l.reads.read = l.readHead
	l.reads.base = l.ctx
	return l, nil
}

// Append implements Log.
func (l *EtcdLog) Append(ctx context.Context, data []byte) (uint64, error) {
	return l.append(ctx, len(data), func(ctx context.Context, before *flight, epoch, seq uint64) (uint64, error) {
		return l.appendAt(ctx, before, epoch, seq, data)
	})
}

// appendAt appends data as record seq. It sends again only what is known not to have entered the log.
func (l *EtcdLog) appendAt(ctx context.Context, before *flight, epoch, seq uint64, data []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AppendTimeout)
	defer cancel()
	stop := context.AfterFunc(l.ctx, cancel)
	defer stop()

	epochKey, logKey := l.keys.epochKey(l.cfg.Replica), l.keys.logKey(l.cfg.Replica)
	value := string(appendRecord(make([]byte, 0, len(data)+16), epoch, seq, data))
	pause := l.cfg.RetryDelay
	for {
		var resp *clientv3.TxnResponse
		err := l.unlessLeaderChanges(ctx, func(ctx context.Context) (err error) {
			resp, err = l.cli.Txn(ctx).
				If(clientv3.Compare(clientv3.Version(epochKey), "=", int64(epoch)),
					clientv3.Compare(clientv3.Version(logKey), "=", int64(seq-1))).
				Then(clientv3.OpPut(logKey, value), clientv3.OpPut(l.keys.headKey(), "")).
				Else(clientv3.OpGet(epochKey), clientv3.OpGet(logKey)).
				Commit()
			return err
		})
		if err == nil && resp.Succeeded {
			return uint64(resp.Header.Revision), nil
		}
		if err != nil {
			err = classifyAppend(err)
			if errors.Is(err, ErrNoSpace) {
				return l.afterNoSpace(ctx, epoch, seq, err)
			}
			if !errors.Is(err, ErrUnavailable) {
				return 0, err
			}
			// Nothing was sent. During an election it is worth waiting for the new leader.
			if werr := l.pause(ctx, pause); werr != nil {
				return 0, err
			}
			pause = min(2*pause, 16*l.cfg.RetryDelay)
			continue
		}

		// The condition did not hold: this attempt was decided, and is not in the log.
		found := readState(resp)
		switch {
		case found.epoch != epoch:
			return 0, fmt.Errorf("epoch is %d: %w", found.epoch, ErrFenced)
		case found.seq == seq && found.recordEpoch == epoch:
			return found.index, nil // delivered twice below us: the first delivery was this very record
		case found.seq >= seq:
			return 0, fmt.Errorf("sequence number %d is in the log: %w", found.seq, ErrInDoubt)
		case before == nil:
			return 0, fmt.Errorf("the log ends at sequence number %d: %w", found.seq, ErrUnsettled)
		}
		// It overtook the append before it on the way to the leader.
		select {
		case <-before.done:
			if before.err != nil {
				return 0, fmt.Errorf("%w: the append before it failed", ErrUnsettled)
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: the append before it did not return: %w", ErrUnsettled, ctx.Err())
		}
	}
}

// afterNoSpace finds out what became of an append that etcd answered with NOSPACE. The write that exhausts the quota is
// applied all the same, and then answered like those that are refused afterwards. Either way it has been decided, so
// that a look is enough.
func (l *EtcdLog) afterNoSpace(ctx context.Context, epoch, seq uint64, noSpace error) (uint64, error) {
	resp, err := l.cli.Get(ctx, l.keys.logKey(l.cfg.Replica))
	if err != nil {
		return 0, fmt.Errorf("%w: after NOSPACE: %w", ErrInDoubt, err)
	}
	if len(resp.Kvs) == 0 || uint64(resp.Kvs[0].Version) < seq {
		return 0, noSpace
	}
	if e, n, _, err := parseRecord(resp.Kvs[0].Value); err == nil && e == epoch && n == seq {
		return uint64(resp.Kvs[0].ModRevision), nil
	}
	return 0, fmt.Errorf("%w: after NOSPACE: the log goes on behind it", ErrInDoubt)
}

// readState reads the answers of two gets, of the epoch key and the log key, that end a transaction.
func readState(resp *clientv3.TxnResponse) replicaState {
	var s replicaState
	n := len(resp.Responses)
	if kvs := resp.Responses[n-2].GetResponseRange().GetKvs(); len(kvs) > 0 {
		s.process, s.epoch = string(kvs[0].Value), uint64(kvs[0].Version)
	}
	if kvs := resp.Responses[n-1].GetResponseRange().GetKvs(); len(kvs) > 0 {
		s.seq, s.index = uint64(kvs[0].Version), uint64(kvs[0].ModRevision)
		if len(kvs[0].Value) > 0 {
			s.recordEpoch, _, _, _ = parseRecord(kvs[0].Value) // Follow reports what is unreadable
		}
	}
	return s
}

// Settle implements Log.
func (l *EtcdLog) Settle(ctx context.Context) (Settled, error) { return l.settle(ctx, l.fence) }

// fence raises the epoch, however often it takes. Each attempt is conditional on the epoch that was read, so that one
// which commits late, after this process has gone on, changes nothing.
func (l *EtcdLog) fence(ctx context.Context, claimed uint64) (replicaState, error) {
	known := claimed
	if claimed == 0 {
		err := l.retry(ctx, "read the epoch", func(ctx context.Context) error {
			resp, err := l.cli.Get(ctx, l.keys.epochKey(l.cfg.Replica))
			if err == nil && len(resp.Kvs) > 0 {
				known = uint64(resp.Kvs[0].Version)
			}
			return err
		})
		if err != nil {
			return replicaState{}, err
		}
	}
	var state replicaState
	err := l.retry(ctx, "raise the epoch", func(ctx context.Context) (err error) {
		for {
			state, err = l.raiseEpoch(ctx, known)
			if errors.Is(err, rpctypes.ErrNoSpace) {
				return permanent{classifyAppend(err)} // it lasts until somebody makes room; the caller should know now
			}
			if err != nil || state.process == l.process {
				return err
			}
			if claimed != 0 {
				return permanent{fmt.Errorf("epoch %d is held by process %s: %w", state.epoch, state.process, ErrFenced)}
			}
			known = state.epoch // two processes start under one name: the last one wins, the other finds itself fenced
		}
	})
	return state, err
}

// raiseEpoch raises the epoch by one if it is still the known one, and returns what then holds. An attempt of ours that
// was thought lost shows up as an epoch held by this process, which is just as good.
func (l *EtcdLog) raiseEpoch(ctx context.Context, known uint64) (replicaState, error) {
	epochKey, logKey := l.keys.epochKey(l.cfg.Replica), l.keys.logKey(l.cfg.Replica)
	look := []clientv3.Op{clientv3.OpGet(epochKey), clientv3.OpGet(logKey, clientv3.WithKeysOnly())}
	resp, err := l.cli.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(epochKey), "=", int64(known))).
		Then(append([]clientv3.Op{clientv3.OpPut(epochKey, l.process)}, look...)...).
		Else(look...).
		Commit()
	if err != nil {
		return replicaState{}, err
	}
	return readState(resp), nil
}

// Compact implements Log.
func (l *EtcdLog) Compact(ctx context.Context, upTo uint64) error {
	err := l.retry(ctx, "compact", func(ctx context.Context) error {
		_, err := l.cli.Compact(ctx, int64(upTo))
		return classifyCompact(err)
	})
	if err != nil {
		return fmt.Errorf("log: compact up to %d: %w", upTo, err)
	}
	return nil
}

// Status implements Log.
func (l *EtcdLog) Status(ctx context.Context) (Status, error) {
	s, err := l.host.status(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("log: status: %w", err)
	}
	return s, nil
}

// MoveLeader implements Log.
func (l *EtcdLog) MoveLeader(ctx context.Context) error { return l.host.moveLeader(ctx) }

// Close implements Log.
func (l *EtcdLog) Close() error {
	l.close()
	return l.host.release()
}

// unlessLeaderChanges runs fn with a context that also ends when a new leader is elected: what was sent to the old one
// may be lost, and etcd would say so only seconds later.
func (l *EtcdLog) unlessLeaderChanges(ctx context.Context, fn func(context.Context) error) error {
	changed := l.host.leaderChanged()
	if changed == nil {
		return fn(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return fn(ctx)
}

// permanent marks an error that a further attempt would not change.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry repeats fn, each attempt within AttemptTimeout, until it succeeds, fails for good, or ctx or the Log ends.
func (l *EtcdLog) retry(ctx context.Context, what string, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	pause := l.cfg.RetryDelay
	for {
		attempt, done := context.WithTimeout(ctx, l.cfg.AttemptTimeout)
		err := l.unlessLeaderChanges(attempt, fn)
		done()
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return fmt.Errorf("%s: %w", what, p.error)
		}
		if perr := l.pause(ctx, pause); perr != nil {
			if l.ctx.Err() != nil {
				perr = ErrClosed
			}
			return fmt.Errorf("%s: %w; last attempt: %w", what, perr, err)
		}
		pause = min(2*pause, 16*l.cfg.RetryDelay)
	}
}

// pause waits for d, or for a new leader if that comes first.
func (l *EtcdLog) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.host.leaderChanged():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

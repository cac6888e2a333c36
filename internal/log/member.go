package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Member is an embedded etcd member: one voter (or, while it catches up, learner) of the cluster, inside this process.
//
// Order of a planned stop: settle or finish appends, Close the Log, Close the Member. Close hands leadership over
// first.
type Member struct {
	cfg  MemberConfig
	etcd *embed.Etcd
	cli  *clientv3.Client // in-process: no sockets between the log and its member
	log  *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // promotion, leader watch

	failOnce sync.Once
	done     chan struct{}
	err      error // why done was closed; valid after it

	closeOnce sync.Once
}

// Start brings the member up and returns when it is part of a cluster with a leader, or ctx ends. What an empty or used
// DataDir means is decided by decideStart; a member that joins starts as a learner and is promoted in the background
// once it has caught up.
//
// etcd registers its metrics with prometheus.DefaultRegisterer; expose them from prometheus.DefaultGatherer.
func Start(ctx context.Context, cfg MemberConfig) (*Member, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m := &Member{cfg: cfg, log: cfg.Logger.With("member", cfg.Name), done: make(chan struct{})}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.start(ctx); err != nil {
		m.cancel()
		return nil, fmt.Errorf("log: start member %q: %w", cfg.Name, err)
	}
	return m, nil
}

func (m *Member) start(ctx context.Context) error {
	dir := dataDir{path: m.cfg.DataDir}
	before, err := dir.inspect(m.cfg.Name, m.cfg.Token)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if before.hasData {
		if err := checkWAL(dir.wal()); err != nil {
			return m.unreadable(err)
		}
		if err := checkEnd(dir.path); err != nil {
			return m.unreadable(err)
		}
	}
	state, cluster, learner := embed.ClusterStateFlagExisting, m.cfg.InitialCluster, before.learner
	if !before.hasData {
		step, err := m.enter(ctx, before)
		if err != nil {
			return err
		}
		state, cluster, learner = step.state, step.cluster, step.learner
		if err := dir.mark(marker{Name: m.cfg.Name, Token: m.cfg.Token, Learner: learner}); err != nil {
			return err
		}
	}
	e := m.cfg.embedConfig(state, cluster)
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(m.log, func() bool { return m.ctx.Err() != nil }, m.fail))
	if err := m.startEtcd(ctx, e, before.hasData); err != nil {
		return err
	}
	select {
	case <-m.etcd.Server.ReadyNotify():
	case <-m.etcd.Server.StopNotify():
		abandon(m.etcd)
		return fmt.Errorf("etcd stopped while starting: %w", m.stopReason())
	case <-m.done:
		return m.err
	case <-ctx.Done():
		m.cancel() // what etcd says from here on is about its end
		abandon(m.etcd)
		return fmt.Errorf("no leader yet: start a majority of %s: %w", clusterString(cluster), ctx.Err())
	}
	if err := dir.mark(marker{Name: m.cfg.Name, Token: m.cfg.Token, Learner: learner, Started: true}); err != nil {
		m.etcd.Close()
		return err
	}
	m.cli = v3client.New(m.etcd.Server)
	m.work.Go(m.watchStop)
	if m.etcd.Server.IsLearner() {
		m.work.Go(func() { m.promote(dir) })
	}
	m.work.Go(m.keepHouse)
	if m.cfg.FastFailover {
		m.work.Go(func() { newLeaderWatch(m).run(m.ctx) })
	}
	m.log.Info("log: member started", "id", idString(uint64(m.etcd.Server.MemberID())), "learner", m.etcd.Server.IsLearner())
	return nil
}

// startEtcd starts the server on a goroutine of its own, because etcd treats data that it can't read as fatal or
// panics, and the hook that reports it never returns.
func (m *Member) startEtcd(ctx context.Context, cfg *embed.Config, hasData bool) error {
	type outcome struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = m.unreadable(fmt.Errorf("etcd panicked: %v", p))
			}
			started <- o
		}()
		o.etcd, o.err = embed.StartEtcd(cfg)
	}()
	select {
	case o := <-started:
		var socket *net.OpError
		switch {
		case o.err == nil:
			m.etcd = o.etcd
			return nil
		case errors.Is(o.err, ErrConfig):
			return o.err
		case hasData && !errors.As(o.err, &socket):
			return m.unreadable(o.err)
		}
		return fmt.Errorf("etcd: %w", o.err)
	case <-m.done:
		return m.unreadable(m.err)
	case <-ctx.Done():
		go func() {
			if o := <-started; o.etcd != nil {
				abandon(o.etcd)
			}
		}()
		return fmt.Errorf("etcd does not come up: %w", ctx.Err())
	}
}

// abandon closes a server that never became ready: embed's Close would wait for its listeners, which wait for
// readiness.
func abandon(e *embed.Etcd) {
	e.Server.HardStop()
	e.Close()
}

func (m *Member) unreadable(err error) error {
	return fmt.Errorf("%w: etcd can't use %s: %w; if the disk is healthy and other members have the data, "+
		"move the directory away, and the member joins anew", ErrConfig, m.cfg.DataDir, err)
}

// Open returns the Log of the replica that runs on this member.
func (m *Member) Open(cfg Config) (*EtcdLog, error) {
	if cfg.MaxRecordBytes+1024 > int(m.cfg.MaxRequestBytes) {
		return nil, fmt.Errorf("log: MaxRecordBytes %d does not fit the member's MaxRequestBytes %d", cfg.MaxRecordBytes, m.cfg.MaxRequestBytes)
	}
	return newEtcdLog(cfg, m.cli, embedded{m})
}

// Done is closed when the member has stopped by itself: its disk failed, or it was removed from the cluster. Err says
// why. The process must stop then: nothing it appends can be acknowledged any more.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err returns why the member stopped by itself, nil while it runs.
func (m *Member) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// ID returns etcd's ID of the member. A member that lost its disk comes back with another one.
func (m *Member) ID() uint64 { return uint64(m.etcd.Server.MemberID()) }

// IsLeader says whether this member leads, as far as it knows.
func (m *Member) IsLeader() bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() }

// LeaderID returns the ID of the leader this member knows of; 0: none.
func (m *Member) LeaderID() uint64 { return m.etcd.Server.Lead() }

// Term returns the raft term: it rises with every election.
func (m *Member) Term() uint64 { return m.etcd.Server.Term() }

// Client returns the in-process etcd client, for what the verbs of Log do not cover (leases, alarms).
func (m *Member) Client() *clientv3.Client { return m.cli }

// Close hands leadership over and stops the member.
func (m *Member) Close() error {
	m.closeOnce.Do(func() {
		m.cancel()
		m.work.Wait()
		if m.Err() != nil && !errors.Is(m.err, ErrRemoved) {
			return // its goroutines are frozen at the failure: waiting for them would never end
		}
		m.etcd.Close()
	})
	return nil
}

// forgotten is what raft says when the leader knows of entries that this member had acknowledged and does not have.
const forgotten = "Was the raft log corrupted, truncated, or lost?"

// fail reports that etcd can't go on.
func (m *Member) fail(err error) {
	if strings.Contains(err.Error(), forgotten) {
		err = m.unreadable(fmt.Errorf("the disk lost what it had confirmed: %w", err))
	}
	m.failOnce.Do(func() {
		m.err = fmt.Errorf("log: member %q: %w", m.cfg.Name, err)
		m.log.Error("log: member failed", "err", err)
		close(m.done)
	})
}

// watchStop notices that etcd stopped by itself, which it does when the cluster removed the member.
func (m *Member) watchStop() {
	select {
	case <-m.etcd.Server.StopNotify():
		m.fail(m.stopReason())
	case <-m.ctx.Done():
	}
}

func (m *Member) stopReason() error {
	return fmt.Errorf("%w; move %s away so that it can join anew", ErrRemoved, m.cfg.DataDir)
}

// promote makes a learner a voter as soon as it has caught up with the leader.
func (m *Member) promote(dir dataDir) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
		_, err := m.cli.MemberPromote(ctx, m.ID())
		cancel()
		switch {
		case err == nil || errors.Is(err, rpctypes.ErrMemberNotLearner):
			m.log.Info("log: promoted to voter")
			if err := dir.mark(marker{Name: m.cfg.Name, Token: m.cfg.Token, Started: true}); err != nil {
				m.log.Warn("log: could not note the promotion", "err", err)
			}
			return
		case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
		default:
			m.log.Debug("log: promotion", "err", err)
		}
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			return
		}
	}
}

// embedded is the host of a Log on an embedded member.
type embedded struct{ m *Member }

func (h embedded) leaderChanged() <-chan struct{} { return h.m.etcd.Server.LeaderChangedNotify() }

func (h embedded) status(ctx context.Context) (Status, error) {
	resp, err := h.m.cli.Status(ctx, "")
	if err != nil {
		return Status{}, err
	}
	return statusFrom(h.m.cfg.Name, resp), nil
}

// moveLeader lets etcd choose the voter to whom it has been connected longest; raft hands over only when that one has
// every record.
func (h embedded) moveLeader(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- h.m.etcd.Server.TryTransferLeadershipOnShutdown() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("log: move the leader away from %q: %w", h.m.cfg.Name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("log: move the leader away from %q: %w", h.m.cfg.Name, ctx.Err())
	}
}

func (h embedded) release() error { return nil }

// StoreUsed is what the store's file holds, and its quota, in octets, as etcd's newest commit to the file left it. It asks
// nobody and takes no lock.
func (m *Member) StoreUsed() (used, quota int64) {
	return m.etcd.Server.Backend().SizeInUse(), m.cfg.QuotaBytes
}

// statusFrom turns etcd's answer into ours.
func statusFrom(name string, r *clientv3.StatusResponse) Status {
	return Status{
		Member: name, MemberID: r.Header.MemberId, LeaderID: r.Leader, IsLeader: r.Leader == r.Header.MemberId,
		Learner: r.IsLearner, Term: r.RaftTerm, Revision: uint64(r.Header.Revision), RaftIndex: r.RaftIndex,
		DBBytes: r.DbSize, DBUsed: r.DbSizeInUse, QuotaBytes: r.DbSizeQuota, Alarms: alarmsOf(r.Errors),
	}
}

func idString(id uint64) string { return fmt.Sprintf("%x", id) }

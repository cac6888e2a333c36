package log

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"
)

// leaderWatch shortens the failover after the leader's process died. It holds an idle connection to the leader's peer
// port. When that closes and a new one is refused, the host is up and the process gone: waiting for the election
// timeout would be idle, so this member tells its own raft node to stand for election, with the very message that an
// orderly leader hands over with (MsgTimeoutNow). The message names the term, so that it is void once another election
// has begun.
//
// Safety does not depend on it: raft lets anybody stand at any time. A wrong verdict costs one election. Timeouts,
// resets and unreachable hosts are no verdict: those leave it to the election timeout. Nor is a refusal by a leader that
// was never reached: a firewall between two members would make them depose each other for ever.
type leaderWatch struct {
	m    *Member
	dial func(ctx context.Context, leader uint64) (net.Conn, error)
}

func newLeaderWatch(m *Member) leaderWatch { return leaderWatch{m: m, dial: m.dialPeer} }

// turn is how long each voter waits for the one before it, so that not all stand at the same time and split the vote.
const turn = 120 * time.Millisecond

// maxTurns is how often each voter stands before it is left to the election timeout.
const maxTurns = 3

func (w leaderWatch) run(ctx context.Context) {
	server := w.m.etcd.Server
	for ctx.Err() == nil {
		changed := server.LeaderChangedNotify()
		leader := server.Lead()
		if leader == 0 || leader == w.m.ID() {
			select {
			case <-changed:
				continue
			case <-time.After(w.m.cfg.Election):
				continue // leadership may also be lost without a new leader
			case <-ctx.Done():
				return
			}
		}
		watch, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-changed:
				cancel()
			case <-watch.Done():
			}
		}()
		dead := w.awaitDeath(watch, leader)
		cancel()
		if dead {
			w.stand(ctx, leader)
		}
	}
}

// awaitDeath returns true when the leader's process is gone, false when ctx ends.
func (w leaderWatch) awaitDeath(ctx context.Context, leader uint64) bool {
	reached := false
	for ctx.Err() == nil {
		conn, err := w.dial(ctx, leader)
		switch {
		case err == nil:
			reached = true
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			// The leader never sends anything here. etcd closes idle peer connections every few seconds; a new one tells.
			_, _ = conn.Read(make([]byte, 1))
			stop()
			conn.Close()
		case reached && errors.Is(err, syscall.ECONNREFUSED):
			return true
		default:
			reached = false
			select {
			case <-time.After(w.m.cfg.Heartbeat):
			case <-ctx.Done():
			}
		}
	}
	return false
}

// dialPeer connects to a member's peer port.
func (m *Member) dialPeer(ctx context.Context, id uint64) (net.Conn, error) {
	member := m.etcd.Server.Cluster().Member(types.ID(id))
	if member == nil || len(member.PeerURLs) == 0 {
		return nil, ErrNoMember
	}
	peer, err := url.Parse(member.PeerURLs[0])
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: m.cfg.Election}
	if m.cfg.TLS == nil {
		return d.DialContext(ctx, "tcp", peer.Host)
	}
	cfg, err := m.cfg.TLS.info().ClientConfig()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, "tcp", peer.Host)
}

// stand makes this member a candidate, in its turn among the voters that are left. The first may lose, because the
// second's log is longer; then the second stands, and so on for a few rounds.
func (w leaderWatch) stand(ctx context.Context, dead uint64) {
	server := w.m.etcd.Server
	var rest []uint64
	for _, m := range server.Cluster().Members() {
		if !m.IsLearner && uint64(m.ID) != dead {
			rest = append(rest, uint64(m.ID))
		}
	}
	slices.Sort(rest)
	rank := slices.Index(rest, w.m.ID())
	if rank < 0 {
		return // a learner does not vote
	}
	changed := server.LeaderChangedNotify()
	pause := time.Duration(rank) * turn
	for range maxTurns {
		select {
		case <-time.After(pause):
		case <-changed:
			return
		case <-ctx.Done():
			return
		}
		if lead := server.Lead(); lead != 0 && lead != dead {
			return
		}
		w.m.log.Info("log: the leader's process is gone: standing for election", "leader", idString(dead), "term", server.Term())
		if err := w.timeoutNow(ctx, dead, server.Term()); err != nil {
			w.m.log.Debug("log: standing for election", "err", err)
		}
		pause = time.Duration(len(rest)) * turn
	}
}

// timeoutNow steps the message of a leader that hands over. It is void if the term has passed.
func (w leaderWatch) timeoutNow(ctx context.Context, from, term uint64) error {
	self, kind := w.m.ID(), raftpb.MsgTimeoutNow
	return w.m.etcd.Server.Process(ctx, &raftpb.Message{Type: &kind, From: &from, To: &self, Term: &term})
}

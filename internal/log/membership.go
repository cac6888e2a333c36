package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Errors of membership changes.
var (
	// ErrRemoved: the cluster removed this member.
	ErrRemoved = errors.New("member was removed from the cluster")
	// ErrQuorumAtRisk: the change would leave fewer live voters than a majority.
	ErrQuorumAtRisk = errors.New("membership change would endanger the quorum")
	// ErrChangeUnderWay: another member is joining. Changes happen one at a time.
	ErrChangeUnderWay = errors.New("another membership change is under way")
	// ErrNoMember: no member has that name.
	ErrNoMember = errors.New("no such member")
)

// quorum is the majority of n voters.
func quorum(n int) int { return n/2 + 1 }

// voters returns the names of the voters.
func voters(members []MemberInfo) []string {
	var names []string
	for _, m := range members {
		if !m.Learner {
			names = append(names, m.Name)
		}
	}
	return names
}

// decideRemove says whether member id may be removed, given which members answered just now. It is decided on what
// remains: a majority of the voters that remain must be alive, so that the cluster goes on at once.
func decideRemove(members []MemberInfo, id uint64, alive map[uint64]bool) error {
	i := slices.IndexFunc(members, func(m MemberInfo) bool { return m.ID == id })
	if i < 0 {
		return fmt.Errorf("member %x: %w", id, ErrNoMember)
	}
	if members[i].Learner {
		return nil // it has no vote
	}
	rest := slices.Delete(slices.Clone(members), i, i+1)
	live := 0
	for _, m := range rest {
		if !m.Learner && alive[m.ID] {
			live++
		}
	}
	n := len(voters(rest))
	if n == 0 {
		return fmt.Errorf("%q is the last voter: %w", members[i].Name, ErrQuorumAtRisk)
	}
	if live < quorum(n) {
		return fmt.Errorf("without %q %d of %d voters would be alive, %d are needed: bring another member back first: %w",
			members[i].Name, live, n, quorum(n), ErrQuorumAtRisk)
	}
	return nil
}

// joinPlan is what a member with an empty disk has to do to get in.
type joinPlan struct {
	remove []uint64 // earlier incarnations: what they had acknowledged is lost with their disk, so they must not vote
}

// decideJoin plans the entry of an empty member name at peerURL. Whoever bears its name or its peer URL is an earlier
// incarnation. It is never resumed: the learner gets a new ID and proves by catching up that it has everything.
func decideJoin(members []MemberInfo, name, peerURL string, alive map[uint64]bool) (joinPlan, error) {
	var p joinPlan
	for _, m := range members {
		switch {
		case m.Name == name || slices.Contains(m.PeerURLs, peerURL):
			if alive[m.ID] {
				return p, fmt.Errorf("member %q (%x) is alive at %s: two processes have one name: %w",
					name, m.ID, strings.Join(m.ClientURLs, " "), ErrChangeUnderWay)
			}
			if err := decideRemove(members, m.ID, alive); err != nil {
				return p, err
			}
			p.remove = append(p.remove, m.ID)
		case m.Learner || m.Name == "":
			return p, fmt.Errorf("member %x at %s is joining: wait for it or remove it: %w",
				m.ID, strings.Join(m.PeerURLs, " "), ErrChangeUnderWay)
		}
	}
	return p, nil
}

// Members implements Log.
func (l *EtcdLog) Members(ctx context.Context) ([]MemberInfo, error) {
	var members []MemberInfo
	err := l.retry(ctx, "list members", func(ctx context.Context) (err error) {
		members, err = listMembers(ctx, l.cli)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return members, nil
}

func listMembers(ctx context.Context, cli *clientv3.Client) ([]MemberInfo, error) {
	resp, err := cli.MemberList(ctx) // linearizable
	if err != nil {
		return nil, err
	}
	var members []MemberInfo
	for _, m := range resp.Members {
		members = append(members, MemberInfo{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner,
		})
	}
	slices.SortFunc(members, func(a, b MemberInfo) int { return strings.Compare(a.Name, b.Name) })
	return members, nil
}

// admin changes the membership through a client: in-process, or of another member while this one is not part of the
// cluster yet.
type admin struct {
	cli *clientv3.Client
	tls *TLSFiles
}

// RemoveMember removes a member that is gone for good, named by its name. It refuses when that would endanger the
// quorum. It repeats until ctx ends while etcd says that the cluster is unhealthy: etcd wants a majority to have been
// connected for five seconds.
func (m *Member) RemoveMember(ctx context.Context, name string) error {
	a := admin{cli: m.cli, tls: m.cfg.TLS}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.remove(ctx, name)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("log: remove member %q: %w", name, err)
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// Leave takes this member out of the cluster for good: leadership is handed over, then the member removed. Close it
// afterwards; its DataDir is of no further use.
func (m *Member) Leave(ctx context.Context) error {
	if err := (embedded{m}).moveLeader(ctx); err != nil {
		return err
	}
	err := m.RemoveMember(ctx, m.cfg.Name)
	if !errors.Is(err, rpctypes.ErrStopped) {
		return err
	}
	// The removal may be applied, and the server stop, before the answer is out.
	select {
	case <-m.done:
		if errors.Is(m.err, ErrRemoved) {
			return nil
		}
	case <-ctx.Done():
	}
	return err
}

func (a admin) remove(ctx context.Context, name string) error {
	members, err := listMembers(ctx, a.cli)
	if err != nil {
		return fmt.Errorf("list members: %w", err)
	}
	i := slices.IndexFunc(members, func(i MemberInfo) bool { return i.Name == name })
	if i < 0 {
		return ErrNoMember
	}
	if err := decideRemove(members, members[i].ID, a.alive(ctx, members)); err != nil {
		return err
	}
	_, err = a.cli.MemberRemove(ctx, members[i].ID)
	return err
}

// alive asks every member at its client URLs, at the same time.
func (a admin) alive(ctx context.Context, members []MemberInfo) map[uint64]bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	type answer struct {
		id uint64
		ok bool
	}
	answers := make(chan answer, len(members))
	for _, m := range members {
		go func() {
			answers <- answer{m.ID, a.answers(ctx, m)}
		}()
	}
	alive := make(map[uint64]bool)
	for range members {
		if r := <-answers; r.ok {
			alive[r.id] = true
		}
	}
	return alive
}

func (a admin) answers(ctx context.Context, m MemberInfo) bool {
	if len(m.ClientURLs) == 0 {
		return false
	}
	cli, err := newClient(m.ClientURLs, a.tls, "", "", time.Second)
	if err != nil {
		return false
	}
	defer cli.Close()
	resp, err := cli.Status(ctx, m.ClientURLs[0])
	return err == nil && resp.Header.MemberId == m.ID
}

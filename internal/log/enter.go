package log

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// entry is how a member without data comes into a cluster.
type entry struct {
	state   string            // etcd's initial-cluster-state
	cluster map[string]string // etcd's initial-cluster
	learner bool
}

// enter brings a member with an empty disk to the point where etcd can be started.
func (m *Member) enter(ctx context.Context, before found) (entry, error) {
	if err := setAside(m.cfg.DataDir); err != nil {
		return entry{}, err
	}
	joins := before.started || !m.cfg.Bootstrap
	if !joins {
		var err error
		if joins, err = m.meet(ctx); err != nil {
			return entry{}, err
		}
	}
	if !joins {
		return entry{state: embed.ClusterStateFlagNew, cluster: m.cfg.InitialCluster}, nil
	}
	cluster, err := m.join(ctx)
	if err != nil {
		return entry{}, err
	}
	return entry{state: embed.ClusterStateFlagExisting, cluster: cluster, learner: true}, nil
}

// setAside moves remains of a member without a write-ahead log out of the way: a store without its log is the past, and
// etcd would start from it. Nothing is deleted.
func setAside(dir string) error {
	old := filepath.Join(dir, "member")
	if _, err := os.Stat(old); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for i := 1; ; i++ {
		aside := fmt.Sprintf("%s.aside-%d", old, i)
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			if err := os.Rename(old, aside); err != nil {
				return fmt.Errorf("set remains of a lost member aside: %w", err)
			}
			return nil
		}
	}
}

// peerView is what another member of the initial cluster shows on its peer URL.
type peerView struct {
	fresh   bool // an empty member that waits as we do
	running bool // an etcd member, of the cluster with these members
	members []peerMember
}

func (v peerView) heard() bool { return v.fresh || v.running }

type peerMember struct {
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
}

type verdict int

const (
	entryWait      verdict = iota // somebody has not been heard of
	entryBootstrap                // all are empty, or just bootstrapped without us having taken part yet
	entryJoin                     // a cluster exists that we are not, or no longer, part of
)

// decideEntry says what an empty member that may bootstrap does, given what the other initial members show. Static
// bootstrap gives a member the same identity every time, so bootstrapping again after a lost disk would make it an
// amnesiac voter. A member that ever came up has published its client URLs; seeing ours means that we lost our disk.
// With somebody unheard of we can't know, and wait: a first start needs all members.
func decideEntry(self string, others map[string]peerView) verdict {
	v := entryBootstrap
	for _, view := range others {
		switch {
		case view.running:
			i := slices.IndexFunc(view.members, func(m peerMember) bool { return m.Name == self })
			if i < 0 || len(view.members[i].ClientURLs) > 0 {
				return entryJoin
			}
		case !view.fresh:
			v = entryWait
		}
	}
	return v
}

// freshHeader names the cluster's token in the answers of a member that waits to bootstrap.
const freshHeader = "Zonekeeper-Fresh"

// meet waits until it is known of every other initial member whether it is empty too. Meanwhile it answers the others'
// question on the peer URL, where etcd does not listen yet.
func (m *Member) meet(ctx context.Context) (joins bool, err error) {
	others := maps.Clone(m.cfg.InitialCluster)
	delete(others, m.cfg.Name)
	if len(others) == 0 {
		return false, nil
	}
	stop, err := m.answerFresh()
	if err != nil {
		return false, err
	}
	defer stop()
	tr, err := transport.NewTransport(m.cfg.TLS.info(), time.Second)
	if err != nil {
		return false, fmt.Errorf("peer TLS: %w", err)
	}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Second}

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	views := make(map[string]peerView)
	for round := 0; ; round++ {
		var missing []string
		for name, u := range others {
			// Who was heard of once stays heard of: it may be between its last answer as an empty member and its etcd's
			// first.
			if v := lookAt(ctx, client, u, m.cfg.Token); v.heard() || !views[name].heard() {
				views[name] = v
			}
			if !views[name].heard() {
				missing = append(missing, name)
			}
		}
		switch decideEntry(m.cfg.Name, views) {
		case entryBootstrap:
			return false, nil
		case entryJoin:
			m.log.Warn("log: the cluster exists and this disk is empty: joining as a new member")
			return true, nil
		case entryWait:
		}
		if round%100 == 20 {
			m.log.Info("log: waiting for the other members of a new cluster", "missing", strings.Join(missing, " "))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, fmt.Errorf("bootstrap: members %s were not heard of; a first start needs all of them: %w",
				strings.Join(missing, ", "), ctx.Err())
		}
	}
}

func (m *Member) answerFresh() (stop func(), err error) {
	u, err := url.Parse(cmp.Or(m.cfg.ListenPeerURL, m.cfg.PeerURL))
	if err != nil {
		return nil, err
	}
	tls := m.cfg.TLS.info()
	ln, err := transport.NewListener(u.Host, u.Scheme, &tls)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", u, err)
	}
	srv := &http.Server{
		ReadHeaderTimeout: 2 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(freshHeader, m.cfg.Token)
			w.WriteHeader(http.StatusServiceUnavailable)
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			m.log.Warn("log: answering other new members", "err", err)
		}
	}()
	return func() {
		srv.Close()
		<-served
	}, nil
}

// lookAt asks one member on its peer URL. No answer gives the zero view.
func lookAt(ctx context.Context, client *http.Client, peerURL, token string) peerView {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peerURL+"/members", nil)
	if err != nil {
		return peerView{}
	}
	resp, err := client.Do(req)
	if err != nil {
		return peerView{}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return peerView{fresh: resp.Header.Get(freshHeader) == token}
	}
	v := peerView{running: true}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&v.members); err != nil {
		return peerView{}
	}
	return v
}

// join has the cluster replace whatever was here before by a new learner, and returns the members to start with. It
// repeats until ctx ends: a quorum may be just coming back.
func (m *Member) join(ctx context.Context) (map[string]string, error) {
	var endpoints []string
	for _, name := range slices.Sorted(maps.Keys(m.cfg.Peers)) {
		if name != m.cfg.Name {
			endpoints = append(endpoints, m.cfg.Peers[name])
		}
	}
	if len(endpoints) == 0 {
		return nil, errors.New("the disk is empty and no other member is configured: set Peers to join a running cluster, " +
			"or Bootstrap to create one")
	}
	cli, err := newClient(endpoints, m.cfg.TLS, "", "", 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer cli.Close()
	a := admin{cli: cli, tls: m.cfg.TLS}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		cluster, err := a.admit(ctx, m.cfg.Name, m.cfg.PeerURL)
		if err == nil {
			return cluster, nil
		}
		m.log.Warn("log: not admitted yet", "err", err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("join through %s: %w (%w)", strings.Join(endpoints, " "), err, ctx.Err())
		}
	}
}

// admit is one attempt to make room for and add the learner.
func (a admin) admit(ctx context.Context, name, peerURL string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	members, err := listMembers(ctx, a.cli)
	if err != nil {
		return nil, fmt.Errorf("list members: no quorum answers: %w", err)
	}
	plan, err := decideJoin(members, name, peerURL, a.alive(ctx, members))
	if err != nil {
		return nil, err
	}
	for _, id := range plan.remove {
		if _, err := a.cli.MemberRemove(ctx, id); err != nil {
			return nil, fmt.Errorf("remove the earlier incarnation %x: %w", id, err)
		}
	}
	resp, err := a.cli.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return nil, fmt.Errorf("add learner: %w", err)
	}
	cluster := make(map[string]string)
	for _, member := range resp.Members {
		n := member.Name
		if member.ID == resp.Member.ID {
			n = name
		}
		if n == "" || len(member.PeerURLs) == 0 {
			return nil, fmt.Errorf("member %x has not started: %w", member.ID, ErrChangeUnderWay)
		}
		cluster[n] = member.PeerURLs[0]
	}
	return cluster, nil
}

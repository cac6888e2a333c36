package log

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
)

// MemberConfig describes an embedded etcd member. Start from DefaultMemberConfig.
type MemberConfig struct {
	// Name is the member's stable name, unique in the cluster: the replica's name.
	Name string
	// DataDir belongs to this member alone. An empty one makes it a new member.
	DataDir string

	// PeerURL and ClientURL are what the member advertises. The listen URLs are what it binds; empty: the same.
	PeerURL, ListenPeerURL     string
	ClientURL, ListenClientURL string

	// InitialCluster maps the names of the cluster's first members, this one included, to their peer URLs.
	InitialCluster map[string]string
	// Token is minted once for each cluster; members of different clusters refuse one another.
	Token string
	// Bootstrap permits this member to create the cluster together with the other members of InitialCluster, if they
	// all are empty too. Where it is false, an empty member joins a running cluster.
	Bootstrap bool
	// Peers maps names to client URLs of other members: whom an empty member asks to admit it.
	Peers map[string]string

	// TLS secures peer and client connections, both ways; nil only on loopback.
	TLS *TLSFiles

	// Heartbeat is etcd's tick; Election its election timeout. See DefaultMemberConfig for how they were chosen.
	Heartbeat, Election time.Duration
	// FastFailover lets a follower stand for election at once when the leader's host refuses connections, that is when
	// its process is gone, instead of after Election.
	FastFailover bool

	// QuotaBytes bounds the store's file; etcd raises NOSPACE there.
	QuotaBytes int64
	// Housekeeping is how often the member looks whether its store's file can be made smaller; see decideReclaim.
	Housekeeping time.Duration
	// MaxRequestBytes bounds one request; it must exceed Config.MaxRecordBytes.
	MaxRequestBytes uint
	// SnapshotEntries is how many raft entries stay in memory and in the write-ahead log before they are dropped in
	// favour of a snapshot; CatchUpEntries of them are kept for followers that lag.
	SnapshotEntries, CatchUpEntries uint64

	Logger *slog.Logger `json:"-"`
}

// DefaultMemberConfig returns the measured settings.
//
// The election timeout must exceed a 500 ms stall of the leader's fsync: etcd's raft loop neither ticks nor sends
// heartbeats while it waits for its disk. A timeout short enough for a failover below 600 ms would therefore elect on
// every stall, so the two are decoupled: 700 ms tolerates the stall (followers vote after 700 to 1,400 ms of silence,
// which covers a hung or cut-off leader), and FastFailover covers the leader whose process died.
func DefaultMemberConfig() MemberConfig {
	return MemberConfig{
		Heartbeat:       50 * time.Millisecond,
		Election:        700 * time.Millisecond,
		FastFailover:    true,
		QuotaBytes:      2 << 30,
		Housekeeping:    15 * time.Second,
		MaxRequestBytes: 3 << 19, // 1.5 MiB
		SnapshotEntries: 1000,
		CatchUpEntries:  1000,
		Logger:          slog.New(slog.DiscardHandler),
	}
}

// TLSFiles are PEM files, used for both directions: peers and clients must show a certificate that CA signed.
type TLSFiles struct{ CA, Cert, Key string }

func (t *TLSFiles) info() transport.TLSInfo {
	if t == nil {
		return transport.TLSInfo{}
	}
	return transport.TLSInfo{CertFile: t.Cert, KeyFile: t.Key, TrustedCAFile: t.CA, ClientCertAuth: true,
		// The CA says who is a member. etcd would moreover look up the names in a member's certificate and want the address it calls
		// from: after a pod has moved, DNS gives the old one for as long as it is cached.
		SkipClientSANVerify: true}
}

// Validate names every setting that is wrong.
func (c MemberConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("log: member: "+format, args...)) }
	if err := checkName(c.Name); err != nil {
		errs = append(errs, err)
	}
	if c.DataDir == "" {
		bad("DataDir is empty: name a directory of this member's own")
	}
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
		if c.TLS.CA == "" || c.TLS.Cert == "" || c.TLS.Key == "" {
			bad("TLS needs CA, Cert and Key")
		}
	}
	check := func(what, s string) {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			bad("%s %q: %v", what, s, err)
		case u.Scheme != scheme || u.Port() == "" || u.Path != "":
			bad("%s %q: must be %s://host:port", what, s, scheme)
		}
	}
	check("PeerURL", c.PeerURL)
	for _, u := range []struct{ what, s string }{
		{"ListenPeerURL", c.ListenPeerURL}, {"ClientURL", c.ClientURL}, {"ListenClientURL", c.ListenClientURL},
	} {
		if u.s != "" {
			check(u.what, u.s)
		}
	}
	for name, u := range c.Peers {
		check("Peers["+name+"]", u)
	}
	for name, u := range c.InitialCluster {
		check("InitialCluster["+name+"]", u)
	}
	if c.Bootstrap && c.InitialCluster[c.Name] != c.PeerURL {
		bad("InitialCluster has %q for %q: must be PeerURL %q", c.InitialCluster[c.Name], c.Name, c.PeerURL)
	}
	if c.Token == "" {
		bad("Token is empty: mint one for each cluster")
	}
	if c.Heartbeat < time.Millisecond || c.Election < 5*c.Heartbeat {
		bad("Election %v with Heartbeat %v: must be at least five heartbeats", c.Election, c.Heartbeat)
	}
	if c.Housekeeping <= 0 {
		bad("Housekeeping %v: must be positive", c.Housekeeping)
	}
	if c.QuotaBytes < 16<<20 {
		bad("QuotaBytes %d: must be at least 16 MiB", c.QuotaBytes)
	}
	if c.MaxRequestBytes < 4096 || c.SnapshotEntries == 0 || c.CatchUpEntries == 0 {
		bad("MaxRequestBytes %d, SnapshotEntries %d, CatchUpEntries %d: too small", c.MaxRequestBytes, c.SnapshotEntries, c.CatchUpEntries)
	}
	if c.Logger == nil {
		bad("Logger is nil: pass slog.New(slog.DiscardHandler) for silence")
	}
	return errors.Join(errs...)
}

// embedConfig renders the member's etcd configuration. state is embed.ClusterStateFlagNew or …Existing; etcd looks at
// it and at cluster only when DataDir is empty.
func (c MemberConfig) embedConfig(state string, cluster map[string]string) *embed.Config {
	e := embed.NewConfig()
	e.Name = c.Name
	e.Dir = c.DataDir
	e.ClusterState = state
	e.InitialCluster = clusterString(cluster)
	e.InitialClusterToken = c.Token
	e.AdvertisePeerUrls = urls(c.PeerURL)
	e.ListenPeerUrls = urls(cmp.Or(c.ListenPeerURL, c.PeerURL))
	e.AdvertiseClientUrls = urls(c.ClientURL)
	e.ListenClientUrls = urls(cmp.Or(c.ListenClientURL, c.ClientURL))
	e.PeerTLSInfo = c.TLS.info()
	e.ClientTLSInfo = c.TLS.info()

	e.TickMs = uint(c.Heartbeat.Milliseconds())
	e.ElectionMs = uint(c.Election.Milliseconds())
	e.PreVote = true
	// Fast-forwarded ticks would let a restarting follower stand for election before it has heard the leader.
	e.InitialElectionTickAdvance = len(cluster) <= 1

	e.QuotaBackendBytes = c.QuotaBytes
	e.MaxRequestBytes = c.MaxRequestBytes
	e.SnapshotCount = c.SnapshotEntries
	e.SnapshotCatchUpEntries = c.CatchUpEntries
	e.BackendFreelistType = "map" // constant-time allocation in a store that frees much at each compaction
	// Compaction is the replicas' decision alone: history that no checkpoint holds must not expire.
	e.AutoCompactionMode = embed.CompactorModeRevision
	e.AutoCompactionRetention = "0"
	e.StrictReconfigCheck = true
	e.EnableGRPCGateway = false
	// The leader compares the members' stores at every compaction and raises CORRUPT when one differs.
	gate := features.NewDefaultServerFeatureGate(c.Name, nil)
	if m, ok := gate.(featuregate.MutableFeatureGate); ok {
		if err := m.SetFromMap(map[string]bool{string(features.CompactHashCheck): true}); err != nil {
			c.Logger.Warn("log: this etcd has no compaction hash check", "err", err)
		}
	}
	e.ServerFeatureGate = gate
	return e
}

// urls parses a URL that Validate accepted; "" gives none.
func urls(s string) []url.URL {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil
	}
	return []url.URL{*u}
}

// clusterString renders etcd's --initial-cluster, ordered.
func clusterString(cluster map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(cluster)) {
		parts = append(parts, name+"="+cluster[name])
	}
	return strings.Join(parts, ",")
}

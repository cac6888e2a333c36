package primary

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/log"
	"github.com/zonekeeper/zonekeeper/internal/named"
)

// status is the cluster as this primary sees it.
func (a *admin) status(r *http.Request) (adminapi.Status, error) {
	own, err := a.replicaStatus(r)
	if err != nil {
		return adminapi.Status{}, err
	}
	own.Reachable = true
	out := adminapi.Status{Replica: a.p.cfg.Name, Replicas: append(a.p.peers.statuses(r.Context()), own)}
	slices.SortFunc(out.Replicas, func(x, y adminapi.ReplicaStatus) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range out.Replicas {
		if s.Leader {
			out.Leader = s.Name
		}
	}
	out.Secondaries = a.p.hub.describe(registeredSecondaries(a.p.replica.Settings()))
	troubles := append(judge(out), judgeSecondaries(out)...)
	out.Healthy = len(troubles) == 0
	out.Summary = fmt.Sprintf("healthy: %d of %d primaries ready, %d zones", len(out.Replicas), len(out.Replicas), len(own.Zones))
	if n := len(out.Secondaries); n > 0 {
		out.Summary += fmt.Sprintf(", %d secondaries", n)
	}
	if !out.Healthy {
		out.Summary = strings.Join(troubles, "; ")
	}
	return out, nil
}

// maxHealthyLag is the publish lag above which a replica is not healthy.
const maxHealthyLag = time.Second

// judge lists what is wrong with a cluster; nothing when it is healthy.
func judge(s adminapi.Status) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	type version struct {
		zone   string
		serial uint32
	}
	digests := make(map[version]string)
	for _, r := range s.Replicas {
		switch {
		case !r.Reachable:
			bad("%s is not reachable (%s)", r.Name, r.Reason)
			continue
		case !r.Ready:
			bad("%s is not ready: %s", r.Name, r.Reason)
		case r.NoWrites != "":
			bad("%s takes no updates: %s", r.Name, r.NoWrites)
		case !r.Named.Running:
			bad("%s: named is not running: %s", r.Name, r.Named.LastError)
		case time.Duration(r.PublishLagMS)*time.Millisecond > maxHealthyLag:
			bad("%s: named is %d ms behind", r.Name, r.PublishLagMS)
		}
		if r.CheckpointError != "" {
			bad("%s: checkpoint: %s", r.Name, r.CheckpointError)
		}
		for _, z := range r.Zones {
			v := version{z.Name, z.Serial}
			if d, ok := digests[v]; ok && d != z.Digest {
				bad("zone %s differs between replicas at serial %d: stop writing and keep all data", z.Name, z.Serial)
			}
			digests[v] = z.Digest
			if z.LastError != "" {
				bad("%s: zone %s: %s", r.Name, z.Name, z.LastError)
			}
		}
	}
	return out
}

// Above these a secondary is not healthy.
const (
	maxSecondaryLag  = 5 * time.Second
	maxSecondarySkew = 5 * time.Second // a signature is good for 300 s, and the difference grows
)

// judgeSecondaries lists what is wrong with our secondaries. Foreign ones are somebody else's to judge: all that is known of
// them is whether they acknowledge NOTIFY.
func judgeSecondaries(s adminapi.Status) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, x := range s.Secondaries {
		if x.Foreign {
			continue
		}
		st := x.Status
		if !x.Connected || st == nil {
			bad("secondary %s is not connected to %s%s", x.Name, s.Replica, lastSeen(x.LastSeen))
			continue
		}
		if !st.Ready {
			bad("secondary %s is not ready: %s", x.Name, st.Reason)
		}
		if h := st.Held; h != nil {
			bad("secondary %s holds back version %d of the catalog, which would remove %d of %d zones; if that is intended: zonekeeper catalog confirm --serial %d",
				x.Name, h.Serial, h.Removed, h.Members, h.Serial)
		}
		lag := st.LagMS
		for _, z := range x.Behind {
			lag = max(lag, z.LagMS)
		}
		if time.Duration(lag)*time.Millisecond > maxSecondaryLag {
			bad("secondary %s is %d ms behind", x.Name, lag)
		}
		if skew := time.Duration(st.SkewMS) * time.Millisecond; skew.Abs() > maxSecondarySkew {
			bad("the clock of secondary %s is %s off: mend its time synchronisation", x.Name, skew)
		}
	}
	return out
}

func lastSeen(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "; last seen at " + t.UTC().Format(time.RFC3339)
}

// replicaStatus is this primary's own part.
func (a *admin) replicaStatus(r *http.Request) (adminapi.ReplicaStatus, error) {
	p := a.p
	rs := p.replica.Status()
	out := adminapi.ReplicaStatus{
		Name: p.cfg.Name, AppliedIndex: rs.Applied, LogIndex: rs.Applied, CheckpointIndex: rs.Checkpoint,
		Version: p.version, Uptime: time.Since(p.started).Round(time.Second).String(),
		DNS: p.cfg.DNS.Listen, NamedDNS: p.cfg.Named.Listen, Admin: p.cfg.Admin.Listen, PID: os.Getpid(),
	}
	if err := p.notReady(); err != nil {
		out.Reason = err.Error()
	} else {
		out.Ready = true
	}
	if err := p.space.refuse(); err != nil {
		out.NoWrites = err.Error()
	} else if err := p.lag.verdict.Load().Throttle.Refuse; err != nil {
		out.NoWrites = err.Error()
	}
	out.CheckpointError = rs.CheckpointError
	if st, err := p.elog.Status(r.Context()); err == nil {
		out.Leader = st.IsLeader
		out.LogIndex = max(out.LogIndex, min(st.Revision, out.AppliedIndex))
	}
	out.Named = namedStatus(p.named)
	out.PublishLagMS = p.publisher.Lag().Age.Milliseconds()
	out.Zones = a.zoneStatuses()
	return out, nil
}

func namedStatus(s *named.Server) adminapi.NamedStatus {
	st, _ := s.Watch()
	return adminapi.NamedStatus{
		Running: st.Phase == named.Running, PID: st.PID, Version: s.Build().String(), Restarts: int(st.Exits), LastError: st.LastExit,
	}
}

func (a *admin) zoneStatuses() []adminapi.ZoneStatus {
	m := a.p.replica.Machine()
	out := []adminapi.ZoneStatus{}
	m.Settings().Zones(func(c *fsm.ZoneConfig) bool {
		v, ok := m.Zone(c.ID)
		if !ok {
			return true
		}
		z := adminapi.ZoneStatus{Name: c.ID.Name.String(), Serial: v.Zone.Serial(), Records: v.Zone.Records(), Digest: v.Zone.Digest().String()}
		if ps, ok := a.p.publisher.Status(c.ID); ok {
			z.PublishedSerial, z.State, z.LastError = ps.Serial, ps.State, ps.LastError
		}
		out = append(out, z)
		return true
	})
	return out
}

// clock is the clock of this primary's machine, for its peers: it is what they compare theirs with.
func (a *admin) clock(*http.Request) (adminapi.Clock, error) {
	return adminapi.Clock{UnixMS: time.Now().UnixMilli(), DiskFull: a.p.space.full.Load(), Publishing: a.p.lag.publishing()}, nil
}

// checkpoint streams the newest durable checkpoint to a peer.
func (a *admin) checkpoint(w http.ResponseWriter, _ *http.Request) {
	f, index, err := a.p.replica.Checkpoint()
	if errors.Is(err, fs.ErrNotExist) {
		writeError(w, &adminapi.Error{Code: adminapi.CodeNotFound, Message: "this replica has no checkpoint yet"})
		return
	}
	if err != nil {
		writeError(w, err)
		return
	}
	defer f.Close()
	w.Header().Set(adminapi.HeaderIndex, strconv.FormatUint(index, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(w, f); err != nil {
		a.log.Warn("a checkpoint for a peer was cut off", "index", index, "err", err) // its digest tells the peer
	}
}

// members lists the voters and learners of the log.
func (a *admin) members(r *http.Request) ([]adminapi.Member, error) {
	list, err := a.p.elog.Members(r.Context())
	if err != nil {
		return nil, err
	}
	st, err := a.p.elog.Status(r.Context())
	if err != nil {
		return nil, err
	}
	out := make([]adminapi.Member, 0, len(list))
	for _, m := range list {
		out = append(out, adminapi.Member{
			Name: m.Name, ID: strconv.FormatUint(m.ID, 16), PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs,
			Leader: m.ID == st.LeaderID, Learner: m.Learner,
		})
	}
	return out, nil
}

func (a *admin) removeMember(r *http.Request) (struct{}, error) {
	name := r.PathValue("name")
	if a.p.member == nil {
		return struct{}{}, &adminapi.Error{Code: adminapi.CodeConflict, Message: "the log is an external etcd",
			Remedy: "change its members with its own tools"}
	}
	err := a.p.member.RemoveMember(r.Context(), name)
	switch {
	case errors.Is(err, log.ErrNoMember):
		return struct{}{}, &adminapi.Error{Code: adminapi.CodeNotFound, Message: fmt.Sprintf("there is no member %q", name),
			Remedy: "list what there is with: zonekeeper member list"}
	case err != nil:
		return struct{}{}, &adminapi.Error{Code: adminapi.CodeConflict, Message: err.Error()}
	}
	return struct{}{}, nil
}

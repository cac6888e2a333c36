package front

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/front/checks"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/vip"
)

// status is what a person asks for: this node, and how both halves of it see the primaries.
func (f *front) status(ctx context.Context) adminapi.FrontStatus {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	servers, err := f.haproxy.Stat(ctx)
	if err != nil {
		f.log.Debug("HAProxy's states are unknown", "err", err)
	}
	f.mu.Lock()
	s := f.m.status(servers)
	s.VIP.Strangers = f.strangers.filtered + f.strangers.passed
	for _, a := range f.strangers.from {
		s.VIP.StrangersFrom = append(s.VIP.StrangersFrom, a.String())
	}
	f.mu.Unlock()
	s.Name, s.Version, s.Mode = f.cfg.Name, f.version, string(f.cfg.Mode)
	if since, why := f.source.Stale(); !since.IsZero() {
		s.Stale = fmt.Sprintf("since %s: %v", since.UTC().Format(time.RFC3339), why)
	}
	s.Children = []adminapi.FrontChild{{Name: "haproxy", PID: f.haproxy.PID(), Restarts: f.ends.Load()}}
	s.Limits = f.limitsHit(servers)
	if f.keepalived == nil {
		s.VIP = nil
		return s
	}
	s.Children = append(s.Children, adminapi.FrontChild{Name: "keepalived", PID: f.keepalived.PID(), Restarts: f.keepalived.Restarts()})
	held, err := vip.Held(f.cfg.VIP.Interface, f.set.vips)
	if err != nil {
		f.log.Warn("the interface's addresses are unknown", "err", err)
	}
	for _, a := range held {
		s.VIP.Held = append(s.VIP.Held, a.String())
	}
	return s
}

// status is the model's part of it.
func (m *model) status(servers []haproxy.Server) adminapi.FrontStatus {
	s := adminapi.FrontStatus{Score: m.score, Primaries: []adminapi.FrontPrimary{}, VIP: &adminapi.FrontVIP{State: m.vip.String(), Since: m.vipSince, Held: []string{}}}
	for _, part := range slices.Sorted(maps.Keys(m.faults)) {
		s.Faults = append(s.Faults, adminapi.FrontFault{Part: part, Reason: m.faults[part]})
	}
	ready := 0
	for _, p := range m.primaries {
		c := m.states[p.Name]
		fp := adminapi.FrontPrimary{Name: p.Name, Address: p.Addr.String(), State: c.State.String(), Reason: c.Reason}
		if c.Name == "" {
			fp.Reason = "it has not been asked yet"
		}
		if c.State == checks.Ready {
			ready++
		}
		for _, x := range servers {
			if x.Backend == haproxy.Backend && x.Name == p.Name {
				fp.HAProxy, fp.HAProxyReason = x.Status, x.Reason
			}
		}
		s.Primaries = append(s.Primaries, fp)
	}
	switch {
	case len(s.Faults) > 0:
		s.Summary = m.local()
	case len(m.primaries) == 0:
		s.Summary = "no primary is known yet"
	case ready == 0:
		s.Summary = "no primary is ready: " + strings.Join(reasons(s.Primaries), "; ")
	default:
		s.Healthy = true
		s.Summary = fmt.Sprintf("this node works; %d of %d primaries are ready", ready, len(m.primaries))
	}
	return s
}

func reasons(list []adminapi.FrontPrimary) (out []string) {
	for _, p := range list {
		out = append(out, p.Name+": "+p.Reason)
	}
	return out
}

// limitsHit counts what was turned away: UDP by the relay's limits, TCP by HAProxy's of its current process.
func (f *front) limitsHit(servers []haproxy.Server) map[string]int64 {
	hit := map[string]int64{}
	for _, x := range servers {
		if x.Backend == haproxy.Frontend && x.Failed > 0 {
			hit["tcp"] = x.Failed
		}
	}
	families, err := f.registry.Gather()
	if err != nil {
		f.log.Warn("the relay's limits are unknown", "err", err)
	}
	for _, family := range families {
		if family.GetName() != "zonekeeper_relay_limited_total" {
			continue
		}
		for _, x := range family.GetMetric() {
			for _, l := range x.GetLabel() {
				if n := x.GetCounter().GetValue(); n > 0 {
					hit["udp "+l.GetValue()] = int64(n)
				}
			}
		}
	}
	return hit
}

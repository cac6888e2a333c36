package primary

import (
	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/replica"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// settingsView shows the replicated settings to the endpoint. It implements endpoint.Settings.
type settingsView struct{ ring }

// Generation implements endpoint.Settings.
func (v settingsView) Generation() uint64 { return v.settings.Generation }

// Zone implements endpoint.Settings.
func (v settingsView) Zone(name zone.Name) (endpoint.Zone, bool) {
	return endpointZone(v.settings.Zone(fsm.ZoneID{Name: name}))
}

// Enclosing implements endpoint.Settings.
func (v settingsView) Enclosing(name zone.Name) (endpoint.Zone, bool) {
	return endpointZone(v.settings.Enclosing("", name))
}

// Secondary implements endpoint.Settings.
func (v settingsView) Secondary(key zone.Name) bool { return v.settings.SecondaryKey(key) }

// Rate implements endpoint.Settings.
func (v settingsView) Rate(key zone.Name) (group string, perSecond int) {
	k := v.settings.Key(key)
	if k == nil {
		return "", 0
	}
	return k.Rate.Group, int(k.Rate.PerSecond)
}

// sink hands the effects of the log on: to the publisher and, of updates that other primaries took, to the endpoint's quotas.
type sink struct {
	replica.Sink
	name   string
	charge func(group string, updates int)
}

// Applied implements replica.Sink.
func (s sink) Applied(effects []fsm.Effects) {
	for _, e := range effects {
		if e.Replica == s.name {
			continue // the endpoint counted them when it took them
		}
		for _, r := range e.Rated {
			s.charge(r.Group, r.Updates)
		}
	}
	s.Sink.Applied(effects)
}

func endpointZone(c *fsm.ZoneConfig) (endpoint.Zone, bool) {
	if c == nil {
		return endpoint.Zone{}, false
	}
	return endpoint.Zone{
		ID: c.ID, Policy: c.Policy, AllowUpdate: c.AllowUpdate, AllowQuery: c.AllowQuery, AllowTransfer: c.AllowTransfer,
		LocalReads: c.Settings.LocalReads,
	}, true
}

package primary

import (
	"github.com/zonekeeper/zonekeeper/internal/endpoint"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
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

func endpointZone(c *fsm.ZoneConfig) (endpoint.Zone, bool) {
	if c == nil {
		return endpoint.Zone{}, false
	}
	return endpoint.Zone{
		ID: c.ID, Policy: c.Policy, AllowUpdate: c.AllowUpdate, AllowQuery: c.AllowQuery, AllowTransfer: c.AllowTransfer,
		LocalReads: c.Settings.LocalReads,
	}, true
}

package primary

import (
	"context"
	"fmt"
	"math"
	"net/http"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// defaultCatalog is the name of a catalog that nobody named. "invalid" is in no public tree of names (RFC 6761).
const defaultCatalog = zone.Name("\x07catalog\x0azonekeeper\x07invalid\x00")

// handleSecondaries adds what the admin API has about secondaries, the catalog and guarantees.
func (a *admin) handleSecondaries(mux router) {
	mux.HandleFunc("GET "+adminapi.PathSecondaries, reply(a.secondaries))
	mux.HandleFunc("PUT "+adminapi.PathSecondary, reply(a.putSecondary))
	mux.HandleFunc("DELETE "+adminapi.PathSecondary, reply(a.deleteSecondary))
	mux.HandleFunc("GET "+adminapi.PathCatalog, reply(a.catalog))
	mux.HandleFunc("PUT "+adminapi.PathCatalog, reply(a.createCatalog))
	mux.HandleFunc("POST "+adminapi.PathCatalogConfirm, reply(a.confirmCatalog))
	mux.HandleFunc("PUT "+adminapi.PathKeyGuarantee, reply(a.setKeyGuarantee))
	mux.HandleFunc("PUT "+adminapi.PathKeyRate, reply(a.setKeyRate))
}

func (a *admin) secondaries(r *http.Request) ([]adminapi.Secondary, error) {
	if err := a.fresh(r.Context()); err != nil {
		return nil, err
	}
	return a.p.hub.describe(registeredSecondaries(a.p.replica.Settings())), nil
}

// registeredSecondaries lists the registrations, by name.
func registeredSecondaries(s *fsm.Settings) []adminapi.Secondary {
	out := []adminapi.Secondary{}
	s.Secondaries(func(x *fsm.Secondary) bool {
		v := adminapi.Secondary{Name: x.Name, Key: x.Key.String(), Foreign: x.Foreign}
		for _, addr := range x.Notify {
			v.Notify = append(v.Notify, addr.String())
		}
		out = append(out, v)
		return true
	})
	return out
}

// putSecondary registers a secondary. The first one brings the catalog with it, because that is what it follows.
func (a *admin) putSecondary(r *http.Request) (struct{}, error) {
	req, err := decode[adminapi.Secondary](r)
	if err != nil {
		return struct{}{}, err
	}
	name := r.PathValue("name")
	if req.Name != "" && req.Name != name {
		return struct{}{}, invalid("secondary %s: the request's body is about %q", name, req.Name)
	}
	key, err := parseName(req.Key)
	if err != nil {
		return struct{}{}, invalid("secondary %s: its key: %v", name, err)
	}
	cmd := &fsm.PutSecondary{Name: name, Key: key, Notify: req.Notify, Foreign: req.Foreign, Actor: actorOf(r.Context())}
	if err := cmd.Check(); err != nil {
		return struct{}{}, invalid("%v", err)
	}
	if err := a.fresh(r.Context()); err != nil {
		return struct{}{}, err
	}
	s := a.p.replica.Settings()
	if s.Key(key) == nil {
		return struct{}{}, &adminapi.Error{Code: adminapi.CodeNotFound, Message: fmt.Sprintf("secondary %s: there is no key %s", name, key),
			Remedy: fmt.Sprintf("make it first: zonekeeper key add %s", key)}
	}
	if _, _, ok := s.Catalog(); !ok {
		if err := a.putCatalog(r.Context(), defaultCatalog, newCatalogSettings()); err != nil {
			// Somebody may have made it meanwhile, under another name: that serves as well.
			if _, _, ok := a.p.replica.Settings().Catalog(); !ok {
				return struct{}{}, err
			}
		}
	}
	_, err = a.propose(r.Context(), cmd)
	return struct{}{}, err
}

func (a *admin) deleteSecondary(r *http.Request) (struct{}, error) {
	if err := a.fresh(r.Context()); err != nil {
		return struct{}{}, err
	}
	name := r.PathValue("name")
	if a.p.replica.Settings().Secondary(name) == nil {
		return struct{}{}, &adminapi.Error{Code: adminapi.CodeNotFound, Message: fmt.Sprintf("there is no secondary %q", name),
			Remedy: "list what there is with: zonekeeper secondary list"}
	}
	_, err := a.propose(r.Context(), &fsm.DeleteSecondary{Name: name, Actor: actorOf(r.Context())})
	return struct{}{}, err
}

func (a *admin) catalog(r *http.Request) (adminapi.Catalog, error) {
	if err := a.fresh(r.Context()); err != nil {
		return adminapi.Catalog{}, err
	}
	return describeCatalog(a.p.replica.Machine())
}

func describeCatalog(m *fsm.Machine) (adminapi.Catalog, error) {
	id, confirmed, ok := m.Settings().Catalog()
	v, found := m.Zone(id)
	if !ok || !found {
		return adminapi.Catalog{}, &adminapi.Error{Code: adminapi.CodeNotFound, Message: "there is no catalog",
			Remedy: "it comes with the first secondary: zonekeeper secondary add NAME"}
	}
	own := len(fsm.CatalogRRs(id.Name, 1, nil)) // those that are no members
	return adminapi.Catalog{Name: id.Name.String(), Serial: v.Zone.Serial(), Confirmed: confirmed, Members: v.Zone.Records() - own}, nil
}

// createCatalog makes the catalog under a name of the caller's choice.
func (a *admin) createCatalog(r *http.Request) (adminapi.Catalog, error) {
	req, err := decode[adminapi.Catalog](r)
	if err != nil {
		return adminapi.Catalog{}, err
	}
	name, err := parseName(req.Name)
	if err != nil {
		return adminapi.Catalog{}, err
	}
	if err := a.fresh(r.Context()); err != nil {
		return adminapi.Catalog{}, err
	}
	if id, _, ok := a.p.replica.Settings().Catalog(); ok {
		return adminapi.Catalog{}, &adminapi.Error{Code: adminapi.CodeConflict, Message: fmt.Sprintf("the catalog exists: %s", id),
			Remedy: "secondaries know it by that name, so it stays; change its settings with: zonekeeper zone set " + id.String()}
	}
	if err := a.putCatalog(r.Context(), name, newCatalogSettings()); err != nil {
		return adminapi.Catalog{}, err
	}
	return describeCatalog(a.p.replica.Machine())
}

// newCatalogSettings hide the list of all zones from everyone but secondaries, whose keys may read every zone.
func newCatalogSettings() fsm.ZoneSettings { return fsm.ZoneSettings{AllowQuery: "none;"} }

// putCatalog makes the catalog, or changes its settings.
func (a *admin) putCatalog(ctx context.Context, name zone.Name, s fsm.ZoneSettings) error {
	cmd := &fsm.PutCatalog{Name: name, Settings: s, Actor: actorOf(ctx)}
	if err := cmd.Check(); err != nil {
		return invalid("%v", err)
	}
	_, err := a.propose(ctx, cmd)
	return err
}

func (a *admin) confirmCatalog(r *http.Request) (struct{}, error) {
	req, err := decode[adminapi.ConfirmCatalog](r)
	if err != nil {
		return struct{}{}, err
	}
	_, err = a.propose(r.Context(), &fsm.ConfirmCatalog{Serial: req.Serial, Actor: actorOf(r.Context())})
	return struct{}{}, err
}

func (a *admin) setKeyGuarantee(r *http.Request) (struct{}, error) {
	req, err := decode[adminapi.Guarantee](r)
	if err != nil {
		return struct{}{}, err
	}
	name, _, err := a.pathKey(r)
	if err != nil {
		return struct{}{}, err
	}
	g, err := guaranteeOf(&req)
	if err != nil {
		return struct{}{}, invalid("key %s: %v", name, err)
	}
	_, err = a.propose(r.Context(), &fsm.PutKeyGuarantee{Key: name, Guarantee: g, Actor: actorOf(r.Context())})
	return struct{}{}, err
}

func (a *admin) setKeyRate(r *http.Request) (struct{}, error) {
	req, err := decode[adminapi.Rate](r)
	if err != nil {
		return struct{}{}, err
	}
	name, _, err := a.pathKey(r)
	if err != nil {
		return struct{}{}, err
	}
	if req.PerSecond < 0 || req.PerSecond > math.MaxInt32 {
		return struct{}{}, invalid("key %s: %d updates a second; use 1 to 1000000, or 0 for no bound", name, req.PerSecond)
	}
	rate := fsm.Rate{Group: req.Group, PerSecond: uint32(req.PerSecond)}
	if err := rate.Check(); err != nil {
		return struct{}{}, invalid("key %s: %v", name, err)
	}
	_, err = a.propose(r.Context(), &fsm.PutKeyRate{Key: name, Rate: rate, Actor: actorOf(r.Context())})
	return struct{}{}, err
}

// describeRate gives nil for none.
func describeRate(r fsm.Rate) *adminapi.Rate {
	if r == (fsm.Rate{}) {
		return nil
	}
	return &adminapi.Rate{Group: r.Group, PerSecond: int(r.PerSecond)}
}

// guaranteeOf translates a guarantee, nil being none, and refuses what the state machine would refuse.
func guaranteeOf(g *adminapi.Guarantee) (fsm.Guarantee, error) {
	if g == nil {
		return fsm.Guarantee{}, nil
	}
	if g.Secondaries < 0 || g.Secondaries > math.MaxUint8 || g.LimitMS < 0 || g.LimitMS > math.MaxInt32 {
		return fsm.Guarantee{}, fmt.Errorf("guarantee of %d secondaries within %d ms; use 0 to %d secondaries and 0 to 10000 ms",
			g.Secondaries, g.LimitMS, math.MaxUint8)
	}
	out := fsm.Guarantee{Secondaries: uint8(g.Secondaries), LimitMS: uint32(g.LimitMS)}
	return out, out.Check()
}

// describeGuarantee gives nil for none.
func describeGuarantee(g fsm.Guarantee) *adminapi.Guarantee {
	if g.Secondaries == 0 {
		return nil
	}
	return &adminapi.Guarantee{Secondaries: int(g.Secondaries), LimitMS: int(g.Limit().Milliseconds())}
}

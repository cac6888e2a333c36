package primary

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func (a *admin) zones(r *http.Request) ([]adminapi.Zone, error) {
	if err := a.fresh(r.Context()); err != nil {
		return nil, err
	}
	m := a.p.replica.Machine()
	out := []adminapi.Zone{}
	for _, id := range zoneIDs(m.Settings()) {
		if z, ok := describeZone(m, id); ok {
			out = append(out, z)
		}
	}
	return out, nil
}

// zoneIDs lists the zones in the order in which people look for them: the canonical one of names (RFC 4034 section 6.1).
func zoneIDs(s *fsm.Settings) []fsm.ZoneID {
	var ids []fsm.ZoneID
	s.Zones(func(c *fsm.ZoneConfig) bool {
		ids = append(ids, c.ID)
		return true
	})
	slices.SortFunc(ids, func(x, y fsm.ZoneID) int { return cmp.Or(x.Name.Compare(y.Name), cmp.Compare(x.View, y.View)) })
	return ids
}

func (a *admin) zone(r *http.Request) (adminapi.Zone, error) {
	name, err := pathName(r)
	if err != nil {
		return adminapi.Zone{}, err
	}
	if err := a.fresh(r.Context()); err != nil {
		return adminapi.Zone{}, err
	}
	return a.findZone(name)
}

func (a *admin) findZone(name zone.Name) (adminapi.Zone, error) {
	z, ok := describeZone(a.p.replica.Machine(), fsm.ZoneOf(name))
	if !ok {
		return adminapi.Zone{}, notFound("zone", name)
	}
	return z, nil
}

func describeZone(m *fsm.Machine, id fsm.ZoneID) (adminapi.Zone, bool) {
	v, ok := m.Zone(id)
	if !ok {
		return adminapi.Zone{}, false
	}
	s := v.Config.Settings
	return adminapi.Zone{
		Name: id.Name.String(), Serial: v.Zone.Serial(), Records: v.Zone.Records(), Digest: v.Zone.Digest().String(),
		Incarnation: v.Config.Incarnation, ManagedBy: v.Config.ManagedBy, Catalog: v.Config.IsCatalog(),
		Settings: adminapi.ZoneSettings{
			UpdatePolicy: s.UpdatePolicy, AllowUpdate: s.AllowUpdate, AllowQuery: s.AllowQuery, AllowTransfer: s.AllowTransfer,
			MaxZoneTTL: s.MaxTTL, MaxRecords: s.MaxRecords, AlsoNotify: s.AlsoNotify, LocalReads: s.LocalReads, Guarantee: describeGuarantee(s.Guarantee),
		},
	}, true
}

// settingsOf translates a zone's settings, and refuses what the state machine would refuse.
func settingsOf(name zone.Name, s adminapi.ZoneSettings) (fsm.ZoneSettings, error) {
	g, err := guaranteeOf(s.Guarantee)
	if err != nil {
		return fsm.ZoneSettings{}, invalid("zone %s: %v", name, err)
	}
	out := fsm.ZoneSettings{
		UpdatePolicy: s.UpdatePolicy, AllowUpdate: s.AllowUpdate, AllowQuery: s.AllowQuery, AllowTransfer: s.AllowTransfer,
		MaxTTL: s.MaxZoneTTL, MaxRecords: s.MaxRecords, AlsoNotify: s.AlsoNotify, LocalReads: s.LocalReads, Guarantee: g,
	}
	if err := out.Check(fsm.ZoneOf(name)); err != nil {
		return out, invalid("%v", err)
	}
	return out, nil
}

func (a *admin) addZone(r *http.Request) (adminapi.Zone, error) {
	req, err := decode[adminapi.AddZone](r)
	if err != nil {
		return adminapi.Zone{}, err
	}
	name, err := parseName(req.Name)
	if err != nil {
		return adminapi.Zone{}, err
	}
	rrs, err := initialContent(name, req)
	if err != nil {
		return adminapi.Zone{}, err
	}
	settings, err := settingsOf(name, req.Settings)
	if err != nil {
		return adminapi.Zone{}, err
	}
	cmd := &fsm.PutZone{Zone: fsm.ZoneOf(name), Create: true, Settings: settings, RRs: rrs, Actor: actorOf(r.Context())}
	if _, err := a.propose(r.Context(), cmd); err != nil {
		return adminapi.Zone{}, err
	}
	return a.findZone(name)
}

// The timers of a new zone's SOA, in seconds (RIPE-203 as adjusted by use: secondaries are told of changes by NOTIFY, so
// refresh only has to catch a lost one), and the TTL of its first records.
const (
	newRefresh, newRetry, newExpire, newMinimum = 3600, 600, 1209600, 300
	newTTL                                      = 3600
)

// initialContent is the content of a new zone: SOA, NS, and the addresses of the NS when it lies in the zone.
func initialContent(origin zone.Name, req adminapi.AddZone) ([]zone.RR, error) {
	ns, err := hostOr(req.NS, "ns", origin)
	if err != nil {
		return nil, err
	}
	mailbox, err := hostOr(req.Mailbox, "hostmaster", origin)
	if err != nil {
		return nil, err
	}
	soa := zone.SOA{MName: ns, RName: mailbox, Serial: 1, Refresh: newRefresh, Retry: newRetry, Expire: newExpire, Minimum: newMinimum}
	rrs := []zone.RR{
		{Name: origin, Type: zone.TypeSOA, Class: zone.ClassIN, TTL: newTTL, Data: soa.Data()},
		{Name: origin, Type: zone.TypeNS, Class: zone.ClassIN, TTL: newTTL, Data: string(ns)},
	}
	addrs := req.Addresses
	if len(addrs) == 0 && ns.IsSubdomainOf(origin) {
		addrs = []string{"127.0.0.1"}
	}
	for _, s := range addrs {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, invalid("zone %s: address %q of its name server is not an IP address", origin, s)
		}
		t := zone.TypeAAAA
		if ip = ip.Unmap(); ip.Is4() {
			t = zone.TypeA
		}
		rrs = append(rrs, zone.RR{Name: ns, Type: t, Class: zone.ClassIN, TTL: newTTL, Data: string(ip.AsSlice())})
	}
	return rrs, nil
}

// hostOr parses a host name, or makes one of a label in the zone when the text is empty.
func hostOr(text, label string, origin zone.Name) (zone.Name, error) {
	if text == "" {
		text = label + "." + origin.String()
		if origin == zone.Root {
			text = label + "."
		}
	}
	n, err := zone.ParseName(text)
	if err != nil {
		return "", invalid("zone %s: %q is not a host name: %v", origin, text, err)
	}
	return n, nil
}

func (a *admin) setZone(r *http.Request) (adminapi.Zone, error) {
	name, err := pathName(r)
	if err != nil {
		return adminapi.Zone{}, err
	}
	s, err := decode[adminapi.ZoneSettings](r)
	if err != nil {
		return adminapi.Zone{}, err
	}
	settings, err := settingsOf(name, s)
	if err != nil {
		return adminapi.Zone{}, err
	}
	if err := a.fresh(r.Context()); err != nil {
		return adminapi.Zone{}, err
	}
	old, err := a.findZone(name)
	if err != nil {
		return adminapi.Zone{}, err
	}
	if old.Catalog {
		err = a.putCatalog(r.Context(), name, settings)
	} else {
		_, err = a.propose(r.Context(), &fsm.PutZone{Zone: fsm.ZoneOf(name), Settings: settings, Actor: actorOf(r.Context())})
	}
	if err != nil {
		return adminapi.Zone{}, err
	}
	return a.findZone(name)
}

func (a *admin) deleteZone(r *http.Request) (struct{}, error) {
	name, err := pathName(r)
	if err != nil {
		return struct{}{}, err
	}
	if err := confirmed(r, "zone", name); err != nil {
		return struct{}{}, err
	}
	if err := a.fresh(r.Context()); err != nil {
		return struct{}{}, err
	}
	z, err := a.findZone(name)
	if err != nil {
		return struct{}{}, err
	}
	_, err = a.propose(r.Context(), &fsm.DeleteZone{Zone: fsm.ZoneOf(name), Confirm: name, Actor: actorOf(r.Context()), Incarnation: z.Incarnation})
	return struct{}{}, err
}

func (a *admin) exportZone(w http.ResponseWriter, r *http.Request) {
	name, err := pathName(r)
	if err == nil {
		err = a.fresh(r.Context())
	}
	if err != nil {
		writeError(w, err)
		return
	}
	v, ok := a.p.replica.Machine().Zone(fsm.ZoneOf(name))
	if !ok {
		writeError(w, notFound("zone", name))
		return
	}
	w.Header().Set("Content-Type", adminapi.TypeDNS)
	if err := zone.WriteFile(w, v.Zone); err != nil {
		a.log.Warn("zone export was cut off", "zone", name, "err", err) // the client sees a short body
	}
}

// importChunkBytes is how much of an imported zone goes into one log entry.
const importChunkBytes = 256 << 10

// importZone reads zone-file text and puts it through the log in pieces; the zone is visible only when all of it is there.
func (a *admin) importZone(r *http.Request) (adminapi.Zone, error) {
	name, err := pathName(r)
	if err != nil {
		return adminapi.Zone{}, err
	}
	q := r.URL.Query()
	var wanted adminapi.ZoneSettings
	if s := q.Get(adminapi.ParamSettings); s != "" {
		if err := json.Unmarshal([]byte(s), &wanted); err != nil {
			return adminapi.Zone{}, invalid("zone %s: settings: %v", name, err)
		}
	}
	settings, err := settingsOf(name, wanted)
	if err != nil {
		return adminapi.Zone{}, err
	}
	z, err := a.readImport(r, name, q.Get(adminapi.ParamStrip) == "true")
	if err != nil {
		return adminapi.Zone{}, err
	}
	begin := &fsm.ImportBegin{
		ID: fmt.Sprintf("%s-%d", a.p.cfg.Name, time.Now().UnixNano()), Zone: fsm.ZoneOf(name), Settings: settings,
		Replace: q.Get(adminapi.ParamReplace) == "true", MoveSerial: q.Get(adminapi.ParamMove) == "true", Actor: actorOf(r.Context()),
	}
	if err := a.sendImport(r.Context(), begin, z); err != nil {
		return adminapi.Zone{}, err
	}
	return a.findZone(name)
}

// maxLineErrors bounds the mistakes reported at once.
const maxLineErrors = 50

func (a *admin) readImport(r *http.Request, name zone.Name, strip bool) (*zone.Zone, error) {
	z, err := zone.ReadZone(r.Body, name, zone.ReadOptions{File: "line", MaxErrors: maxLineErrors, StripSigning: strip})
	var problems zone.Problems
	if !errors.As(err, &problems) {
		if err != nil {
			return nil, invalid("zone %s: %v", name, err)
		}
		return z, nil
	}
	e := &adminapi.Error{Code: adminapi.CodeInvalid, Message: fmt.Sprintf("zone %s: the zone file has mistakes; nothing was imported", name)}
	for _, p := range problems {
		e.Lines = append(e.Lines, lineError(p))
	}
	return nil, e
}

// lineError takes a problem of a zone file apart. Problems of the zone as a whole, such as a missing SOA, have no line.
func lineError(p error) adminapi.LineError {
	var l *zone.LineError
	if errors.As(p, &l) {
		return adminapi.LineError{Line: l.Line, Message: l.Err.Error()}
	}
	var at int
	text := p.Error()
	if _, err := fmt.Sscanf(text, "line:%d:", &at); err == nil {
		_, text, _ = strings.Cut(strings.TrimPrefix(text, "line:"), ": ")
	}
	return adminapi.LineError{Line: at, Message: text}
}

// sendImport puts an import through the log: begin, chunks, commit. Whatever goes wrong on the way, nothing stays.
func (a *admin) sendImport(ctx context.Context, begin *fsm.ImportBegin, z *zone.Zone) (err error) {
	if _, err := a.propose(ctx, begin); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTimeout)
		defer cancel()
		if _, aerr := a.propose(actx, &fsm.ImportAbort{ID: begin.ID}); aerr != nil {
			a.log.Warn("an unfinished import stays in the state until it is aborted", "import", begin.ID, "err", aerr)
		}
	}()
	chunk := &fsm.ImportChunk{ID: begin.ID, Seq: 1}
	size := 0
	flush := func() error {
		if len(chunk.RRs) == 0 {
			return nil
		}
		if _, err := a.propose(ctx, chunk); err != nil {
			return err
		}
		chunk, size = &fsm.ImportChunk{ID: begin.ID, Seq: chunk.Seq + 1}, 0
		return nil
	}
	var failed error
	z.Ascend(func(s *zone.RRset) bool {
		for _, rr := range s.RRs() {
			chunk.RRs = append(chunk.RRs, rr)
			if size += rr.WireLen(); size >= importChunkBytes {
				if failed = flush(); failed != nil {
					return false
				}
			}
		}
		return true
	})
	if failed == nil {
		failed = flush()
	}
	if failed != nil {
		return failed
	}
	_, err = a.propose(ctx, &fsm.ImportCommit{ID: begin.ID, Records: uint64(z.Records()), Digest: z.Digest()})
	return err
}

package primary

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// handleChanges adds what primaries and our own secondaries tell each other, and what is known of propagation.
func (a *admin) handleChanges(mux router) {
	mux.HandleFunc(patternChanges, a.changes)
	mux.HandleFunc(patternReport, a.report)
	mux.HandleFunc(patternDigest, reply(a.digest))
	mux.HandleFunc("GET "+adminapi.PathPropagation, reply(a.propagation))
}

// What a secondary may ask.
const (
	patternChanges = "GET " + adminapi.PathChanges
	patternReport  = "POST " + adminapi.PathReport
	patternDigest  = "GET " + adminapi.PathDigest
)

// checkSecondary says why a request can't be that of a secondary of ours with this name; nil when it can.
func (a *admin) checkSecondary(r *http.Request, name string) error {
	if as, ok := secondaryOf(r); ok && as != name {
		return &adminapi.Error{Code: adminapi.CodeForbidden, Message: fmt.Sprintf("the certificate is that of secondary %q, not of %q", as, name),
			Remedy: "give each secondary a certificate whose common name is its own"}
	}
	switch s := a.p.hub.machine().Settings().Secondary(name); {
	case s == nil:
		return &adminapi.Error{Code: adminapi.CodeNotFound, Message: fmt.Sprintf("there is no secondary %q", name),
			Remedy: fmt.Sprintf("register it with: zonekeeper secondary add %s --key KEY", name)}
	case s.Foreign:
		return &adminapi.Error{Code: adminapi.CodeForbidden, Message: fmt.Sprintf("secondary %s is registered as a foreign one", name),
			Remedy: fmt.Sprintf("register it as one of ours with: zonekeeper secondary add %s --key %s", name, s.Key)}
	}
	return nil
}

// report takes what one of our secondaries serves. It needs the stream that says which zones there are: a secondary without one
// does not count.
func (a *admin) report(w http.ResponseWriter, r *http.Request) {
	if err := a.takeReport(r); err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// maxReport bounds a report, in octets: its zones, each with a name of the greatest length in text form, and its status.
const maxReport = 4 << 20

func (a *admin) takeReport(r *http.Request) error {
	name := r.PathValue("name")
	if err := a.checkSecondary(r, name); err != nil {
		return err
	}
	var rep adminapi.Report
	// Unknown fields are let pass: while a cluster is upgraded, secondaries may be newer than primaries.
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxReport)).Decode(&rep); err != nil {
		return invalid("report of secondary %s: %v", name, err)
	}
	if n := len(rep.Zones) + len(rep.Gone); n > adminapi.MaxZonesPerMessage || rep.Instance == "" {
		return invalid("report of secondary %s: %d zones of instance %q; at most %d zones of a named instance are taken", name, n, rep.Instance, adminapi.MaxZonesPerMessage)
	}
	served := make([]propagation.Serial, 0, len(rep.Zones))
	for _, z := range rep.Zones {
		n, err := parseName(z.Zone)
		if err != nil {
			return err
		}
		served = append(served, propagation.Serial{Zone: n, Serial: z.Serial})
	}
	gone := make([]zone.Name, 0, len(rep.Gone))
	for _, z := range rep.Gone {
		n, err := parseName(z)
		if err != nil {
			return err
		}
		gone = append(gone, n)
	}
	rep.Status.Name = name // what it calls itself is no matter
	err := a.p.hub.reported(name, rep, served, gone)
	switch {
	case errors.Is(err, propagation.ErrUnknown):
		// Just registered: the hub learns of it in a moment.
		return &adminapi.Error{Code: adminapi.CodeConflict, Message: err.Error(), Remedy: "report again"}
	case err != nil:
		return &adminapi.Error{Code: adminapi.CodeConflict, Message: err.Error(), Remedy: "open the stream of changes, then send a full report"}
	}
	return nil
}

// errNoStream refuses the report of a secondary that has no stream.
var errNoStream = errors.New("the secondary has no stream of changes from this primary")

// reported passes a report on to the tracker.
func (h *hub) reported(name string, rep adminapi.Report, served []propagation.Serial, gone []zone.Name) error {
	h.mu.Lock()
	if h.streams[name] == nil {
		h.mu.Unlock()
		return errNoStream
	}
	h.reports[name] = report{at: h.now(), status: rep.Status}
	h.mu.Unlock()
	// Without the lock: whoever waited for this is answered from there.
	err := h.tracker.Report(name, rep.Instance, rep.Full, served, gone)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[name] == nil {
		h.tracker.Lost(name) // its stream ended meanwhile
	}
	return err
}

// digest answers with the digest of the replicated content that a zone had at a serial.
func (a *admin) digest(r *http.Request) (adminapi.ZoneDigest, error) {
	name, err := pathName(r)
	if err != nil {
		return adminapi.ZoneDigest{}, err
	}
	text := r.URL.Query().Get(adminapi.ParamSerial)
	serial, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return adminapi.ZoneDigest{}, invalid("%s %q is not a serial: %v", adminapi.ParamSerial, text, err)
	}
	want := uint32(serial)
	v, z, err := a.at(r, name, want)
	if err == nil && z == nil && !zone.SerialGT(v.Zone.Serial(), want) {
		// Another primary may have been quicker, or nobody ever had it. What the quorum has decides.
		if err = a.p.hub.caughtUp(r.Context()); err == nil {
			v, z, err = a.at(r, name, want)
		}
	}
	switch {
	case err != nil:
		return adminapi.ZoneDigest{}, err
	case z != nil:
	case want != v.Zone.Serial() && !zone.SerialGT(v.Zone.Serial(), want):
		return adminapi.ZoneDigest{}, &adminapi.Error{Code: adminapi.CodeConflict,
			Message: fmt.Sprintf("zone %s never had serial %d: it is at %d", name, serial, v.Zone.Serial()), Remedy: "transfer the zone anew, whatever serial it has"}
	default:
		return adminapi.ZoneDigest{}, &adminapi.Error{Code: adminapi.CodeNotFound,
			Message: fmt.Sprintf("zone %s: serial %d is not in this primary's history, which ends at %d", name, serial, v.PublishedSerial),
			Remedy:  "ask again when the zone has been transferred anew"}
	}
	return adminapi.ZoneDigest{Serial: want, Records: z.Records(), Digest: z.Digest().String()}, nil
}

// at gives a zone, and what it was at a serial: nil when that is not in the history.
func (a *admin) at(r *http.Request, name zone.Name, serial uint32) (fsm.ZoneView, *zone.Zone, error) {
	v, ok := a.p.hub.machine().Zone(fsm.ZoneOf(name))
	if !ok || !a.mayKnow(r, v.Config) {
		return v, nil, notFound("zone", name)
	}
	z, ok := v.At(serial)
	if !ok {
		z = nil
	}
	return v, z, nil
}

// mayKnow says whether whoever asks may know that a zone exists: a secondary knows those that it serves.
func (a *admin) mayKnow(r *http.Request, c *fsm.ZoneConfig) bool {
	_, secondary := secondaryOf(r)
	return !secondary || c.IsMember() || c.IsCatalog()
}

// propagation answers with what every secondary of ours serves of a zone.
func (a *admin) propagation(r *http.Request) ([]adminapi.SecondarySerial, error) {
	name, err := pathName(r)
	if err != nil {
		return nil, err
	}
	conf := a.p.hub.machine().Settings().Zone(fsm.ZoneOf(name))
	if conf == nil {
		return nil, notFound("zone", name)
	}
	out := []adminapi.SecondarySerial{}
	for _, s := range a.p.tracker.Of(name) {
		one := describeStanding(s)
		switch {
		case !conf.IsMember() && !conf.IsCatalog():
			one.Error = "secondaries do not serve it: its allow-query does not admit everyone"
		case !a.p.tracker.Connected(s.Secondary):
			one.Error = "not connected to this primary"
		}
		out = append(out, one)
	}
	return out, nil
}

func describeStanding(s propagation.Standing) adminapi.SecondarySerial {
	out := adminapi.SecondarySerial{Secondary: s.Secondary, Zone: s.Zone.String(), Serial: s.Serial, Current: s.Current, LagMS: s.Lag.Milliseconds()}
	if s.Delay != nil {
		ms := s.Delay.Milliseconds()
		out.DelayMS = &ms
	}
	if !s.Served {
		out.Error = "it does not serve the zone"
	}
	return out
}

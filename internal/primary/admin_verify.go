package primary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// verify transfers every zone from every primary's named and from every secondary of ours, and compares the copies with one
// another and with the replicated state (D7). While updates go on the copies are of different serials; those zones are asked for again.
func (a *admin) verify(r *http.Request) (adminapi.VerifyReport, error) {
	ctx := r.Context()
	if err := a.fresh(ctx); err != nil {
		return adminapi.VerifyReport{}, err
	}
	ids := zoneIDs(a.p.replica.Settings())
	roll := newRollCall()
	rep := adminapi.VerifyReport{OK: true, Zones: make([]adminapi.VerifyZone, len(ids))}
	sem := make(chan struct{}, verifyParallel)
	var wg sync.WaitGroup
	for i, id := range ids {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			rep.Zones[i] = a.verifyZone(ctx, id.Name, roll)
		})
	}
	wg.Wait()
	for _, z := range rep.Zones {
		rep.OK = rep.OK && z.OK
	}
	return rep, ctx.Err()
}

const (
	verifyParallel = 4
	// verifyAttempts are how often a zone that changes all the time is asked for before two copies must have met.
	verifyAttempts = 20
	verifyPause    = 50 * time.Millisecond
	maxDifferences = 20
)

func (a *admin) verifyZone(ctx context.Context, name zone.Name, roll *rollCall) adminapi.VerifyZone {
	out := adminapi.VerifyZone{Name: name.String()}
	for range verifyAttempts {
		out.Copies = a.copies(ctx, name, roll)
		// Who is away decides that the zone is not proven, and is no reason to ask the others again.
		present := slices.DeleteFunc(slices.Clone(out.Copies), func(c adminapi.VerifyCopy) bool { return c.Error != "" && roll.away(c.Server) })
		var decided bool
		out.OK, decided = judgeCopies(present)
		out.OK = out.OK && len(present) == len(out.Copies)
		if decided {
			break
		}
		select {
		case <-time.After(verifyPause):
		case <-ctx.Done():
			return out
		}
	}
	if !out.OK {
		out.Differences = a.differences(ctx, name, out.Copies)
	}
	return out
}

// judgeCopies compares the copies of a zone. Copies of one serial must have one digest: that decides. Copies of different
// serials are fine when each is what the replicated state was at its serial; a copy of which that could not be told
// (its zone was being loaded, or a step was on its way) leaves the matter open.
func judgeCopies(copies []adminapi.VerifyCopy) (ok, decided bool) {
	digests := make(map[uint32]string)
	ok = true
	for _, c := range copies {
		if c.Error == "" {
			if d, seen := digests[c.Serial]; seen && d != c.Digest {
				return false, true
			}
			digests[c.Serial] = c.Digest
		}
		ok = ok && c.Error == "" && (c.Confirmed || c.Digest == copies[0].Digest)
	}
	return ok, ok
}

// copies are the zone as the local state machine and every primary's named have it.
func (a *admin) copies(ctx context.Context, name zone.Name, roll *rollCall) []adminapi.VerifyCopy {
	peers := a.p.peers.names()
	secondaries := a.secondariesOf(name)
	out := make([]adminapi.VerifyCopy, 2+len(peers)+len(secondaries))
	var wg sync.WaitGroup
	wg.Go(func() { out[1] = a.localCopy(ctx, name) })
	for i, peer := range peers {
		wg.Go(func() {
			c, err := roll.copyFrom(ctx, peer, a.p.peers.clients[peer], name.String())
			if err != nil {
				out[2+i] = adminapi.VerifyCopy{Server: peer, Error: err.Error()}
				return
			}
			out[2+i] = *c
		})
	}
	for i, secondary := range secondaries {
		wg.Go(func() { out[2+len(peers)+i] = a.secondaryCopy(ctx, secondary, name, roll) })
	}
	wg.Wait()
	out[0] = adminapi.VerifyCopy{Server: "replicated state"}
	if v, ok := a.p.replica.Machine().Zone(fsm.ZoneOf(name)); ok {
		out[0].Serial, out[0].Records, out[0].Digest = v.Zone.Serial(), v.Zone.Records(), v.Zone.Digest().String()
		out[0].Confirmed = true
	} else {
		out[0].Error = "there is no such zone"
	}
	slices.SortFunc(out[1:], func(x, y adminapi.VerifyCopy) int { return cmp.Compare(x.Server, y.Server) })
	return out
}

// copyOf answers a peer's question for this primary's copy.
func (a *admin) copyOf(r *http.Request) (adminapi.VerifyCopy, error) {
	name, err := pathName(r)
	if err != nil {
		return adminapi.VerifyCopy{}, err
	}
	return a.localCopy(r.Context(), name), nil
}

// localCopy transfers the zone from this primary's named, once it serves what a reader would see now.
func (a *admin) localCopy(ctx context.Context, name zone.Name) adminapi.VerifyCopy {
	out := adminapi.VerifyCopy{Server: a.p.cfg.Name}
	if _, err := a.p.Barrier(ctx, fsm.ZoneOf(name)); err != nil {
		out.Error = err.Error()
		return out
	}
	sess, ok := a.p.named.Session()
	if !ok {
		out.Error = "its named is not running"
		return out
	}
	st := sess.NewStream()
	defer st.Close()
	soa, digest, records, err := st.Digest(ctx, name)
	if err != nil {
		out.Error = fmt.Sprintf("transfer from named: %v", err)
		return out
	}
	out.Serial, out.Records, out.Digest = zone.SOASerial(soa.Data), records, digest.String()
	v, ok := a.p.replica.Machine().Zone(fsm.ZoneOf(name))
	out.Confirmed = ok && v.Zone.Digest() == digest
	if !out.Confirmed {
		// Either updates go on, and the publisher can compare with the state at that serial; or named differs, and the
		// publisher repairs it, which does not make this copy any better.
		err := a.p.publisher.Verify(ctx, fsm.ZoneOf(name))
		out.Confirmed = err == nil
		if err != nil && (!ok || v.Zone.Serial() != out.Serial) {
			out.Error = err.Error()
		}
	}
	return out
}

// secondariesOf are the secondaries of ours that are to serve a zone.
func (a *admin) secondariesOf(name zone.Name) []string {
	settings := a.p.replica.Settings()
	conf := settings.Zone(fsm.ZoneOf(name))
	if conf == nil || !conf.IsMember() && !conf.IsCatalog() {
		return nil
	}
	var out []string
	settings.Secondaries(func(s *fsm.Secondary) bool {
		if !s.Foreign {
			out = append(out, s.Name)
		}
		return true
	})
	return out
}

// secondaryCopy asks a secondary for its copy of a zone, and compares that with what the replicated state was at its serial:
// a secondary may be a few steps behind, and is not wrong for it.
func (a *admin) secondaryCopy(ctx context.Context, secondary string, name zone.Name, roll *rollCall) adminapi.VerifyCopy {
	failed := func(err error) adminapi.VerifyCopy { return adminapi.VerifyCopy{Server: secondary, Error: err.Error()} }
	client, err := a.secondaryClient(secondary)
	if err != nil {
		roll.missing(secondary, err)
		return failed(err)
	}
	c, err := roll.copyFrom(ctx, secondary, client, name.String())
	if err != nil {
		return failed(err)
	}
	out := *c
	out.Server, out.Confirmed = secondary, false // its own opinion is no proof
	if out.Error != "" {
		return out
	}
	v, ok := a.p.replica.Machine().Zone(fsm.ZoneOf(name))
	if !ok {
		return out
	}
	if z, known := v.At(out.Serial); known {
		out.Confirmed = z.Digest().String() == out.Digest
	} else {
		out.Error = fmt.Sprintf("serial %d is not in this primary's history, which ends at %d", out.Serial, v.PublishedSerial)
	}
	return out
}

// secondaryClient is for the admin API of a secondary that is connected.
func (a *admin) secondaryClient(name string) (*adminapi.Client, error) {
	addr, ok := a.p.hub.adminOf(name)
	if !ok {
		return nil, errors.New("it is not connected to this primary; see: zonekeeper status")
	}
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().IsUnspecified() {
		return nil, fmt.Errorf("its admin API listens on %s, which is no address to ask it at; set admin.advertise in its configuration", addr)
	}
	scheme := "http://"
	if a.p.cfg.Admin.TLSCert != "" {
		scheme = "https://"
	}
	return adminapi.NewClient(scheme+addr, a.p.peers.http)
}

// adminOf is the address of a connected secondary's admin API, as it has reported it.
func (h *hub) adminOf(name string) (addr string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, reported := h.reports[name]
	return r.status.Admin, reported && h.streams[name] != nil
}

// differences lists what this primary's own named has more or less than the replicated state. Those of another primary
// are listed when verify is asked there.
func (a *admin) differences(ctx context.Context, name zone.Name, copies []adminapi.VerifyCopy) []string {
	var out []string
	for _, c := range copies[1:] {
		if c.Error == "" && !c.Confirmed && (c.Serial != copies[0].Serial || c.Digest != copies[0].Digest) {
			out = append(out, fmt.Sprintf("; %s differs from the replicated state at serial %d", c.Server, c.Serial))
		}
	}
	v, ok := a.p.replica.Machine().Zone(fsm.ZoneOf(name))
	sess, running := a.p.named.Session()
	if !ok || !running {
		return out
	}
	st := sess.NewStream()
	defer st.Close()
	want := make(map[string]bool)
	for _, rr := range v.Zone.RRs() {
		want[canonicalLine(rr)] = true
	}
	var more []string
	err := st.Transfer(ctx, name, func(rr zone.RR) error {
		if line := canonicalLine(rr); want[line] {
			delete(want, line)
		} else {
			more = append(more, "+"+line)
		}
		return nil
	})
	if err != nil {
		return out
	}
	less := make([]string, 0, len(want))
	for line := range want {
		less = append(less, "-"+line)
	}
	lines := slices.Concat(less, more)
	slices.SortFunc(lines, func(x, y string) int { return cmp.Or(cmp.Compare(x[1:], y[1:]), cmp.Compare(x, y)) })
	return append(out, lines[:min(len(lines), maxDifferences)]...)
}

func canonicalLine(rr zone.RR) string {
	rr.Name = rr.Name.Canonical()
	rr.Data = zone.CanonicalData(rr.Type, rr.Data)
	return rr.String()
}

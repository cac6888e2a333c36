package publish

import (
	"context"
	"slices"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// serialsPerRound bounds the SOA queries of one round: a look at 500 zones takes some 50 ms.
const serialsPerRound = 500

// watchSerials asks named for the serials of zones that nobody changes, and has a zone verified whose serial is not the one
// that was published. A step of ours would notice a foreign change at once, but a quiet zone takes none: without this look
// a change behind our back would be served until the next comparison of all content (I7).
func (p *Publisher) watchSerials(ctx context.Context) {
	t := time.NewTicker(p.cfg.SerialEvery)
	defer t.Stop()
	var after fsm.ZoneID // where the last round ended
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		s, ok := p.Session()
		if !ok {
			continue
		}
		ids := p.quietZones(after)
		st := s.NewStream()
		for _, id := range ids {
			after = id
			p.checkSerial(ctx, st, id)
		}
		st.Close()
		if len(ids) < serialsPerRound {
			after = fsm.ZoneID{}
		}
	}
}

func compareIDs(a, b fsm.ZoneID) int { return a.Name.Compare(b.Name) }

// quietZones lists the next zones behind one, in order, that are served and have no step waiting.
func (p *Publisher) quietZones(after fsm.ZoneID) []fsm.ZoneID {
	p.mu.Lock()
	var ids []fsm.ZoneID
	for id, z := range p.zones {
		if z.serving && !z.busy && len(z.queue) == 0 && (after.Name == "" || compareIDs(id, after) > 0) {
			ids = append(ids, id)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(ids, compareIDs)
	return ids[:min(len(ids), serialsPerRound)]
}

// publishedSerial is the serial that named was led to, false while the zone is not quiet.
func (p *Publisher) publishedSerial(id fsm.ZoneID) (serial uint32, epoch uint64, quiet bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	z := p.zones[id]
	if z == nil || !z.serving || z.busy || len(z.queue) > 0 {
		return 0, 0, false
	}
	return z.serial, z.epoch, true
}

// checkSerial compares one zone's serial in named with the published one.
func (p *Publisher) checkSerial(ctx context.Context, st *named.Stream, id fsm.ZoneID) {
	serial, epoch, quiet := p.publishedSerial(id)
	if !quiet {
		return
	}
	qctx, cancel := context.WithTimeout(ctx, p.cfg.UpdateTimeout)
	soa, err := st.SOA(qctx, id.Name)
	cancel()
	if err != nil || zone.SOASerial(soa.Data) == serial {
		return // a named that does not answer is its supervisor's business
	}
	if now, e, quiet := p.publishedSerial(id); !quiet || now != serial || e != epoch {
		return // it was changed while we asked
	}
	if err := p.Verify(ctx, id); err != nil && ctx.Err() == nil {
		p.log.Error("a zone was changed in named behind our back; replacing it", "zone", id, "published", serial, "err", err)
	}
}

package primary

import (
	"fmt"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/propagation"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// withGuarantee returns done, or, where the update's zone or key has a propagation guarantee, a function that calls done when
// enough secondaries serve what the update made, or when it has waited long enough. The answer is the log's in any case: the
// update is durable before the wait begins. It looks at the update now, because it belongs to the replica once it is proposed.
func withGuarantee(cmd fsm.Command, s *fsm.Settings, t *propagation.Tracker, done func(fsm.Result, error)) func(fsm.Result, error) {
	u, ok := cmd.(*fsm.Update)
	if !ok || !anyOurs(s) {
		return done
	}
	const question = 12 // where the zone section begins (RFC 1035 section 4.1.1)
	name, _, err := zone.UnpackName(u.Wire, question)
	if err != nil {
		return done // Apply says what is wrong with it
	}
	id := fsm.ZoneID{View: u.View, Name: name.Canonical()}
	conf, g, key := s.Zone(id), s.Guarantee(id, u.KeyName), u.KeyName
	if conf == nil || g.Secondaries == 0 {
		return done
	}
	k := int(g.Secondaries)
	return func(res fsm.Result, err error) {
		if err != nil || res.Expired || res.RCode != 0 || res.TSIGError != 0 {
			done(res, err)
			return
		}
		if !conf.IsMember() {
			res.EDE, res.Text = 0, "durable; secondaries do not serve this zone, whose allow-query does not admit everyone"
			done(res, nil)
			return
		}
		t.Await(id.Name, res.Serial, key, k, g.Limit(), func(served int) {
			if served < k {
				res.EDE, res.Text = 0, fmt.Sprintf("durable; served by %d of %d secondaries", served, k)
			}
			done(res, nil)
		})
	}
}

// anyOurs says whether a secondary of ours is registered: without one there is nobody to wait for.
func anyOurs(s *fsm.Settings) (found bool) {
	s.Secondaries(func(x *fsm.Secondary) bool {
		found = !x.Foreign
		return !found
	})
	return found
}

package fsm

import (
	"strings"
	"testing"
)

// TestC2LateDeletion: the deletion of a zone whose proposer did not learn what became of it enters the log when the zone has
// been deleted by another command and added again. The new one stays.
func TestC2LateDeletion(t *testing.T) {
	c := newCluster(t, 1)
	id := c.addZone("example.test.")
	m := c.machines[0]
	late := &DeleteZone{Zone: id, Confirm: id.Name, Incarnation: m.Settings().Zone(id).Incarnation}
	c.must(&DeleteZone{Zone: id, Confirm: id.Name, Incarnation: late.Incarnation})
	c.addZone("example.test.")
	if res := c.apply(late).Results[0]; !strings.Contains(res.Err, "added again") {
		t.Errorf("a late deletion: %+v", res)
	}
	now := m.Settings().Zone(id)
	if now == nil {
		t.Fatal("the zone is gone")
	}
	c.must(&DeleteZone{Zone: id, Confirm: id.Name, Incarnation: now.Incarnation})
}

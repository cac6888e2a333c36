package update_test

import (
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

type everything struct{}

func (everything) Admit() bool                                              { return true }
func (everything) Allow(zone.Name, zone.Type, zone.Name) (max int, ok bool) { return 0, true }

func rr(t *testing.T, text string) zone.RR {
	t.Helper()
	r, err := zone.ParseRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSmoke(t *testing.T) {
	z, err := zone.FromRRs(zone.MustParseName("z."), []zone.RR{
		rr(t, "z. 300 IN SOA ns.z. h.z. 1 2 3 4 5"), rr(t, "z. 300 IN NS ns.z."), rr(t, "ns.z. 300 IN A 192.0.2.1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &update.Message{Zone: zone.MustParseName("z."), Class: zone.ClassIN, Updates: []zone.RR{rr(t, "a.z. 60 IN A 192.0.2.2")}}
	out := update.Apply(z, m, everything{}, update.DefaultOptions())
	if out.RCode != 0 || z.Serial() != 2 || len(out.Diff.Add) != 2 {
		t.Errorf("%+v", out)
	}
}

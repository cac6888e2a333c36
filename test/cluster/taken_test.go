package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestPermissionTaken: an update that was carried out, whose sender has missed the answer, gets that answer at every primary, also
// when the zone does not take it any more, or is gone (I4). Others are refused.
func TestPermissionTaken(t *testing.T) {
	c := harness.Start(t, nil)
	api := c.Admin[c.Names()[0]]
	origin := zone.MustParseName("guest.test.")
	key := addKey(t, c, "guest.")
	if _, err := api.AddZone(t.Context(), adminapi.AddZone{Name: "guest.test.", Settings: devcluster.OpenTo("guest.")}); err != nil {
		t.Fatal(err)
	}
	primaries := c.Info().Primaries
	id := uint16(0)
	signed := func(label string) []byte {
		id++ // two with one content, ID and second would be one request
		msg := named.AppendUpdate(nil, id, origin, nil, []zone.RR{harness.A(origin, label, 60, [4]byte{192, 0, 2, 1})})
		return tsig.SignRequest(msg, key, time.Now())
	}
	send := func(network, addr string, wire []byte) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		rcode, err := exchange(ctx, network, addr, wire)
		if err != nil {
			t.Error(err)
		}
		return rcode
	}
	first := signed("first")
	if rcode := send("udp", primaries[0].DNS, first); rcode != noError {
		t.Fatalf("rcode %d", rcode)
	}
	check := func(when string, refused int) {
		t.Helper()
		for _, p := range primaries {
			for _, network := range []string{"udp", "tcp"} {
				if rcode := send(network, p.DNS, first); rcode != noError {
					t.Errorf("%s: the update again over %s at %s: rcode %d, want its first answer", when, network, p.Name, rcode)
				}
				if rcode := send(network, p.DNS, signed("second")); rcode != refused {
					t.Errorf("%s: another update over %s at %s: rcode %d, want %d", when, network, p.Name, rcode, refused)
				}
			}
		}
	}
	const rcodeRefused = 5
	settings := devcluster.OpenTo("guest.")
	settings.UpdatePolicy = "grant somebody-else. zonesub ANY;"
	if _, err := api.AddKey(t.Context(), adminapi.AddKey{Name: "somebody-else."}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.SetZone(t.Context(), "guest.test.", settings); err != nil {
		t.Fatal(err)
	}
	check("the policy names another key", rcodeRefused)
	settings.AllowQuery = "key somebody-else.;"
	if _, err := api.SetZone(t.Context(), "guest.test.", settings); err != nil {
		t.Fatal(err)
	}
	check("the zone is hidden from the key", rcodeRefused)
	if err := api.DeleteZone(t.Context(), "guest.test.", "guest.test."); err != nil {
		t.Fatal(err)
	}
	check("the zone is gone", rcodeNotAuth)
}

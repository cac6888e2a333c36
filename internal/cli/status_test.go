package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func TestStatusOfSecondaries(t *testing.T) {
	a := newAdmin(t)
	s := status(true)
	s.Healthy, s.Summary = false, "secondary secondary-1 is not connected to primary-0"
	seen := time.Unix(1_700_000_000, 0)
	own := adminapi.SecondaryStatus{Name: "secondary-0", Ready: true, DNS: []string{"127.0.0.1:5370"}, Named: adminapi.NamedStatus{Running: true, Version: "9.20.23"},
		Zones: 3, LagMS: 12, AsOf: seen}
	gone := own
	gone.Ready, gone.Reason, gone.ZonesBehind, gone.Named.Running = false, "1 zone is not loaded", 1, false
	gone.Problems = []string{"primary-1 refuses its signature: BADTIME"}
	s.Secondaries = []adminapi.Secondary{
		{Name: "ns9", Key: "ns9.", Foreign: true, Notify: []string{"192.0.2.9:53"}},
		{Name: "secondary-0", Connected: true, LastSeen: seen, Status: &own},
		{Name: "secondary-1", LastSeen: seen, Status: &gone,
			Behind: []adminapi.SecondarySerial{{Secondary: "secondary-1", Zone: "example.test.", Serial: 1, Current: 2, LagMS: 7000}}},
		{Name: "secondary-2"},
	}
	a.answer("GET "+adminapi.PathStatus, s)
	r := run(t, nil, "", "status", "--admin", a.url)
	if r.code != ExitFailed || r.err != "" {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
	golden(t, "status-secondaries.txt", r.out)
}

func TestStatusOfZone(t *testing.T) {
	delay := int64(7)
	everywhere := []adminapi.SecondarySerial{
		{Secondary: "secondary-0", Zone: "example.test.", Serial: 2, Current: 2, DelayMS: &delay},
		{Secondary: "secondary-1", Zone: "example.test.", Serial: 1, Current: 2, LagMS: 7000},
	}
	lost := append(everywhere[:1:1], adminapi.SecondarySerial{Secondary: "secondary-1", Zone: "example.test.", Current: 2, LagMS: 7000, Error: "not connected to this primary"})
	for name, c := range map[string]struct {
		healthy     bool
		secondaries []adminapi.SecondarySerial
		code        int
	}{
		"zone":          {true, everywhere, ExitOK},
		"zone-alone":    {true, nil, ExitOK},
		"zone-lost":     {true, lost, ExitFailed},
		"zone-degraded": {false, everywhere, ExitFailed}, // a primary does not answer
	} {
		a := newAdmin(t)
		a.answer("GET "+adminapi.PathStatus, status(c.healthy))
		a.answer("GET /v1/zones/example.test.", adminapi.Zone{Name: "example.test."})
		a.answer("GET /v1/zones/example.test./propagation", c.secondaries)
		a.answer("GET /v1/zones/none.test.", adminapi.Error{Code: adminapi.CodeNotFound, Message: "there is no zone none.test."})
		r := run(t, nil, "", "status", "--zone", "example.test.", "--admin", a.url)
		if r.code != c.code || r.err != "" {
			t.Errorf("%s: exit code %d, want %d; stderr %q", name, r.code, c.code, r.err)
		}
		golden(t, "status-"+name+".txt", r.out)
		if r := run(t, nil, "", "status", "--zone", "none.test.", "--admin", a.url); r.code == ExitOK || !strings.Contains(r.err, "no zone none.test.") {
			t.Errorf("a zone that does not exist: exit code %d, stderr %q", r.code, r.err)
		}
	}
}

package cli

import (
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

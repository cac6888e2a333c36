package primary

import (
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func TestJudge(t *testing.T) {
	good := func(name string) adminapi.ReplicaStatus {
		return adminapi.ReplicaStatus{Name: name, Ready: true, Reachable: true, Named: adminapi.NamedStatus{Running: true},
			Zones: []adminapi.ZoneStatus{{Name: "example.test.", Serial: 7, Digest: "aa"}}}
	}
	for _, c := range []struct {
		name   string
		adjust func(s []adminapi.ReplicaStatus)
		want   string // part of the only trouble; "" for none
	}{
		{"all well", func([]adminapi.ReplicaStatus) {}, ""},
		{"one behind", func(s []adminapi.ReplicaStatus) { s[1].Zones[0].Serial, s[1].Zones[0].Digest = 6, "bb" }, ""},
		{"one gone", func(s []adminapi.ReplicaStatus) {
			s[2] = adminapi.ReplicaStatus{Name: "c", Reason: "connection refused"}
		}, "c is not reachable (connection refused)"},
		{"one not ready", func(s []adminapi.ReplicaStatus) { s[0].Ready, s[0].Reason = false, "catching up" }, "a is not ready: catching up"},
		{"named down", func(s []adminapi.ReplicaStatus) { s[1].Named = adminapi.NamedStatus{LastError: "killed"} }, "b: named is not running: killed"},
		{"named late", func(s []adminapi.ReplicaStatus) { s[1].PublishLagMS = 1500 }, "b: named is 1500 ms behind"},
		{"different at one serial", func(s []adminapi.ReplicaStatus) { s[1].Zones[0].Digest = "bb" }, "differs between replicas at serial 7"},
		{"zone in repair", func(s []adminapi.ReplicaStatus) { s[1].Zones[0].LastError = "refused" }, "b: zone example.test.: refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := []adminapi.ReplicaStatus{good("a"), good("b"), good("c")}
			c.adjust(list)
			got := strings.Join(judge(adminapi.Status{Replicas: list}), "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("judge says %q, want %q", got, c.want)
			}
		})
	}
}

func TestJudgeSecondaries(t *testing.T) {
	for _, c := range []struct {
		name   string
		adjust func(s *adminapi.Secondary)
		want   string // the only trouble; "" for none
	}{
		{"all well", func(*adminapi.Secondary) {}, ""},
		{"a foreign one reports nothing", func(s *adminapi.Secondary) { *s = adminapi.Secondary{Name: "s0", Foreign: true} }, ""},
		{"never seen", func(s *adminapi.Secondary) { s.Connected, s.Status = false, nil }, "secondary s0 is not connected to a"},
		{"gone", func(s *adminapi.Secondary) { s.Connected, s.LastSeen = false, time.Unix(1_700_000_000, 0) },
			"secondary s0 is not connected to a; last seen at 2023-11-14T22:13:20Z"},
		{"not ready", func(s *adminapi.Secondary) { s.Status.Ready, s.Status.Reason = false, "3 zones are not loaded" },
			"secondary s0 is not ready: 3 zones are not loaded"},
		{"a little behind", func(s *adminapi.Secondary) { s.Status.LagMS = 4000 }, ""},
		{"behind", func(s *adminapi.Secondary) { s.Status.LagMS = 6000 }, "secondary s0 is 6000 ms behind"},
		{"behind and does not know it", func(s *adminapi.Secondary) { s.Behind = []adminapi.SecondarySerial{{LagMS: 7000}} }, "secondary s0 is 7000 ms behind"},
		{"clock", func(s *adminapi.Secondary) { s.Status.SkewMS = -600_000 }, "the clock of secondary s0 is -10m0s off: mend its time synchronisation"},
		{"held", func(s *adminapi.Secondary) {
			s.Status.Held = &adminapi.CatalogHold{Serial: 9, Members: 20, Removed: 15}
		},
			"secondary s0 holds back version 9 of the catalog, which would remove 15 of 20 zones; if that is intended: zonekeeper catalog confirm --serial 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := adminapi.Secondary{Name: "s0", Connected: true, Status: &adminapi.SecondaryStatus{Ready: true}}
			c.adjust(&s)
			if got := strings.Join(judgeSecondaries(adminapi.Status{Replica: "a", Secondaries: []adminapi.Secondary{s}}), "; "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

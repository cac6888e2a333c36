package primary

import (
	"strings"
	"testing"

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

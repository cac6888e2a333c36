package named_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/named"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// BenchmarkUpdate measures one stream into one zone on a tmpfs, RRs of new names, one guarded message after another.
func BenchmarkUpdate(b *testing.B) {
	for _, version := range []string{"9.20", "9.18"} {
		for _, rrs := range []int{1, 10, 50, 500} {
			b.Run(fmt.Sprintf("named=%s/rrs=%d", version, rrs), func(b *testing.B) {
				srv := start(b, config(b, namedtest.Get(b, version)), nil, content("example.test", 1, 1))
				s := srv.session(b, 0)
				soa(b, s, "example.test")
				state, _ := srv.Watch()
				st := s.NewStream()
				defer st.Close()
				o := name("example.test")
				before := namedtest.CPU(b, state.PID)
				b.ResetTimer()
				for i := range b.N {
					serial := uint32(i + 1)
					updates := []zone.RR{soaRR(o, serial+1)}
					for j := range rrs {
						updates = append(updates, zone.RR{Name: name(fmt.Sprintf("n%d-%d.example.test", i, j)), Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: "\x0a\x00\x00\x01"})
					}
					if err := st.Update(b.Context(), o, []zone.RR{soaRR(o, serial)}, updates); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				n := float64(b.N * rrs)
				b.ReportMetric(float64(namedtest.CPU(b, state.PID)-before)/n/1e3, "named-µs/RR")
				b.ReportMetric(n/b.Elapsed().Seconds(), "RR/s")
			})
		}
	}
}

// BenchmarkZones measures what the number of zones costs: a start with all of them, adding one more, giving new keys.
func BenchmarkZones(b *testing.B) {
	for _, version := range []string{"9.20", "9.18"} {
		for _, n := range []int{10, 10000} {
			b.Run(fmt.Sprintf("named=%s/zones=%d", version, n), func(b *testing.B) {
				var zones []*zone.Zone
				for i := range n {
					zones = append(zones, content(fmt.Sprintf("z%d.test", i), 1, 1))
				}
				began := time.Now()
				srv := start(b, config(b, namedtest.Get(b, version)), nil, zones...)
				s := srv.session(b, 0)
				soa(b, s, fmt.Sprintf("z%d.test", n-1))
				started := time.Since(began)
				ctx := context.Background()
				began = time.Now()
				for range 3 {
					if err := s.SetKeys(ctx, nil); err != nil {
						b.Fatal(err)
					}
				}
				keys := time.Since(began) / 3
				b.ResetTimer()
				for i := range b.N {
					origin := fmt.Sprintf("new%d.test", i)
					if err := s.AddZone(ctx, named.ZoneConf{Name: name(origin)}, content(origin, 1, 1)); err != nil {
						b.Fatal(err)
					}
					soa(b, s, origin)
				}
				b.ReportMetric(float64(started.Milliseconds()), "start-ms")
				b.ReportMetric(float64(keys.Milliseconds()), "keys-ms")
			})
		}
	}
}

// BenchmarkLoad measures replacing a large zone's content: writing the raw file, and named's reading it.
func BenchmarkLoad(b *testing.B) {
	z := content("large.test", 1, 200_000)
	for _, version := range []string{"9.20", "9.18"} {
		b.Run("named="+version, func(b *testing.B) {
			srv := start(b, config(b, namedtest.Get(b, version)), nil)
			s := srv.session(b, 0)
			b.ResetTimer()
			for range b.N {
				if err := s.DeleteZone(b.Context(), z.Origin()); err != nil {
					b.Fatal(err)
				}
				if err := s.AddZone(b.Context(), named.ZoneConf{Name: z.Origin()}, z); err != nil {
					b.Fatal(err)
				}
				soa(b, s, "large.test")
			}
			b.ReportMetric(float64(b.N*z.Records())/b.Elapsed().Seconds(), "RR/s")
		})
	}
}

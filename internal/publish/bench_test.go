package publish

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/named/namedtest"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// BenchmarkPublish measures the way from log entries of 100 one-RR updates to named, over 1 and 8 zones: what a loaded
// cluster does. The state machine's own work is in it.
func BenchmarkPublish(b *testing.B) {
	for _, version := range []string{"9.20", "9.18"} {
		for _, zones := range []int{1, 8} {
			b.Run(fmt.Sprintf("named=%s/zones=%d", version, zones), func(b *testing.B) {
				r := newRig(b, namedtest.Get(b, version))
				r.pub.Start(r.m)
				var ids []fsm.ZoneID
				for i := range zones {
					ids = append(ids, r.addZone(zoneName(i), fsm.ZoneSettings{}))
					r.expect(ids[i])
				}
				state, _ := r.srv.Watch()
				before := namedtest.CPU(b, state.PID)
				own := namedtest.CPU(b, os.Getpid())
				b.ResetTimer()
				var last uint64
				lag := time.Duration(0)
				for i := range b.N {
					cmds := make([]fsm.Command, 100)
					for j := range cmds {
						id := ids[(i*100+j)%zones]
						data := string(binary.BigEndian.AppendUint32(nil, uint32(i*100+j)))
						cmds[j] = message(id, add(fmt.Sprintf("n%d-%d.%s", i, j, id.Name), 60, zone.TypeA, data))
					}
					last = r.must(cmds...).Index
					lag = max(lag, r.pub.Lag().Age)
					for r.pub.Lag().Steps > 50*zones { // a real cluster pushes back as well
						time.Sleep(time.Millisecond)
					}
				}
				for _, id := range ids {
					if _, err := r.pub.WaitPublished(context.Background(), id, last); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				n := float64(b.N * 100)
				b.ReportMetric(float64(namedtest.CPU(b, state.PID)-before)/n/1e3, "named-µs/update")
				b.ReportMetric(float64(namedtest.CPU(b, os.Getpid())-own)/n/1e3, "own-µs/update")
				b.ReportMetric(n/b.Elapsed().Seconds(), "updates/s")
				b.ReportMetric(float64(lag.Milliseconds()), "max-lag-ms")
			})
		}
	}
}

// BenchmarkAdmit measures what a read pays when named is in step.
func BenchmarkAdmit(b *testing.B) {
	r := newRig(b, namedtest.Get(b, "9.20"))
	r.pub.Start(r.m)
	id := r.addZone("example.test", fsm.ZoneSettings{})
	r.expect(id)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		t, err := r.pub.WaitPublished(context.Background(), id, r.index)
		if err != nil || !r.pub.Valid(t) {
			b.Fatal(err)
		}
	}
}

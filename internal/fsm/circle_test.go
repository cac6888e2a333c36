package fsm

import "testing"

// soa is the line that sets the serial of example.test.
func soaLine(serial string) string {
	return "add example.test. 3600 SOA ns.example.test. hostmaster.example.test. " + serial + " 3600 600 1209600 60"
}

// TestSerialGoesRound: three requests of one entry lead the serial once round the number space (RFC 1982), so that it is what
// it was. The zone has a boundary all the same: whoever waits for the changes must not wait for ever.
func TestSerialGoesRound(t *testing.T) {
	for _, tc := range []struct {
		name  string
		extra []string
		want  int // RRs in the boundary
	}{
		{"and nothing else changes", nil, 0},
		{"and a record is added", []string{"add a.example.test. 60 A 192.0.2.7"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 1)
			id := c.addZone("example.test.")
			v := c.addKey("k.")
			c.tick(1000)
			eff := c.apply(
				c.signed("k.", v, updateWire(t, "example.test.", soaLine("2147483648"))),
				c.signed("k.", v, updateWire(t, "example.test.", soaLine("4294967295"))),
				c.signed("k.", v, updateWire(t, "example.test.", append(tc.extra, soaLine("1"))...)),
			)
			for i, r := range eff.Results {
				if r.RCode != 0 {
					t.Fatalf("request %d: %+v", i, r)
				}
			}
			if len(eff.Boundaries) != 1 {
				t.Fatalf("%d boundaries, want one; pending %v", len(eff.Boundaries), eff.Pending)
			}
			b := eff.Boundaries[0]
			if b.From != 1 || b.To != 1 || len(b.Diff.Del)+len(b.Diff.Add) != tc.want {
				t.Errorf("boundary %+v, want from 1 to 1 with %d RRs", b, tc.want)
			}
			if h := c.machines[0].History(id); len(h) != min(1, tc.want) {
				t.Errorf("%d boundaries are remembered: one that changes nothing is nothing to go through", len(h))
			}
		})
	}
}

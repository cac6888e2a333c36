package propagation

import (
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// clocks: named signs with the time of a clock that is ten minutes ahead, then the secondary's own clock is as wrong.
func (in *input) clocks() {
	const wrong = 10 * time.Minute
	mark, before := in.mark(victim), in.n
	own := in.Own(victim)
	named := harness.TakeClock(in.t, own.Named.PID)
	named.Shift(wrong)
	in.change()
	in.told(victim, "BADTIME")
	in.logged(victim, mark, "BADTIME")
	must(in.t, in.right(in.t.Context(), victim, before))
	named.Shift(0)
	in.shown(patient)

	process := harness.TakeClock(in.t, own.PID)
	process.Shift(wrong)
	in.told(victim, "off the median of the primaries")
	in.logged(victim, mark, "off the median of the primaries")
	if skew := time.Duration(in.Own(victim).SkewMS) * time.Millisecond; skew < wrong-5*time.Second || skew > wrong+5*time.Second {
		in.t.Errorf("the status says that the clock is off by %v, it is by %v", skew, wrong)
	}
	in.change()
	in.shown(patient)
	process.Shift(0)
	in.Ready(victim)
}

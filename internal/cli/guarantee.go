package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// Flags of a guarantee.
const (
	flagWaitSecondaries = "wait-secondaries"
	flagWaitLimit       = "wait-limit"
)

// waitFlags are the flags of a propagation guarantee.
type waitFlags struct {
	secondaries int
	limit       time.Duration
}

func (g *waitFlags) add(f *pflag.FlagSet) {
	f.IntVar(&g.secondaries, flagWaitSecondaries, 0, "acknowledge an update only when this many of our secondaries serve it; 0 for none")
	f.DurationVar(&g.limit, flagWaitLimit, 0, "for how long at most, up to 10s; the answer is NOERROR all the same (default 2s)")
}

// over puts the flags that were given over an old guarantee; nil is none.
func (g *waitFlags) over(old *adminapi.Guarantee, changed func(flag string) bool) *adminapi.Guarantee {
	var out adminapi.Guarantee
	if old != nil {
		out = *old
	}
	if changed(flagWaitLimit) {
		out.LimitMS = int((g.limit + time.Millisecond - 1) / time.Millisecond) // less than one is not the default
	}
	if changed(flagWaitSecondaries) {
		if out.Secondaries = g.secondaries; out.Secondaries == 0 {
			return nil
		}
	}
	if out == (adminapi.Guarantee{}) {
		return nil
	}
	return &out
}

// guaranteeText is what people read, "" for none.
func guaranteeText(g *adminapi.Guarantee) string {
	if g == nil || g.Secondaries == 0 {
		return ""
	}
	noun := "secondary"
	if g.Secondaries > 1 {
		noun = "secondaries"
	}
	text := fmt.Sprintf("%d %s", g.Secondaries, noun)
	if g.LimitMS > 0 {
		text += ", at most " + (time.Duration(g.LimitMS) * time.Millisecond).String()
	}
	return text
}

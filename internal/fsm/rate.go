package fsm

import (
	"errors"
	"fmt"
)

// Bounds of a Rate.
const (
	maxRateGroup     = 255
	maxRatePerSecond = 1_000_000
)

// Rate bounds the updates that are signed with the keys of a group, together. The state machine only remembers it: who takes requests holds it, because time is
// needed for that.
type Rate struct {
	// Group is the same for all keys that share the bound, such as those of a tenant: 1 to 255 octets of printable ASCII; "" for no bound.
	Group string
	// PerSecond is at most 1,000,000.
	PerSecond uint32
}

// Check says what is wrong with a rate, whatever the state.
func (r Rate) Check() error {
	if r == (Rate{}) {
		return nil
	}
	if r.Group == "" || r.PerSecond == 0 {
		return errors.New("rate: a group without a number of updates a second, or the other way round; give both, or neither")
	}
	if r.PerSecond > maxRatePerSecond {
		return fmt.Errorf("rate: %d updates a second; use at most %d", r.PerSecond, maxRatePerSecond)
	}
	if len(r.Group) > maxRateGroup {
		return fmt.Errorf("rate: the group's name has %d octets; use at most %d", len(r.Group), maxRateGroup)
	}
	for i := range len(r.Group) {
		if c := r.Group[i]; c < ' ' || c > '~' {
			return fmt.Errorf("rate: the group's name %q; use printable ASCII", r.Group)
		}
	}
	return nil
}

func (r Rate) append(b []byte) []byte {
	return appendUvarint(appendString(b, r.Group), uint64(r.PerSecond))
}

func (r *Rate) read(in *reader) {
	r.Group = in.string()
	r.PerSecond = in.uint32("updates a second")
}

// RatedUpdates are how many updates of one group an entry had.
type RatedUpdates struct {
	Group   string
	Updates int
}

// countRated notes an update with a key that has a rate.
func (m *Machine) countRated(r Rate) {
	if r.Group == "" {
		return
	}
	for i := range m.eff.Rated {
		if m.eff.Rated[i].Group == r.Group {
			m.eff.Rated[i].Updates++
			return
		}
	}
	m.eff.Rated = append(m.eff.Rated, RatedUpdates{Group: r.Group, Updates: 1})
}

func (m *Machine) putKeyRate(c *PutKeyRate) error {
	return m.changeKey(c.Key, c.Actor, func(k *Key) error {
		k.Rate = c.Rate
		return c.Rate.Check()
	})
}

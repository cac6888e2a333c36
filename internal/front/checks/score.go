package checks

import "time"

// Best is the highest score.
const Best = 2

// Score is how useful a node is as the holder of the address: 2 when a primary is ready, 1 when one answers and none is ready, 0 when
// none answers.
func Score(states map[string]State) int {
	best := Down
	for _, s := range states {
		best = max(best, s)
	}
	return int(best)
}

// Damper keeps the address from moving when a quorum goes and comes for every node at slightly different moments: the holder's
// score falls late, and the others' rises late. It is pure: the time is an argument. The zero value has the score 0 and no delay;
// start from [NewDamper].
type Damper struct {
	Fall time.Duration // a holder's score falls after so long without
	Rise time.Duration // another node's rises after so long with

	levels [Best]level // of the scores 1 and 2
}

// level is whether one score has been reached.
type level struct {
	on      bool
	pending bool // the score says otherwise
	since   time.Time
}

// NewDamper has the times of docs/adr/0005-front.md, decision 5, and the score 0.
func NewDamper() *Damper { return &Damper{Fall: 100 * time.Millisecond, Rise: time.Second} }

// Next is told the score of this moment and whether this node holds the address. It returns the score to announce, and after which
// time it has to be called again although nothing has changed; 0: not before something changes.
func (d *Damper) Next(now time.Time, score int, holder bool) (out int, again time.Duration) {
	for i := range d.levels {
		l := &d.levels[i]
		reached := score > i
		if reached == l.on {
			l.pending = false
			continue
		}
		if !l.pending {
			l.pending, l.since = true, now
		}
		var delay time.Duration
		switch {
		case reached && !holder:
			delay = d.Rise
		case !reached && holder:
			delay = d.Fall
		}
		left := l.since.Add(delay).Sub(now)
		if left <= 0 {
			l.on, l.pending = reached, false
		} else if again == 0 || left < again {
			again = left
		}
	}
	for i, l := range d.levels {
		if l.on {
			out = i + 1
		}
	}
	return out, again
}

package proxy

// contest decides whom to ask next and whose answer to take. It knows neither time
// nor network: it is told what happens, and each call returns the next move.
//
// Candidates stand in the order in which they shall be asked. One is asked at
// first; the next one when it fails, and as well as it when it is late.
//
// A whole zone in place of differences is kept as a spare while one more live
// candidate is asked: a primary that was just rebuilt remembers few changes, the
// others have their journals.
type contest struct {
	phases  []phase
	live    []bool
	spare   int  // candidate whose answer is the spare, -1 when there is none
	opinion bool // somebody was asked to do better than a spare; once is enough
}

// phase of one candidate.
type phase uint8

const (
	waiting phase = iota // may be asked
	asked
	heard  // the first octet of its answer has come
	kept   // its answer is the spare
	failed // will not be asked again
)

// move is what to do next; -1 is nobody.
type move struct {
	ask  int
	take int  // use its answer, stop all others
	over bool // nobody is left
}

var stay = move{ask: -1, take: -1} //nolint:gochecknoglobals // a constant that Go can't write as one

func newContest(live []bool) *contest {
	return &contest{phases: make([]phase, len(live)), live: live, spare: -1}
}

// next asks the first candidate that waits; with none left the contest is over
// unless an answer is still under way.
func (c *contest) next() move {
	for i, ph := range c.phases {
		if ph == waiting {
			c.phases[i] = asked
			return move{ask: i, take: -1}
		}
	}
	if c.underWay() {
		return stay
	}
	return move{ask: -1, take: -1, over: true}
}

func (c *contest) underWay() bool {
	for _, ph := range c.phases {
		if ph == asked || ph == heard {
			return true
		}
	}
	return false
}

func take(i int) move { return move{ask: -1, take: i} }

// begin starts the contest.
func (c *contest) begin() move { return c.next() }

// hear: the first octet of i's answer has come.
func (c *contest) hear(i int) {
	if c.phases[i] == asked {
		c.phases[i] = heard
	}
}

// late: nobody was asked and no answer came for the time after which one hedges.
func (c *contest) late() move {
	if c.spare >= 0 {
		return take(c.spare)
	}
	for _, ph := range c.phases {
		if ph == heard {
			return stay // it works on it; what it sends has a limit of its own
		}
	}
	m := c.next()
	m.over = false // there may still be an answer
	return m
}

// fail: i gave no good answer.
func (c *contest) fail(i int) move {
	c.phases[i] = failed
	if c.spare < 0 {
		return c.next()
	}
	if c.underWay() {
		return stay
	}
	return take(c.spare)
}

// good: i gave a good answer. whole: all records, although differences were asked
// for. news: it brings something that the name server does not have.
func (c *contest) good(i int, whole, news bool) move {
	if c.spare >= 0 {
		if whole || !news {
			return take(c.spare)
		}
		return take(i)
	}
	if !whole || c.opinion {
		return take(i)
	}
	c.opinion = true
	c.phases[i] = kept
	c.spare = i
	if c.underWay() {
		return stay // whoever it is
	}
	for j, ph := range c.phases {
		if ph == waiting && c.live[j] {
			c.phases[j] = asked
			return move{ask: j, take: -1}
		}
	}
	return take(i)
}

// lose: i's answer was taken and broke off. The others have been stopped; they may
// be asked again.
func (c *contest) lose(i int) move {
	c.spare = -1
	for j, ph := range c.phases {
		if ph != failed {
			c.phases[j] = waiting
		}
	}
	c.phases[i] = failed
	return c.next()
}

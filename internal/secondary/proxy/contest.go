package proxy

// contest decides whom to ask next and whose answer to take. It knows neither time
// nor network: it is told what happens, and each call returns the next move.
//
// Candidates stand in the order in which they shall be asked. One is asked at
// first; the next one when it fails, and as well as it when it is late.
//
// When differences are asked for and somebody sends a whole zone, one more live
// candidate is asked: a primary that was just rebuilt remembers few changes, the
// others have their journals. What is second best is kept meanwhile.
type contest struct {
	phases  []phase
	values  []value
	live    []bool
	spare   int  // candidate with the best answer that is kept, -1 when there is none
	opinion bool // somebody sends a whole zone; once is enough
}

// phase of one candidate.
type phase uint8

const (
	waiting  phase = iota // may be asked
	asked                 // nothing has come
	heard                 // it is sending
	answered              // all that is needed is here
	failed
)

// value of a good answer, best last.
type value uint8

const (
	noNews value = iota // what the name server has
	whole               // a whole zone in place of differences
	best
)

// move is what to do next; -1 is nobody.
type move struct {
	ask  int
	take int  // use its answer, stop all others
	over bool // nobody is left
}

func stay() move      { return move{ask: -1, take: -1} }
func ask(i int) move  { return move{ask: i, take: -1} }
func take(i int) move { return move{ask: -1, take: i} }

func newContest(live []bool) *contest {
	return &contest{phases: make([]phase, len(live)), values: make([]value, len(live)), live: live, spare: -1}
}

// begin starts the contest.
func (c *contest) begin() move { return c.next() }

// next asks the first candidate that waits. With none left the best answer is
// taken, unless somebody is still under way.
func (c *contest) next() move {
	for i, ph := range c.phases {
		if ph == waiting {
			c.phases[i] = asked
			return ask(i)
		}
	}
	return c.settle()
}

// settle waits for those who are under way, and then takes the best answer.
func (c *contest) settle() move {
	switch {
	case c.underWay():
		return stay()
	case c.spare >= 0:
		return take(c.spare)
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

// hear: something of i's answer has come. full: it is a whole zone, although
// differences were asked for.
func (c *contest) hear(i int, full bool) move {
	c.phases[i] = heard
	if !full || c.opinion {
		return stay()
	}
	return c.second(i)
}

// second asks a live one to do better than i, unless somebody else is under way.
func (c *contest) second(i int) move {
	c.opinion = true
	for j, ph := range c.phases {
		if j != i && (ph == asked || ph == heard) {
			return stay()
		}
	}
	for j, ph := range c.phases {
		if ph == waiting && c.live[j] {
			c.phases[j] = asked
			return ask(j)
		}
	}
	return stay()
}

// late: nothing has come from anybody for the time after which one hedges.
func (c *contest) late() move {
	if c.spare >= 0 {
		return take(c.spare)
	}
	return c.next()
}

// fail: i gives no good answer.
func (c *contest) fail(i int) move {
	c.phases[i] = failed
	if c.spare >= 0 || c.opinion && c.underWay() {
		return c.settle()
	}
	return c.next()
}

// good: i gave a good answer.
func (c *contest) good(i int, v value) move {
	c.phases[i], c.values[i] = answered, v
	if v == best || v == noNews && !c.opinion {
		return take(i)
	}
	if c.spare < 0 || v > c.values[c.spare] {
		c.spare = i
	}
	if !c.opinion {
		if m := c.second(i); m.ask >= 0 {
			return m
		}
	}
	return c.settle()
}

// expire: the time for an answer is over. Only who is sending may go on.
func (c *contest) expire() move {
	if c.spare >= 0 {
		return take(c.spare)
	}
	sending := false
	for i, ph := range c.phases {
		switch ph {
		case waiting, asked:
			c.phases[i] = failed
		case heard:
			sending = true
		case answered, failed:
		}
	}
	return move{ask: -1, take: -1, over: !sending}
}

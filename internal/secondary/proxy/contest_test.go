package proxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func (m move) String() string {
	var out []string
	if m.ask >= 0 {
		out = append(out, fmt.Sprintf("ask %d", m.ask))
	}
	if m.take >= 0 {
		out = append(out, fmt.Sprintf("take %d", m.take))
	}
	if m.over {
		out = append(out, "over")
	}
	if len(out) == 0 {
		return "stay"
	}
	return strings.Join(out, ", ")
}

// step tells the contest what happens, in words.
func (c *contest) step(t *testing.T, word string) move {
	t.Helper()
	var i int
	switch {
	case word == "begin":
		return c.begin()
	case word == "late":
		return c.late()
	}
	what, at, _ := strings.Cut(word, " ")
	if _, err := fmt.Sscan(at, &i); err != nil {
		t.Fatalf("%q: %v", word, err)
	}
	switch what {
	case "heard":
		c.hear(i)
		return stay
	case "fail":
		return c.fail(i)
	case "good":
		return c.good(i, false, true)
	case "current": // nothing new
		return c.good(i, false, false)
	case "whole":
		return c.good(i, true, true)
	case "lose":
		return c.lose(i)
	}
	t.Fatalf("unknown event %q", word)
	return stay
}

// TestContest: events and the moves that answer them. live marks candidates, "+"
// live, "-" not.
func TestContest(t *testing.T) {
	for _, tc := range []struct{ name, live, script string }{
		{"the first one answers", "+++", "begin → ask 0; heard 0 → stay; good 0 → take 0"},
		{"nobody", "", "begin → over"},
		{"failures in a row", "+++", "begin → ask 0; fail 0 → ask 1; fail 1 → ask 2; fail 2 → over"},
		{"a late one is hedged", "+++", "begin → ask 0; late → ask 1; good 1 → take 1"},
		{"the late one wins", "+++", "begin → ask 0; late → ask 1; good 0 → take 0"},
		{"all are late", "++", "begin → ask 0; late → ask 1; late → stay; late → stay; good 0 → take 0"},
		{"all are late and fail", "++", "begin → ask 0; late → ask 1; late → stay; fail 0 → stay; fail 1 → over"},
		{"a hedged one fails", "+++", "begin → ask 0; late → ask 1; fail 1 → ask 2; fail 0 → stay; good 2 → take 2"},
		{"one that sends is not hedged", "++", "begin → ask 0; heard 0 → stay; late → stay; fail 0 → ask 1; good 1 → take 1"},
		{"broken off", "+++", "begin → ask 0; good 0 → take 0; lose 0 → ask 1; good 1 → take 1; lose 1 → ask 2; good 2 → take 2; lose 2 → over"},
		{"stopped ones get another chance", "++", "begin → ask 0; late → ask 1; good 1 → take 1; lose 1 → ask 0; good 0 → take 0"},
		{"failed ones get none", "+++", "begin → ask 0; fail 0 → ask 1; good 1 → take 1; lose 1 → ask 2; fail 2 → over"},

		{"a whole zone, the next has differences", "+++", "begin → ask 0; whole 0 → ask 1; good 1 → take 1"},
		{"a whole zone, the next as well", "+++", "begin → ask 0; whole 0 → ask 1; whole 1 → take 0"},
		{"a whole zone, the next has no news", "+++", "begin → ask 0; whole 0 → ask 1; current 1 → take 0"},
		{"a whole zone, the next fails", "+++", "begin → ask 0; whole 0 → ask 1; fail 1 → take 0"},
		{"a whole zone, the next is late", "+++", "begin → ask 0; whole 0 → ask 1; late → take 0"},
		{"a whole zone, nobody else", "+", "begin → ask 0; whole 0 → take 0"},
		{"a whole zone, nobody else is live", "+--", "begin → ask 0; whole 0 → take 0"},
		{"a whole zone, a live one further down", "+-+", "begin → ask 0; whole 0 → ask 2; good 2 → take 2"},
		{"a whole zone while another is asked", "+++", "begin → ask 0; late → ask 1; whole 0 → stay; good 1 → take 1"},
		{"a whole zone while another is asked and is late", "+++", "begin → ask 0; late → ask 1; whole 0 → stay; late → take 0"},
		{"a whole zone while another is asked and fails", "+++", "begin → ask 0; late → ask 1; whole 0 → stay; fail 1 → take 0"},
		{"a whole zone broken off, the better one stopped", "+++", "begin → ask 0; whole 0 → ask 1; late → take 0; lose 0 → ask 1; whole 1 → take 1"},
		{"differences broken off, back to the whole zone", "+++", "begin → ask 0; whole 0 → ask 1; good 1 → take 1; lose 1 → ask 0; whole 0 → take 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			live := make([]bool, len(tc.live))
			for i := range live {
				live[i] = tc.live[i] == '+'
			}
			c := newContest(live)
			for _, line := range strings.Split(tc.script, "; ") {
				event, want, _ := strings.Cut(line, " → ")
				if got := c.step(t, event).String(); got != want {
					t.Fatalf("%s: %s, want %s", event, got, want)
				}
			}
		})
	}
}

// TestContestRandom: whatever happens, the contest asks each candidate that has not
// failed, never takes an answer that was not given, never two moves at once, and
// ends only when nobody is left.
func TestContestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 20_000 {
		live := make([]bool, rng.IntN(5))
		for i := range live {
			live[i] = rng.IntN(2) == 0
		}
		c := newContest(live)
		running, answered, failures := map[int]bool{}, map[int]bool{}, map[int]bool{}
		var log []string
		fatal := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%v: %s", log, fmt.Sprintf(format, args...))
		}
		m := c.begin()
		for events := 0; ; events++ {
			log = append(log, m.String())
			if m.ask >= 0 && m.take >= 0 || m.over && (m.ask >= 0 || m.take >= 0) {
				fatal("two moves")
			}
			if m.over {
				if len(running) > 0 || len(failures) != len(live) {
					fatal("over, but %v are running and %v have failed", running, failures)
				}
				break
			}
			if m.ask >= 0 {
				if running[m.ask] || failures[m.ask] {
					fatal("asked again")
				}
				running[m.ask] = true
			}
			if m.take >= 0 {
				if !answered[m.take] {
					fatal("took an answer that is not there")
				}
				if rng.IntN(2) == 0 {
					break
				}
				running, answered = map[int]bool{}, map[int]bool{}
				failures[m.take] = true
				log = append(log, fmt.Sprintf("lose %d:", m.take))
				m = c.lose(m.take)
				continue
			}
			if len(running) == 0 {
				fatal("nobody is asked and it is not over")
			}
			var all []int
			for i := range live {
				if running[i] {
					all = append(all, i)
				}
			}
			i := all[rng.IntN(len(all))]
			switch rng.IntN(5) {
			case 0:
				log = append(log, "late:")
				m = c.late()
			case 1:
				log = append(log, fmt.Sprintf("heard %d:", i))
				c.hear(i)
				m = stay
			case 2:
				log = append(log, fmt.Sprintf("fail %d:", i))
				delete(running, i)
				failures[i] = true
				m = c.fail(i)
			default:
				whole, news := rng.IntN(2) == 0, rng.IntN(2) == 0
				log = append(log, fmt.Sprintf("good %d %v %v:", i, whole, news))
				delete(running, i)
				answered[i] = true
				m = c.good(i, whole, news)
			}
		}
	}
}

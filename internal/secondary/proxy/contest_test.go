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
	case word == "expire":
		return c.expire()
	}
	what, at, _ := strings.Cut(word, " ")
	if _, err := fmt.Sscan(at, &i); err != nil {
		t.Fatalf("%q: %v", word, err)
	}
	switch what {
	case "heard":
		return c.hear(i, false)
	case "full": // it sends a whole zone in place of differences
		return c.hear(i, true)
	case "fail":
		return c.fail(i)
	case "good":
		return c.good(i, best)
	case "current":
		return c.good(i, noNews)
	case "whole":
		return c.good(i, whole)
	}
	t.Fatalf("unknown event %q", word)
	return stay()
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
		{"one that sends and stalls is hedged", "++", "begin → ask 0; heard 0 → stay; late → ask 1; heard 0 → stay; good 0 → take 0"},
		{"broken off", "+++", "begin → ask 0; heard 0 → stay; fail 0 → ask 1; heard 1 → stay; fail 1 → ask 2; good 2 → take 2"},
		{"no news", "++", "begin → ask 0; heard 0 → stay; current 0 → take 0"},

		{"a whole zone, the next has differences", "+++", "begin → ask 0; full 0 → ask 1; whole 0 → stay; heard 1 → stay; good 1 → take 1"},
		{"a whole zone is still sent, the next has differences", "+++", "begin → ask 0; full 0 → ask 1; good 1 → take 1"},
		{"a whole zone, the next as well", "+++", "begin → ask 0; full 0 → ask 1; full 1 → stay; whole 0 → stay; whole 1 → take 0"},
		{"a whole zone, the next is sooner", "+++", "begin → ask 0; full 0 → ask 1; full 1 → stay; whole 1 → stay; late → take 1"},
		{"a whole zone, the next has no news", "+++", "begin → ask 0; full 0 → ask 1; whole 0 → stay; current 1 → take 0"},
		{"the next has no news, then the whole zone", "+++", "begin → ask 0; full 0 → ask 1; current 1 → stay; whole 0 → take 0"},
		{"the next has no news, the whole zone breaks off", "+++", "begin → ask 0; full 0 → ask 1; current 1 → stay; fail 0 → take 1"},
		{"a whole zone, the next fails", "+++", "begin → ask 0; full 0 → ask 1; whole 0 → stay; fail 1 → take 0"},
		{"a whole zone is still sent, the next fails", "+++", "begin → ask 0; full 0 → ask 1; fail 1 → stay; whole 0 → take 0"},
		{"a whole zone, the next is late", "+++", "begin → ask 0; full 0 → ask 1; whole 0 → stay; late → take 0"},
		{"a whole zone stalls, the next is late", "+++", "begin → ask 0; full 0 → ask 1; late → ask 2; good 2 → take 2"},
		{"a whole zone in one piece", "+++", "begin → ask 0; whole 0 → ask 1; whole 1 → take 0"},
		{"a whole zone in one piece, nobody else is live", "+--", "begin → ask 0; whole 0 → take 0"},
		{"a whole zone in one piece while another is asked", "++", "begin → ask 0; late → ask 1; whole 0 → stay; late → take 0"},
		{"both fail", "+++", "begin → ask 0; full 0 → ask 1; fail 0 → stay; fail 1 → ask 2; fail 2 → over"},
		{"a whole zone, nobody else", "+", "begin → ask 0; full 0 → stay; whole 0 → take 0"},
		{"a whole zone, nobody else is live", "+--", "begin → ask 0; full 0 → stay; whole 0 → take 0"},
		{"a whole zone, a live one further down", "+-+", "begin → ask 0; full 0 → ask 2; good 2 → take 2"},
		{"a whole zone while another is asked", "+++", "begin → ask 0; late → ask 1; full 0 → stay; whole 0 → stay; good 1 → take 1"},

		{"time is over, nothing has come", "++", "begin → ask 0; expire → over"},
		{"time is over, one is sending", "++", "begin → ask 0; heard 0 → stay; expire → stay; late → stay; good 0 → take 0"},
		{"time is over, one is sending and fails", "++", "begin → ask 0; heard 0 → stay; expire → stay; fail 0 → over"},
		{"time is over, there is a spare", "++", "begin → ask 0; full 0 → ask 1; whole 0 → stay; expire → take 0"},
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
// failed, takes only an answer that was given, makes one move at once, always waits
// for somebody, and is over only when nobody is left.
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
		running, answers, failures := map[int]bool{}, map[int]bool{}, map[int]bool{}
		full := map[int]bool{}
		expired := false
		var log []string
		fatal := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("%v: %s", log, fmt.Sprintf(format, args...))
		}
		for m := c.begin(); ; {
			log = append(log, m.String())
			if m.ask >= 0 && m.take >= 0 || m.over && (m.ask >= 0 || m.take >= 0) {
				fatal("two moves")
			}
			if m.over {
				if len(running) > 0 || len(answers) > 0 || !expired && len(failures) != len(live) {
					fatal("over, but %v are running, %v have answered, %v have failed", running, answers, failures)
				}
				break
			}
			if m.ask >= 0 {
				if running[m.ask] || failures[m.ask] || answers[m.ask] || expired {
					fatal("asked again, or too late")
				}
				running[m.ask] = true
			}
			if m.take >= 0 {
				if !answers[m.take] {
					fatal("took an answer that is not there")
				}
				break
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
			switch rng.IntN(6) {
			case 0:
				log = append(log, "late:")
				m = c.late()
			case 1:
				full[i] = full[i] || c.phases[i] == asked && rng.IntN(2) == 0
				log = append(log, fmt.Sprintf("heard %d %v:", i, full[i]))
				m = c.hear(i, full[i])
			case 2:
				log = append(log, fmt.Sprintf("fail %d:", i))
				delete(running, i)
				failures[i] = true
				m = c.fail(i)
			case 3:
				if rng.IntN(4) > 0 {
					m = stay()
					continue
				}
				log = append(log, "expire:")
				expired = true
				for i, ph := range c.phases {
					if ph == asked {
						delete(running, i) // the caller stops it
					}
				}
				m = c.expire()
			default:
				v := []value{best, noNews}[rng.IntN(2)]
				if full[i] {
					v = whole
				}
				log = append(log, fmt.Sprintf("good %d %d:", i, v))
				delete(running, i)
				answers[i] = true
				m = c.good(i, v)
			}
		}
	}
}

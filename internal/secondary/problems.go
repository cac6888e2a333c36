package secondary

import (
	"slices"
	"time"
)

// problems are sentences for people about what happened lately.
type problems struct {
	all map[string]problem
}

type problem struct {
	text string
	at   time.Time
}

// problemFor is how long a problem is shown after it was seen last.
const problemFor = time.Minute

// note remembers a problem and reports whether it is news. A key has one text, the newest.
func (p *problems) note(key, text string, now time.Time) (news bool) {
	old, seen := p.all[key]
	if p.all == nil {
		p.all = map[string]problem{}
	}
	p.all[key] = problem{text, now}
	return !seen || old.text != text || now.Sub(old.at) > problemFor
}

// list returns what is still to be shown, in order.
func (p *problems) list(now time.Time) []string {
	var out []string
	for key, v := range p.all {
		if now.Sub(v.at) > problemFor {
			delete(p.all, key)
			continue
		}
		out = append(out, v.text)
	}
	slices.Sort(out)
	return out
}

func (s *secondary) problem(key, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problemLocked(key, text)
}

func (s *secondary) problemLocked(key, text string) {
	if s.problems.note(key, text, time.Now()) {
		s.log.Warn("problem", "text", text)
	}
}

// Package quickstart takes the commands out of the chart's README that a test executes word for word.
package quickstart

import (
	"errors"
	"fmt"
	"strings"
)

// Step is one block of commands. It is run by: bash -euo pipefail, in the root of the repository.
type Step struct {
	Name   string
	Script string
}

const (
	markBegin = "<!-- quickstart: "
	markEnd   = " -->"
	fence     = "```"
)

// Steps gives the blocks of a Markdown page that follow a mark such as <!-- quickstart: install -->, in their order. A mark without a block, a
// block without an end and a name that is there twice are errors.
func Steps(page string) ([]Step, error) {
	var steps []Step
	var name, indent string
	var script *strings.Builder
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		text := strings.TrimSpace(line)
		switch {
		case script != nil && text == fence:
			steps = append(steps, Step{Name: name, Script: script.String()})
			name, script = "", nil
		case script != nil:
			script.WriteString(strings.TrimPrefix(line, indent)) // blocks of a list are indented
		case name != "" && strings.HasPrefix(text, fence+"sh"):
			indent = line[:strings.Index(line, fence)]
			script = &strings.Builder{}
		case name != "":
			return nil, fmt.Errorf("quick start %q: a block of sh has to follow its mark at once, not %q", name, text)
		case strings.HasPrefix(text, markBegin) && strings.HasSuffix(text, markEnd):
			name = strings.TrimSuffix(strings.TrimPrefix(text, markBegin), markEnd)
			if seen[name] {
				return nil, fmt.Errorf("quick start: there are two blocks %q; rename one", name)
			}
			seen[name] = true
		}
	}
	if name != "" {
		return nil, fmt.Errorf("quick start %q: its block has no end", name)
	}
	if len(steps) == 0 {
		return nil, errors.New("quick start: the page has no mark " + markBegin + "NAME" + markEnd)
	}
	return steps, nil
}

// Manifests are the texts that a script gives to kubectl in here documents: <<'END' to END.
func (s Step) Manifests() []string {
	var all []string
	var m *strings.Builder
	for line := range strings.Lines(s.Script) {
		switch {
		case m != nil && strings.TrimSpace(line) == "END":
			all = append(all, m.String())
			m = nil
		case m != nil:
			m.WriteString(line)
		case strings.HasPrefix(line, "kubectl apply ") && strings.HasSuffix(strings.TrimSpace(line), "<<'END'"):
			m = &strings.Builder{}
		}
	}
	return all
}

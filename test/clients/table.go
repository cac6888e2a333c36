package clients

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// report is what a campaign saw.
type report struct {
	duration time.Duration
	kills    int
	works    []*work
	rows     []string
}

// fill makes the rows of the table.
func (r *report) fill(s *site) {
	for _, w := range r.works {
		r.rows = append(r.rows, fmt.Sprintf("| %s | %s | %s | `%s` | %d | %d | %.1f s |", w.name, w.version(s), w.what, w.format, w.steps, w.repeats, w.longest.Seconds()))
	}
}

func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "In %s %d times a primary was killed (SIGKILL, one after another, back a second later). All records were as expected at the end, at the\n"+
		"endpoint, and the same at all primaries and secondaries.\n\n", r.duration, r.kills)
	b.WriteString("| client | version | what it did | `key export --format` | pieces of work | repeated | longest |\n|---|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		b.WriteString(row + "\n")
	}
	return b.String()
}

const (
	page  = "../../docs/clients.md"
	begun = "<!-- written by `make clients ARGS=-rewrite` -->\n"
	ended = "<!-- end -->\n"
)

// rewriteTable puts the table into its place in the page.
func rewriteTable(text string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), begun)
	_, after, ok2 := strings.Cut(rest, ended)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table: %q … %q", page, begun, ended)
	}
	return os.WriteFile(page, []byte(before+begun+"\n"+text+"\n"+ended+after), 0o644)
}

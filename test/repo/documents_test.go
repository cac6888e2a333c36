package repo

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/cli"
	"github.com/zonekeeper/zonekeeper/internal/operator/command"
)

// root of the repository, from this package's folder.
const root = "../.."

var rewrite = flag.Bool("rewrite", false, "rewrite the generated pages")

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// outline of a Markdown page: the levels of its headings, and its code blocks.
func outline(text string) (headings []string, blocks []string) {
	var block *strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			if block == nil {
				block = &strings.Builder{}
			} else {
				blocks = append(blocks, block.String())
				block = nil
			}
		case block != nil:
			block.WriteString(line)
		case strings.HasPrefix(line, "#"):
			headings = append(headings, line[:strings.IndexByte(line, ' ')])
		}
	}
	return headings, blocks
}

func TestReadmesHaveTheSameStructure(t *testing.T) {
	h1, b1 := outline(read(t, "README.md"))
	h2, b2 := outline(read(t, "README.zh-CN.md"))
	if strings.Join(h1, " ") != strings.Join(h2, " ") {
		t.Errorf("headings differ:\n%v\n%v", h1, h2)
	}
	if len(b1) != len(b2) {
		t.Fatalf("README.md has %d code blocks, README.zh-CN.md %d", len(b1), len(b2))
	}
	for i := range b1 {
		if b1[i] != b2[i] {
			t.Errorf("code block %d differs:\n%s\n%s", i+1, b1[i], b2[i])
		}
	}
	links := regexp.MustCompile(`\]\(([^)]*)\)`)
	drop := func(l [][]string) (out []string) {
		for _, m := range l {
			if !strings.HasPrefix(m[1], "README") {
				out = append(out, m[1])
			}
		}
		return out
	}
	l1, l2 := drop(links.FindAllStringSubmatch(read(t, "README.md"), -1)), drop(links.FindAllStringSubmatch(read(t, "README.zh-CN.md"), -1))
	if strings.Join(l1, " ") != strings.Join(l2, " ") {
		t.Errorf("links differ:\n%v\n%v", l1, l2)
	}
}

// Commands that the READMEs show are commands that exist.
func TestReadmeCommandsExist(t *testing.T) {
	var ref bytes.Buffer
	if err := program(&ref).Reference(&ref); err != nil {
		t.Fatal(err)
	}
	_, blocks := outline(read(t, "README.md"))
	for _, m := range regexp.MustCompile(`bin/(zonekeeper(?: [a-z]+)+)`).FindAllStringSubmatch(strings.Join(blocks, "\n"), -1) {
		command := m[1]
		// Trailing words may be arguments.
		for !strings.Contains(ref.String(), "## "+command+"\n") {
			i := strings.LastIndexByte(command, ' ')
			if i < 0 {
				t.Errorf("README.md shows %q, which is no command", m[0])
				break
			}
			command = command[:i]
		}
		if command == "zonekeeper" {
			t.Errorf("README.md shows %q, which is no command", m[0])
		}
	}
	makefile := read(t, "Makefile")
	for _, m := range regexp.MustCompile(`(?m)^make ([a-z]+)`).FindAllStringSubmatch(strings.Join(blocks, "\n"), -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("README.md shows make %s, which is no target", m[1])
		}
	}
}

// Relative links and the paths in the component table lead somewhere.
func TestDocumentsNameExistingFiles(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, page := range append(pages, more...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}

	_, table, ok := strings.Cut(read(t, "docs/architecture.md"), "## Which file does what")
	if !ok {
		t.Fatal("docs/architecture.md has no component table")
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:internal|cmd|test|scripts|charts|api)[^`]*)`").FindAllStringSubmatch(table, -1) {
		named[m[1]] = true
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("docs/architecture.md: %v", err)
		}
	}
	for name := range levels() {
		found := false
		for path := range named {
			found = found || path == name || strings.HasPrefix(path, name+"/")
		}
		if !found {
			t.Errorf("docs/architecture.md does not say where %s belongs", name)
		}
	}
}

// Nobody's private paths and no loose ends in what is published.
func TestNoLooseEnds(t *testing.T) {
	loose := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == ".cache" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !regexp.MustCompile(`\.(go|md|sh|ya?ml)$`).MatchString(path):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := loose.Find(b); m != nil {
			t.Errorf("%s: %s", path, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func program(out io.Writer) *cli.Program {
	return &cli.Program{Version: "test", Getenv: func(string) string { return "" }, In: strings.NewReader(""), Out: out, Err: io.Discard}
}

// generated compares a page with what the program says now.
func generated(t *testing.T, path, want string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(filepath.Join(root, path), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if read(t, path) != want {
		t.Errorf("%s is stale; run: make docs", path)
	}
}

func TestGeneratedCLI(t *testing.T) {
	var b bytes.Buffer
	if err := program(&b).Reference(&b, (&command.Program{}).Command()); err != nil {
		t.Fatal(err)
	}
	generated(t, "docs/cli.md", b.String())
}

func TestGeneratedMetrics(t *testing.T) {
	ms := metricsOf(t, filepath.Join(root, "internal"))
	if len(ms) == 0 {
		t.Fatal("no metrics found")
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\nGenerated by `make docs` from the source; do not edit.\n\n")
	b.WriteString("A primary serves them at `/metrics` of its admin address, with etcd's own (`etcd_…`, `grpc_server_…`) and the Go runtime's; secondaries and " +
		"fronts serve theirs in the same way. HAProxy's own are at a front's `haproxy.stats`. The operator's (`zonekeeper_operator_…`) are at its `--metrics-listen`, with controller-runtime's.\n\n")
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	good := regexp.MustCompile(`^zonekeeper_[a-z0-9_]+$`)
	for _, m := range ms {
		if !good.MatchString(m.name) {
			t.Errorf("%s is no name in the style of the others", m.name)
		}
		if m.kind == "counter" && !strings.HasSuffix(m.name, "_total") {
			t.Errorf("%s is a counter, whose name ends in _total", m.name)
		}
		if m.kind == "histogram" && !strings.HasSuffix(m.name, "_seconds") && !strings.HasSuffix(m.name, "_bytes") && !strings.HasSuffix(m.name, "_size") {
			t.Errorf("%s is a histogram, whose name ends in its unit", m.name)
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: its help is no sentence: %q", m.name, m.help)
		}
		b.WriteString("| `" + m.name + "` | " + m.kind + " | " + strings.Join(m.labels, ", ") + " | " + strings.ReplaceAll(m.help, "|", `\|`) + " |\n")
	}
	generated(t, "docs/metrics.md", b.String())
}

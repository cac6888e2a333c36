package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// series are the metrics of docs/metrics.md: their labels, by the names under which Prometheus has them.
func series(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([a-z_, ]*)\\|").FindAllStringSubmatch(string(text), -1) {
		labels := regexp.MustCompile(`[a-z_]+`).FindAllString(m[3], -1)
		if m[2] != "histogram" {
			all[m[1]] = labels
			continue
		}
		all[m[1]+"_bucket"] = append(slices.Clone(labels), "le")
		all[m[1]+"_sum"], all[m[1]+"_count"] = labels, labels
	}
	if len(all) == 0 {
		t.Fatal("docs/metrics.md has no metrics")
	}
	// Of others: Prometheus itself, its Go client, etcd. docs/metrics.md names their families.
	all["up"] = []string{"job"}
	all["process_cpu_seconds_total"], all["process_resident_memory_bytes"] = nil, nil
	all["etcd_disk_wal_fsync_duration_seconds_bucket"] = []string{"le"}
	return all
}

var (
	inQuotes  = regexp.MustCompile(`"[^"]*"`)
	selector  = regexp.MustCompile(`([a-z_][a-z0-9_]*)\{([^}]*)\}`)
	grouping  = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
	durations = regexp.MustCompile(`\[[^\]]*\]`)
	word      = regexp.MustCompile(`[a-zA-Z_$][a-zA-Z0-9_]*`)
)

// check finds what an expression names: series and labels that exist, functions that PromQL has.
func check(t *testing.T, where, expr string, known map[string][]string) {
	t.Helper()
	// Set by PodMonitors for every series of a pod.
	targets := []string{"namespace", "pod", "bindcluster", "role"}
	functions := []string{"max", "min", "sum", "count", "rate", "increase", "abs", "absent", "histogram_quantile", "time"}
	rest := inQuotes.ReplaceAllString(expr, `""`)
	var used []string // labels of all series in the expression
	for _, m := range selector.FindAllStringSubmatch(rest, -1) {
		labels, ok := known[m[1]]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, m[1])
		}
		for _, l := range strings.Split(m[2], ",") {
			l = strings.TrimSpace(word.FindString(l))
			// A constant label is not in the table of labels.
			if !slices.Contains(labels, l) && !slices.Contains(targets, l) && m[1] != "zonekeeper_replica_out_of_service" {
				t.Errorf("%s: %s has no label %s", where, m[1], l)
			}
		}
	}
	bare := grouping.ReplaceAllString(durations.ReplaceAllString(selector.ReplaceAllString(rest, "$1"), ""), "")
	for _, w := range word.FindAllString(inQuotes.ReplaceAllString(bare, ""), -1) {
		labels, ok := known[w]
		if !ok && !slices.Contains(functions, w) {
			t.Errorf("%s: there is no metric or function %s", where, w)
		}
		used = append(used, labels...)
	}
	for _, m := range grouping.FindAllStringSubmatch(rest, -1) {
		for _, l := range word.FindAllString(m[1], -1) {
			if !slices.Contains(used, l) && !slices.Contains(targets, l) {
				t.Errorf("%s: nothing in it has a label %s", where, l)
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(rest, pair[:1]) != strings.Count(rest, pair[1:]) {
			t.Errorf("%s: its %s do not match", where, pair)
		}
	}
}

// Alerts are about series that exist, say what has happened, and lead to a section that says what to do.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections, alerts []string
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		sections = append(sections, m[1])
	}
	known := series(t)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Alert)
			check(t, r.Alert, r.Expr, known)
			if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) {
				t.Errorf("%s has severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s says nothing", r.Alert)
			}
			if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/alerts.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s leads to %s", r.Alert, r.Annotations["runbook_url"])
			}
		}
	}
	if !slices.Equal(alerts, sections) {
		t.Errorf("the alerts are %v, docs/alerts.md has %v", alerts, sections)
	}
}

// The dashboard shows series that exist, and no panel lies on another.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string                   `json:"title"`
			GridPos struct{ X, Y, W, H int } `json:"gridPos"`
			Targets []struct{ Expr string }
		} `json:"panels"`
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	known := series(t)
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			check(t, "panel "+quoted(p.Title), q.Expr, known)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	for _, v := range d.Templating.List {
		for _, name := range regexp.MustCompile(`zonekeeper_\w+`).FindAllString(v.Definition, -1) {
			if _, ok := known[name]; !ok {
				t.Errorf("variable %s: there is no metric %s", v.Name, name)
			}
		}
	}
}

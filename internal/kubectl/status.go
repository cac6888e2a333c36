package kubectl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// status prints the report. It succeeds when every cluster is ready.
func (p *Program) status(ctx context.Context, o options) (int, error) {
	r, namespace, err := connect(o)
	if err != nil {
		return ExitFailed, err
	}
	report, err := r.read(ctx, namespace, o.cluster)
	if err != nil {
		return ExitFailed, err
	}
	if o.output == "json" {
		e := json.NewEncoder(p.Out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = report.table(p.Out, namespace, p.Now())
	}
	if err == nil && report.ready() {
		return ExitOK, nil
	}
	return ExitFailed, err
}

func (r Report) ready() bool {
	return !slices.ContainsFunc(r.Clusters, func(c Cluster) bool {
		return !meta.IsStatusConditionTrue(c.BindCluster.Status.Conditions, v1alpha1.ConditionReady)
	})
}

// table writes the report for people. namespace is the one that was asked for.
func (r Report) table(w io.Writer, namespace string, now time.Time) error {
	if len(r.Clusters) == 0 {
		in := "namespace " + namespace + "; name another one with --namespace, or ask for --all-namespaces"
		if namespace == "" {
			in = "any namespace"
		}
		_, err := fmt.Fprintf(w, "no BindCluster in %s\n", in)
		return err
	}
	t := tables{tabwriter.NewWriter(w, 0, 4, 2, ' ', 0), now}
	for i, c := range r.Clusters {
		if i > 0 {
			t.line()
		}
		t.cluster(c)
	}
	for i, n := range r.Notes {
		if i == 0 {
			t.line()
		}
		t.line("note: ", n)
	}
	return t.w.Flush()
}

// tables writes lines whose columns are aligned within each table.
type tables struct {
	w   *tabwriter.Writer
	now time.Time
}

// line ends a table, because it has one column.
func (t tables) line(text ...string) { fmt.Fprintln(t.w, strings.Join(text, "")) }

func (t tables) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t tables) cluster(c Cluster) {
	b := c.BindCluster
	s := b.Status
	summary := s.Summary
	if summary == "" {
		summary = "no status yet; is the operator running?"
	}
	t.line(b.Namespace, "/", b.Name, ": ", summary)
	if s.ObservedGeneration != b.Generation && s.ObservedGeneration != 0 {
		t.line("the newest spec has not been looked at yet")
	}
	t.conditions(s.Conditions)
	t.members(s)
	t.exposures(c)
	t.zones(c)
	t.keys(c)
	t.tenants(s.Tenants)
}

// conditions shows those that are not good.
func (t tables) conditions(all []metav1.Condition) {
	head := true
	for _, c := range all {
		if c.Status == metav1.ConditionTrue {
			continue
		}
		if head {
			t.line()
			t.row("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")
			head = false
		}
		t.row(c.Type, string(c.Status), c.Reason, t.ago(&c.LastTransitionTime), c.Message)
	}
}

func (t tables) members(s v1alpha1.BindClusterStatus) {
	if len(s.Primaries.Members) > 0 {
		t.line()
		t.row("PRIMARY", "READY", "LEADER", "APPLIED", "NODE", "VERSION", "BIND", "NOTE")
		for _, m := range s.Primaries.Members {
			note := m.Message
			if m.Learner {
				note = strings.TrimSuffix("joins, has no vote yet; "+note, "; ")
			}
			t.row(m.Name, yes(m.Ready), yes(m.Name == s.Primaries.Leader), strconv.FormatInt(m.Applied, 10), m.Node, m.Version, m.BindVersion, note)
		}
	}
	t.line()
	held := ""
	if s.Secondaries.HeldCatalog != "" {
		held = "; they hold back a removal of most zones: " + s.Secondaries.HeldCatalog + "; was it meant? zonekeeper catalog confirm"
	}
	t.line("primaries ", or(s.Primaries.Summary, "-"), ", secondaries ", or(s.Secondaries.Summary, "-"), held)
}

func (t tables) exposures(c Cluster) {
	if len(c.BindCluster.Status.Addresses) > 0 {
		t.line()
		t.row("EXPOSURE", "ADDRESSES", "FRONTS", "NOTE")
		for _, a := range c.BindCluster.Status.Addresses {
			t.row(a.Exposure, strings.Join(a.Addresses, ","), a.Ready, a.Message)
		}
	}
	if len(c.VirtualIPs) > 0 {
		t.line()
		t.row("VIRTUALIP", "ADDRESSES", "READY", "HOLDER", "NODES", "STATUS")
		for _, v := range c.VirtualIPs {
			var addresses []string
			for _, a := range v.Spec.Addresses {
				addresses = append(addresses, string(a))
			}
			t.row(v.Name, strings.Join(addresses, ","), ready(v.Status.Conditions), v.Status.Holder, v.Status.Ready, v.Status.Summary)
		}
	}
}

func (t tables) zones(c Cluster) {
	if len(c.Zones) == 0 {
		return
	}
	t.line()
	t.row("ZONE", "OBJECT", "READY", "SERIAL", "RECORDS", "STATUS")
	for _, z := range c.Zones {
		t.row(string(z.Spec.ZoneName), z.Namespace+"/"+z.Name, ready(z.Status.Conditions), strconv.FormatInt(z.Status.Serial, 10),
			strconv.FormatInt(z.Status.Records, 10), z.Status.Summary)
	}
}

func (t tables) keys(c Cluster) {
	if len(c.Keys) == 0 {
		return
	}
	t.line()
	t.row("KEY", "OBJECT", "READY", "SECRET", "ROTATED", "STATUS")
	for _, k := range c.Keys {
		t.row(k.Status.KeyName, k.Namespace+"/"+k.Name, ready(k.Status.Conditions), k.Status.SecretName, t.ago(k.Status.Rotated), k.Status.Summary)
	}
}

func (t tables) tenants(all []v1alpha1.TenantStatus) {
	if len(all) == 0 {
		return
	}
	t.line()
	t.row("TENANT", "ZONES", "RECORDS", "OVER QUOTA")
	for _, n := range all {
		t.row(n.Name, strconv.Itoa(int(n.Zones)), strconv.FormatInt(n.Records, 10), n.OverQuota)
	}
}

func (t tables) ago(at *metav1.Time) string {
	if at == nil || at.IsZero() {
		return ""
	}
	return duration.HumanDuration(t.now.Sub(at.Time))
}

func ready(all []metav1.Condition) string {
	c := meta.FindStatusCondition(all, v1alpha1.ConditionReady)
	if c == nil {
		return ""
	}
	return string(c.Status)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

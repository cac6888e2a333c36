package openstack

import (
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// life is a session with its steps counted.
type life struct {
	*cloud
	s *openstack.Session
	d plan.Desired
}

// settle reconciles and checks how many requests have written.
func (l *life) settle(what string, wantWrites int64) openstack.Status {
	l.t.Helper()
	reads, writes := l.s.Calls()
	start := time.Now()
	st, err := l.s.Reconcile(l.t.Context(), l.d)
	if err != nil || !st.Done() {
		l.t.Fatalf("%s: %v, %+v", what, err, st)
	}
	r, w := l.s.Calls()
	l.t.Logf("%-28s %2d steps, %2d requests that write, %2d that read, %s", what, st.Steps, w-writes, r-reads, time.Since(start).Round(time.Millisecond))
	if wantWrites >= 0 && w-writes != wantWrites {
		l.t.Errorf("%s: %d requests that write, want %d", what, w-writes, wantWrites)
	}
	return st
}

func TestLife(t *testing.T) {
	c, run := newCloud(t, "10.250.0.0/16")
	if !run {
		return
	}
	l := &life{c, c.session(), plan.Desired{
		Owner: plan.Owner{Cluster: "shoot--p--s", Name: "dns/front"}, VIPs: []plan.VIP{{Address: addr("10.250.0.53")}}, Security: &plan.Security{},
		Nodes: []plan.Node{c.worker(1), c.worker(2), c.worker(3)},
	}}
	before := c.inventory()
	l.settle("create", -1)
	for _, n := range l.d.Nodes {
		if got := c.pairs(n.ServerID); got != "10.250.0.53 100.96.0.0/11" {
			t.Errorf("%s: pairs %s", n.Name, got)
		}
	}
	l.settle("again", 0)

	c.do("PUT", "/ports/"+c.port(l.d.Nodes[0].ServerID)["id"].(string), map[string]any{"port": map[string]any{
		"allowed_address_pairs": []any{map[string]any{"ip_address": "100.96.0.0/11"}}}})
	l.settle("pair overwritten", 1)

	l.d.VIPs[0].Floating = &plan.Floating{Pool: c.public}
	st := l.settle("floating IP of a pool", 2)
	fip := st.VIPs[0].Floating.String()
	f := c.do("GET", "/floatingips?floating_ip_address="+fip, nil)["floatingips"].([]any)[0].(map[string]any)
	c.do("PUT", "/floatingips/"+f["id"].(string), map[string]any{"floatingip": map[string]any{"port_id": c.port(l.d.Nodes[1].ServerID)["id"]}})
	l.settle("floating IP moved away", 2)

	l.d.VIPs[0].Address = addr("10.250.0.54")
	l.settle("another address", -1)

	// A worker roll: new machines first, then the old ones go, with their ports.
	roll := []plan.Node{c.worker(4), c.worker(5), c.worker(6)}
	old := l.d.Nodes
	l.d.Nodes = append(append([]plan.Node{}, old...), roll...)
	l.settle("three more nodes", 3)
	l.d.Nodes = roll
	l.settle("three nodes fewer", 3)
	if got := c.pairs(old[0].ServerID); got != "100.96.0.0/11" {
		t.Errorf("a node that left has pairs %s", got)
	}
	for _, n := range roll {
		c.do("DELETE", "/ports/"+c.port(n.ServerID)["id"].(string), nil)
	}
	l.d.Nodes = old
	l.settle("ports replaced", 3)

	remnants, err := l.s.Remnants(t.Context())
	if err != nil || len(remnants) != 1 || remnants[0].Owner != l.d.Owner || len(remnants[0].Objects) != 3 {
		t.Errorf("remnants %v %v", remnants, err)
	}
	st, err = l.s.Delete(t.Context(), openstack.Ref{Owner: l.d.Owner})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("deletion: %d steps", st.Steps)
	if after := c.inventory(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if st, err = l.s.Delete(t.Context(), openstack.Ref{Owner: l.d.Owner}); err != nil || st.Steps != 0 {
		t.Errorf("a second deletion: %d steps, %v", st.Steps, err)
	}
}

// Two writers begin at the same moment: both come to an end, and what is left is one of each.
func TestTwoWriters(t *testing.T) {
	c, run := newCloud(t, "10.251.0.0/16")
	if !run {
		return
	}
	before := c.inventory()
	nodes := []plan.Node{c.worker(1), c.worker(2), c.worker(3)}
	d := plan.Desired{Owner: plan.Owner{Cluster: "shoot--p--s", Name: "dns/race"}, VIPs: []plan.VIP{{}}, Security: &plan.Security{TLS: true}, Nodes: nodes}
	sessions := []*openstack.Session{c.session(), c.session()}
	var wg sync.WaitGroup
	for i, s := range sessions {
		wg.Go(func() {
			st, err := s.Reconcile(t.Context(), d)
			t.Logf("writer %d: %d steps, %d looks, %v", i, st.Steps, st.Looks, err)
		})
	}
	wg.Wait()
	l := &life{c, sessions[0], d}
	st := l.settle("afterwards", -1)
	l.settle("and again", 0)
	if remnants, err := l.s.Remnants(t.Context()); err != nil || len(remnants) != 1 || len(remnants[0].Objects) != 2 {
		t.Errorf("one port and one group are wanted: %v %v", remnants, err)
	}
	for _, n := range nodes {
		if got, want := c.pairs(n.ServerID), st.VIPs[0].Address.String()+" 100.96.0.0/11"; got != want {
			t.Errorf("%s: pairs %s, want %s", n.Name, got, want)
		}
	}
	if _, err := l.s.Delete(t.Context(), openstack.Ref{Owner: d.Owner}); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		c.do("DELETE", "/ports/"+c.port(n.ServerID)["id"].(string), nil)
	}
	if after := c.inventory(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A new node among a hundred has its pair within 5 s, and nobody is asked node by node.
func TestHundredNodes(t *testing.T) {
	c, run := newCloud(t, "10.252.0.0/16")
	if !run {
		return
	}
	l := &life{c, c.session(), plan.Desired{
		Owner: plan.Owner{Cluster: "shoot--p--s", Name: "dns/many"}, VIPs: []plan.VIP{{Address: addr("10.252.0.53")}}, Security: &plan.Security{},
	}}
	for i := range 99 {
		l.d.Nodes = append(l.d.Nodes, c.worker(i))
	}
	l.settle("99 nodes", -1)
	l.d.Nodes = append(l.d.Nodes, c.worker(99))
	reads, _ := l.s.Calls()
	start := time.Now()
	l.settle("one node more", 1)
	const budget, most = 5 * time.Second, 12
	if took := time.Since(start); took > budget {
		t.Errorf("took %s, %s are allowed", took, budget)
	}
	if r, _ := l.s.Calls(); r-reads > most {
		t.Errorf("%d requests that read, %d are allowed", r-reads, most)
	}
	if _, err := l.s.Delete(t.Context(), openstack.Ref{Owner: l.d.Owner}); err != nil {
		t.Fatal(err)
	}
}

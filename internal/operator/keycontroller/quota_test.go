package keycontroller_test

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/zone"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// quota: a tenant's updates a second are bounded over all of its keys and all primaries together; the bound waits for one version of primaries, follows the
// spec, and goes with it.
func quota(w *world) {
	perSecond := int32(25)
	tenants := func(q *v1alpha1.Quota, rolledOut metav1.ConditionStatus) {
		w.t.Helper()
		var c v1alpha1.BindCluster
		if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: "dns", Name: "dns"}, &c); err != nil {
			w.t.Fatal(err)
		}
		c.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{Name: "tenant a", From: "All", ZoneSuffixes: []v1alpha1.DomainName{"team.example"}, Quota: q}}
		if err := w.kube.Update(w.t.Context(), &c); err != nil {
			w.t.Fatal(err)
		}
		meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionRolledOut, Status: rolledOut, Reason: "Test"})
		if err := w.kube.Status().Update(w.t.Context(), &c); err != nil {
			w.t.Fatal(err)
		}
	}
	tenants(&v1alpha1.Quota{UpdatesPerSecond: &perSecond}, metav1.ConditionFalse)
	if err := w.kube.Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}); err != nil {
		w.t.Fatal(err)
	}
	in := func(k *v1alpha1.TSIGKey) { k.Namespace, k.Spec.ClusterRef.Namespace = "team", "dns" }
	one, two := w.add(key("one", in)), w.add(key("two", in))
	w.settled(one, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonPending, "RolledOut"))
	tenants(&v1alpha1.Quota{UpdatesPerSecond: &perSecond}, metav1.ConditionTrue)
	for _, k := range []*v1alpha1.TSIGKey{one, two} {
		now := w.settled(k, ready)
		if at := w.at(k.Name + ".team."); at.Rate == nil || *at.Rate != (adminapi.Rate{Group: "tenant a", PerSecond: 25}) ||
			now.Status.Tenant != "tenant a" || now.Status.UpdatesPerSecond == nil || *now.Status.UpdatesPerSecond != 25 {
			w.t.Errorf("%+v, status %+v", at, now.Status)
		}
	}

	origin := zone.MustParseName("q.team.example.")
	if _, err := w.admin.AddZone(w.t.Context(), adminapi.AddZone{Name: "q.team.example.", Settings: adminapi.ZoneSettings{AllowUpdate: `key "one.team."; key "two.team.";`}}); err != nil {
		w.t.Fatal(err)
	}
	const seconds = 4
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers := map[uint16]int{}
	end := time.Now().Add(seconds * time.Second)
	for i, name := range w.Names() {
		for j, k := range []string{"one", "two"} {
			version := w.at(k + ".team.").Versions[0]
			c := harness.Dial(w.t, w.Primary(name).DNS, harness.MustKey(w.t, k+".team.", version.Algorithm, version.Secret))
			wg.Go(func() {
				for n := 0; time.Now().Before(end); n++ {
					rr := zone.RR{Name: zone.MustParseName(fmt.Sprintf("h%d-%d-%d.q.team.example.", i, j, n)), Type: zone.TypeA, Class: zone.ClassIN, TTL: 60, Data: "\xc0\x00\x02\x01"}
					rcode, err := c.Update(origin, nil, []zone.RR{rr})
					mu.Lock()
					if err != nil {
						w.t.Error(err)
					}
					answers[rcode]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	// A second's worth at each of three primaries at the beginning, and what was on its way while they had not heard of each other's.
	if n := answers[0]; n < seconds*25*8/10 || n > (seconds+4)*25 || answers[2] < 100 || len(answers) != 2 {
		w.t.Errorf("in %d s %d updates were taken, by RCODE %v; want about %d, and SERVFAIL for the rest", seconds, n, answers, seconds*25)
	}
	w.t.Logf("in %d s, by RCODE: %v", seconds, answers)
	refused := 0.0
	for _, name := range w.Names() {
		refused += w.Metric(name, `zonekeeper_endpoint_quota_refused_total{group="tenant a"}`)
	}
	if int(refused) != answers[2] {
		w.t.Errorf("the metric says %v, %d were refused", refused, answers[2])
	}

	tenants(nil, metav1.ConditionTrue)
	now := w.settled(one, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.UpdatesPerSecond == nil })
	if at := w.at("one.team."); at.Rate != nil {
		w.t.Errorf("without a quota: %+v, %+v", at, now.Status)
	}
}

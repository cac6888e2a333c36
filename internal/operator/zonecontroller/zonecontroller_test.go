package zonecontroller_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/operatortest"
	"github.com/zonekeeper/zonekeeper/internal/operator/zonecontroller"
)

// world is a cluster, an API server, and an operator that may be killed.
type world struct {
	t *testing.T
	*operatortest.Rig
	kube   client.WithWatch
	kill   *operatortest.Kill
	events chan string
	later  time.Duration // the operator's clock is so far ahead
	r      *zonecontroller.Reconciler
	admin  *adminapi.Client
}

func (w *world) For(t *testing.T) *world { part := *w; part.t = t; part.restart(); return &part }

func start(t *testing.T, objects ...client.Object) *world {
	rig := operatortest.Start(t, 3, 0)
	rig.BindCluster.Spec.ZoneDefaults = &v1alpha1.ZoneDefaults{NameServers: []v1alpha1.NameServer{{Name: "ns1.example.net"}, {Name: "ns2.example.net"}}}
	rig.BindCluster.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{Name: "team", From: "All", ZoneSuffixes: []v1alpha1.DomainName{"team.example"}}}
	w := &world{t: t, Rig: rig, kill: &operatortest.Kill{}, events: make(chan string, 10000), admin: rig.Admin["primary-1"]}
	w.kube = rig.Kubernetes(t, func(b *fake.ClientBuilder) {
		b.WithIndex(&v1alpha1.Zone{}, zonecontroller.IndexCluster, zonecontroller.Index).WithInterceptorFuncs(w.kill.Calls())
	}, objects...)
	rig.Wrap(w.kill.Conn)
	w.restart()
	return w
}

// restart is another process of the operator.
func (w *world) restart() {
	w.t.Helper()
	cs, err := clusterapi.New(w.Config(), w.kube)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := zonecontroller.DefaultConfig()
	cfg.Client, cfg.Clusters, cfg.Recorder, cfg.Now = w.kube, cs, &events.FakeRecorder{Events: w.events}, func() time.Time { return time.Now().Add(w.later) }
	if w.r, err = zonecontroller.New(cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(z *v1alpha1.Zone) (ctrl.Result, error) { return operatortest.Pass(w.t, w.r, z) }

// settled makes passes until the Zone is as want says, and gives it.
func (w *world) settled(z *v1alpha1.Zone, want func(*v1alpha1.Zone) bool) *v1alpha1.Zone {
	w.t.Helper()
	return operatortest.Settled(w.t, w.Rig, w.r, w.kube, z, want)
}

func ready(z *v1alpha1.Zone) bool {
	return meta.IsStatusConditionTrue(z.Status.Conditions, v1alpha1.ConditionReady)
}

func because(condition, reason, message string) func(*v1alpha1.Zone) bool {
	return func(z *v1alpha1.Zone) bool {
		c := meta.FindStatusCondition(z.Status.Conditions, condition)
		return c != nil && c.Status != metav1.ConditionTrue && c.Reason == reason && strings.Contains(c.Message, message) && strings.Contains(z.Status.Summary, message)
	}
}

func (w *world) add(z *v1alpha1.Zone) *v1alpha1.Zone {
	w.t.Helper()
	z.UID, z.CreationTimestamp = types.UID(z.Namespace+"/"+z.Name), metav1.NewTime(time.Now().Truncate(time.Second))
	if err := w.kube.Create(w.t.Context(), z); err != nil {
		w.t.Fatal(err)
	}
	return z
}

func zone(namespace, name, zoneName string, adjust ...func(*v1alpha1.ZoneSpec)) *v1alpha1.Zone {
	z := &v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.ZoneSpec{ZoneName: v1alpha1.DomainName(zoneName),
		ClusterRef: v1alpha1.ClusterReference{Name: "dns", Namespace: "dns"}, DeletionPolicy: v1alpha1.DeletionRetain}}
	for _, a := range adjust {
		a(&z.Spec)
	}
	return z
}

func (w *world) at(name string) *adminapi.Zone {
	w.t.Helper()
	z, err := w.admin.Zone(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return z
}

func (w *world) change(z *v1alpha1.Zone, f func(*v1alpha1.Zone)) {
	w.t.Helper()
	var now v1alpha1.Zone
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(z), &now); err != nil {
		w.t.Fatal(err)
	}
	f(&now)
	if err := w.kube.Update(w.t.Context(), &now); err != nil {
		w.t.Fatal(err)
	}
}

// gone deletes the object and makes passes until it is.
func (w *world) gone(z *v1alpha1.Zone) {
	w.t.Helper()
	if err := w.kube.Delete(w.t.Context(), z.DeepCopy()); err != nil {
		w.t.Fatal(err)
	}
	w.vanishes(z)
}

// vanishes makes passes until an object that is being deleted is gone.
func (w *world) vanishes(z *v1alpha1.Zone) {
	w.t.Helper()
	operatortest.Vanishes(w.t, w.Rig, w.r, w.kube, z)
}

func (w *world) told(what string) bool { return operatortest.Told(w.events, what) }

// TestZones runs against one cluster of three real primaries.
func TestZones(t *testing.T) {
	file := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "files"}, Data: map[string]string{
		"good": "$TTL 60\n@ SOA ns h 7 1 1 1 1\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n", "bad": "@ SOA ns h 7 1 1 1 1\n@ NS ns\nns A 192.0.2.300\n"}}
	key := &v1alpha1.TSIGKey{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "writer"}, Spec: v1alpha1.TSIGKeySpec{ClusterRef: v1alpha1.ClusterReference{Name: "dns"}},
		Status: v1alpha1.TSIGKeyStatus{KeyName: "writer.dns.", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue}}}}
	w := start(t, file, key, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
	for _, part := range []struct {
		name string
		run  func(*world)
	}{
		{"made once, and its settings are kept", madeOnce},
		{"from a zone file", fromFile},
		{"from another server", fromServer},
		{"whose is it", whose},
		{"deletion", deletion},
		{"a tenant's records are shared out", shared},
		{"the operator is killed at any moment", killed},
		{"no primary answers", unreachable},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(w.For(t)) })
	}
}

func madeOnce(w *world) {
	z := w.add(zone("dns", "once", "once.example", func(s *v1alpha1.ZoneSpec) {
		s.UpdatePolicy = []v1alpha1.UpdateRule{{KeyRef: v1alpha1.LocalReference{Name: "writer"}, Match: "Zone"}, {KeyRef: v1alpha1.LocalReference{Name: "missing"}}}
	}))
	w.settled(z, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonNoSuchKey, "names the TSIGKey missing"))
	w.change(z, func(z *v1alpha1.Zone) { z.Spec.UpdatePolicy = z.Spec.UpdatePolicy[:1] })
	now := w.settled(z, ready)
	if s := now.Status; s.Serial != 1 || s.Records != 3 || s.Incarnation == 0 || !strings.Contains(s.Summary, "served by 3 of 3 primaries") {
		w.t.Errorf("status %+v", s)
	}
	at := w.at("once.example.")
	if at.Settings.UpdatePolicy != `grant "writer.dns." zonesub;` || at.ManagedBy != "operator Zone dns/once" {
		w.t.Errorf("%+v", at)
	}
	if !w.told("Normal Created zone once.example. is made") {
		w.t.Error("no event")
	}
	// Somebody at the command line is refused, and the object's change is put.
	err := w.admin.DeleteZone(w.t.Context(), "once.example.", "once.example.")
	if !adminapi.IsCode(err, adminapi.CodeManaged) || !strings.Contains(err.Error(), "operator Zone dns/once") || !strings.Contains(err.Error(), "--detach") {
		w.t.Errorf("deletion by the command line: %v", err)
	}
	w.change(z, func(z *v1alpha1.Zone) { ttl := int32(300); z.Spec.MaxTTL = &ttl })
	w.settled(z, func(z *v1alpha1.Zone) bool { return w.at("once.example.").Settings.MaxZoneTTL == 300 && ready(z) })
	if again := w.at("once.example."); again.Incarnation != at.Incarnation || again.Serial != 1 {
		w.t.Errorf("its content was touched: %+v, was %+v", again, at)
	}
	// Detached: the operator leaves it alone, until it is told to adopt it.
	if _, err := w.admin.As("", true).SetZone(w.t.Context(), "once.example.", adminapi.ZoneSettings{MaxZoneTTL: 5}); err != nil {
		w.t.Fatal(err)
	}
	w.settled(z, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonManagedElsewhere, "kubectl annotate -n dns zone once dns.zonekeeper.io/adopt=true"))
	w.change(z, func(z *v1alpha1.Zone) { z.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "true"} })
	now = w.settled(z, ready)
	if len(now.Annotations) != 0 || w.at("once.example.").Settings.MaxZoneTTL != 300 {
		w.t.Errorf("after the adoption: %v, %+v", now.Annotations, w.at("once.example."))
	}
	// Deleted behind its back, it does not come back empty.
	if err := w.admin.As("", true).DeleteZone(w.t.Context(), "once.example.", "once.example."); err != nil {
		w.t.Fatal(err)
	}
	w.settled(z, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonManagedElsewhere, "was deleted at the primaries"))
}

func fromFile(w *world) {
	from := func(name string) func(*v1alpha1.ZoneSpec) {
		return func(s *v1alpha1.ZoneSpec) {
			s.Bootstrap = &v1alpha1.ZoneBootstrap{ZoneFile: &v1alpha1.ConfigMapKeyReference{Name: "files", Key: name}}
		}
	}
	now := w.settled(w.add(zone("dns", "file", "file.example", from("good"))), ready)
	if now.Status.Serial != 7 || now.Status.Records != 4 {
		w.t.Errorf("status %+v", now.Status)
	}
	w.settled(w.add(zone("dns", "bad", "bad.example", from("bad"))), because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonBootstrapFailed, "line 3"))
	w.settled(w.add(zone("dns", "none", "none.example", from("none"))), because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonBootstrapFailed, "no entry none"))
}

// fromServer transfers from a server of its own: a primary's endpoint would want a key.
func fromServer(w *world) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, s := range []string{"moved.example. 60 SOA ns.moved.example. h. 41 1 1 1 1", "moved.example. 60 NS ns.moved.example.", "ns.moved.example. 60 A 192.0.2.1",
			"moved.example. 60 SOA ns.moved.example. h. 41 1 1 1 1"} {
			rr, err := dns.NewRR(s)
			if err != nil {
				w.t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		_ = rw.WriteMsg(m)
	})}
	go func() { _ = srv.ActivateAndServe() }()
	w.t.Cleanup(func() { _ = l.Close() })
	now := w.settled(w.add(zone("dns", "moved", "moved.example", func(s *v1alpha1.ZoneSpec) {
		s.Bootstrap = &v1alpha1.ZoneBootstrap{Transfer: &v1alpha1.TransferSource{Server: "127.0.0.1", Port: int32(l.Addr().(*net.TCPAddr).Port)}}
	})), ready)
	if now.Status.Serial != 41 || now.Status.Records != 3 {
		w.t.Errorf("status %+v", now.Status)
	}
}

func whose(w *world) {
	w.settled(w.add(zone("team", "stray", "elsewhere.example")), because(v1alpha1.ConditionAccepted, v1alpha1.ReasonNameNotAllowed, "team.example."))
	w.settled(w.add(zone("dns", "second", "file.example")), because(v1alpha1.ConditionAccepted, v1alpha1.ReasonNameTaken, "belongs to Zone dns/file"))
	now := w.settled(w.add(zone("team", "mine", "team.example")), ready)
	if now.Status.Tenant != "team" {
		w.t.Errorf("tenant %q", now.Status.Tenant)
	}
	// What the command line made is nobody's to take but the owner's.
	if _, err := w.admin.AddZone(w.t.Context(), adminapi.AddZone{Name: "cli.team.example."}); err != nil {
		w.t.Fatal(err)
	}
	taken := zone("team", "taken", "cli.team.example")
	taken.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "true"}
	w.settled(w.add(taken), because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonManagedElsewhere, "ask the owner of BindCluster dns/dns"))
}

func deletion(w *world) {
	z := w.add(zone("dns", "kept", "kept.example"))
	w.settled(z, ready)
	w.gone(z)
	kept := w.at("kept.example.")
	// An object made anew, under another name, finds it again.
	again := w.add(zone("dns", "kept-again", "kept.example", func(s *v1alpha1.ZoneSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete }))
	w.settled(again, ready)
	if now := w.at("kept.example."); now.Incarnation != kept.Incarnation || now.ManagedBy != "operator Zone dns/kept-again" {
		w.t.Errorf("%+v, was %+v", now, kept)
	}
	w.gone(again)
	if _, err := w.admin.Zone(w.t.Context(), "kept.example."); !adminapi.IsCode(err, adminapi.CodeNotFound) {
		w.t.Errorf("after its deletion: %v", err)
	}
	// Made anew, it goes on with its serials, or secondaries would keep what they had.
	anew := w.add(zone("dns", "kept-anew", "kept.example"))
	if now := w.settled(anew, ready); now.Status.Serial <= int64(kept.Serial) || now.Status.Records != 3 {
		w.t.Errorf("made anew: %+v; it had serial %d", now.Status, kept.Serial)
	}
	// One that was refused deletes nothing.
	other := zone("dns", "other", "file.example", func(s *v1alpha1.ZoneSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete })
	other.Finalizers = []string{lookup.Finalizer}
	w.add(other)
	w.gone(other)
	w.at("file.example.")
}

// shared: what a tenant's zones may hold together is never more than its quota, and follows what they have.
func shared(w *world) {
	var c v1alpha1.BindCluster
	quota := func(q *v1alpha1.Quota) {
		w.t.Helper()
		if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(w.BindCluster), &c); err != nil {
			w.t.Fatal(err)
		}
		c.Spec.AllowedNamespaces[0].Quota = q
		if err := w.kube.Update(w.t.Context(), &c); err != nil {
			w.t.Fatal(err)
		}
	}
	records := int64(108)
	quota(&v1alpha1.Quota{Records: &records})
	one, two := zone("team", "mine", "team.example"), w.add(zone("team", "two", "two.team.example"))
	limit := func(name string, n uint32) func(*v1alpha1.Zone) bool {
		return func(z *v1alpha1.Zone) bool { return ready(z) && w.at(name).Settings.MaxRecords == n }
	}
	w.settled(two, limit("two.team.example.", 36)) // three zones have 9 of 108; a third of what is left is 33
	w.settled(one, limit("team.example.", 36))
	records = 9
	quota(&v1alpha1.Quota{Records: &records})
	now := w.settled(one, limit("team.example.", 3))
	if !strings.Contains(now.Status.Summary, "tenant team has 9 of 9 records") {
		w.t.Errorf("summary %q", now.Status.Summary)
	}
	quota(nil)
	w.settled(one, limit("team.example.", 0))
	w.settled(two, limit("two.team.example.", 0))
}

// killed: whatever call was the operator's last while it made a zone, or deleted one, the next operator ends in the same state.
func killed(w *world) {
	w.t.Cleanup(func() { w.kill.Disarm() })
	passes := func(n int, z *v1alpha1.Zone) (hit bool) {
		w.restart()
		w.kill.After(n)
		for range 2 {
			if _, err := w.pass(z); err != nil && !errors.Is(err, operatortest.ErrKilled) {
				w.t.Errorf("killed after %d calls: %v", n, err)
			}
		}
		hit = w.kill.Disarm()
		w.restart()
		return hit
	}
	n := 0
	for hit := true; hit; n++ {
		name := fmt.Sprintf("kill%d", n)
		z := w.add(zone("dns", name, name+".example", func(s *v1alpha1.ZoneSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete }))
		hit = passes(n, z)
		w.settled(z, ready)
		if at := w.at(name + ".example."); at.Serial != 1 || at.Records != 3 || at.ManagedBy != "operator Zone dns/"+name {
			w.t.Errorf("killed after %d calls: %+v", n, at)
		}
		if n > 200 {
			w.t.Fatal("it never gets done")
		}
	}
	w.t.Logf("making a zone: killed at %d places", n-1)
	for i := range n {
		name := fmt.Sprintf("kill%d", i)
		z := zone("dns", name, name+".example")
		if err := w.kube.Delete(w.t.Context(), z.DeepCopy()); err != nil {
			w.t.Fatal(err)
		}
		passes(i, z)
		w.vanishes(z)
		if _, err := w.admin.Zone(w.t.Context(), name+".example."); !adminapi.IsCode(err, adminapi.CodeNotFound) {
			w.t.Errorf("deletion killed after %d calls: %v", i, err)
		}
	}
}

// unreachable: status says so, and a deletion does not wait for ever.
func unreachable(w *world) {
	z := w.add(zone("dns", "late", "late.example", func(s *v1alpha1.ZoneSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete }))
	w.settled(z, ready)
	w.Wrap(func(_ string, c net.Conn) net.Conn { _ = c.Close(); return c })
	w.restart()
	w.settled(z, func(z *v1alpha1.Zone) bool {
		c := meta.FindStatusCondition(z.Status.Conditions, v1alpha1.ConditionProgrammed)
		return c.Status == metav1.ConditionUnknown && c.Reason == v1alpha1.ReasonUnreachable && strings.Contains(c.Message, "primary-2")
	})
	if err := w.kube.Delete(w.t.Context(), z.DeepCopy()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.pass(z); err != nil {
		w.t.Fatal(err)
	}
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(z), &v1alpha1.Zone{}); err != nil {
		w.t.Fatalf("it did not wait: %v", err)
	}
	w.later = lookup.DeletionLimit + time.Minute
	w.restart()
	w.vanishes(z)
	if !w.told("Warning Abandoned zone late.example stays") {
		w.t.Error("no event")
	}
}

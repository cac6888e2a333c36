package keycontroller_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

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
	"github.com/zonekeeper/zonekeeper/internal/operator/keycontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/operatortest"
)

// world is a cluster, an API server, and an operator that may be killed.
type world struct {
	t *testing.T
	*operatortest.Rig
	kube   client.WithWatch
	kill   *operatortest.Kill
	events chan string
	later  time.Duration // the operator's clock is so far ahead
	r      *keycontroller.Reconciler
	admin  *adminapi.Client
}

func (w *world) For(t *testing.T) *world { part := *w; part.t = t; part.restart(); return &part }

func start(t *testing.T, objects ...client.Object) *world {
	rig := operatortest.Start(t, 3, 0)
	rig.BindCluster.Status.Addresses = []v1alpha1.ExposureStatus{{Exposure: "none"}, {Exposure: "vip", Addresses: []string{"192.0.2.53"}}}
	w := &world{t: t, Rig: rig, kill: &operatortest.Kill{}, events: make(chan string, 10000), admin: rig.Admin["primary-1"]}
	w.kube = rig.Kubernetes(t, func(b *fake.ClientBuilder) {
		b.WithIndex(&v1alpha1.TSIGKey{}, keycontroller.IndexCluster, keycontroller.Index).WithInterceptorFuncs(w.kill.Calls())
	}, objects...)
	rig.Wrap(w.kill.Conn)
	return w
}

// restart is another process of the operator.
func (w *world) restart() {
	w.t.Helper()
	cs, err := clusterapi.New(w.Config(), w.kube)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := keycontroller.DefaultConfig()
	cfg.Client, cfg.Clusters, cfg.Recorder, cfg.Now = w.kube, cs, &events.FakeRecorder{Events: w.events}, func() time.Time { return time.Now().Add(w.later) }
	if w.r, err = keycontroller.New(cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(k *v1alpha1.TSIGKey) (ctrl.Result, error) { return operatortest.Pass(w.t, w.r, k) }

// settled makes passes until the TSIGKey is as want says, and gives it.
func (w *world) settled(k *v1alpha1.TSIGKey, want func(*v1alpha1.TSIGKey) bool) *v1alpha1.TSIGKey {
	w.t.Helper()
	return operatortest.Settled(w.t, w.Rig, w.r, w.kube, k, want)
}

// vanishes makes passes until an object that is being deleted is gone.
func (w *world) vanishes(k *v1alpha1.TSIGKey) {
	w.t.Helper()
	operatortest.Vanishes(w.t, w.Rig, w.r, w.kube, k)
}

func ready(k *v1alpha1.TSIGKey) bool {
	return meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady)
}

func because(condition, reason, message string) func(*v1alpha1.TSIGKey) bool {
	return func(k *v1alpha1.TSIGKey) bool {
		c := meta.FindStatusCondition(k.Status.Conditions, condition)
		return c != nil && c.Status != metav1.ConditionTrue && c.Reason == reason && strings.Contains(c.Message, message) && strings.Contains(k.Status.Summary, message)
	}
}

func key(name string, adjust ...func(*v1alpha1.TSIGKey)) *v1alpha1.TSIGKey {
	k := &v1alpha1.TSIGKey{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: name, UID: types.UID(name)}, Spec: v1alpha1.TSIGKeySpec{
		ClusterRef: v1alpha1.ClusterReference{Name: "dns"}, Algorithm: "hmac-sha256", Overlap: metav1.Duration{Duration: time.Hour},
		Output: v1alpha1.KeyOutput{Formats: []v1alpha1.KeyFormat{"Nsupdate", "ExternalDNS"}}, DeletionPolicy: v1alpha1.DeletionDelete}}
	k.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
	for _, a := range adjust {
		a(k)
	}
	return k
}

func (w *world) add(k *v1alpha1.TSIGKey) *v1alpha1.TSIGKey {
	w.t.Helper()
	if err := w.kube.Create(w.t.Context(), k); err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) change(k *v1alpha1.TSIGKey, f func(*v1alpha1.TSIGKey)) {
	w.t.Helper()
	var now v1alpha1.TSIGKey
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(k), &now); err != nil {
		w.t.Fatal(err)
	}
	f(&now)
	if err := w.kube.Update(w.t.Context(), &now); err != nil {
		w.t.Fatal(err)
	}
}

// at is the key as the primaries have it, with its secrets.
func (w *world) at(name string) *adminapi.Key {
	w.t.Helper()
	k, err := w.admin.Key(w.t.Context(), name, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	var s corev1.Secret
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: "dns", Name: name}, &s); err != nil {
		w.t.Fatal(err)
	}
	return &s
}

func (w *world) told(what string) bool { return operatortest.Told(w.events, what) }

// TestKeys runs against one cluster of three real primaries.
func TestKeys(t *testing.T) {
	w := start(t, &v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "z"}, Spec: v1alpha1.ZoneSpec{ZoneName: "example.org",
		ClusterRef: v1alpha1.ClusterReference{Name: "dns"}, UpdatePolicy: []v1alpha1.UpdateRule{{KeyRef: v1alpha1.LocalReference{Name: "made"}}}}})
	for _, part := range []struct {
		name string
		run  func(*world)
	}{
		{"made and handed out, rotated, retired", lifeOfOne},
		{"a secret that is given", given},
		{"whose is it", whose},
		{"a quota for updates", quota},
		{"the operator is killed at any moment", killed},
		{"no primary answers", unreachable},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(w.For(t)) })
	}
}

func lifeOfOne(w *world) {
	k := w.add(key("made"))
	now := w.settled(k, ready)
	first := w.at("made.dns.")
	if len(first.Versions) != 1 || first.ManagedBy != "operator TSIGKey dns/made" || now.Status.KeyName != "made.dns." || now.Status.SecretName != "made" ||
		now.Status.Version != int64(first.Versions[0].Version) || now.Status.RetireAt != nil {
		w.t.Errorf("%+v, status %+v", first, now.Status)
	}
	s := w.secret("made")
	if string(s.Data["secret"]) != first.Versions[0].Secret || !metav1.IsControlledBy(s, k) ||
		!strings.Contains(string(s.Data["nsupdate.key"]), first.Versions[0].Secret) ||
		!strings.Contains(string(s.Data["external-dns.args"]), "--rfc2136-host=192.0.2.53\n--rfc2136-port=53\n--rfc2136-zone=example.org\n") {
		w.t.Errorf("Secret %+v", s)
	}
	// A rotation is asked for: two secrets, and clients have the new one.
	before := first.Versions[0].Created.Add(time.Millisecond).Format(time.RFC3339Nano)
	w.change(k, func(k *v1alpha1.TSIGKey) { k.Annotations = map[string]string{v1alpha1.AnnotationRotateBefore: before} })
	now = w.settled(k, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt != nil })
	second := w.at("made.dns.")
	if len(second.Versions) != 2 || second.Versions[1] != first.Versions[0] || string(w.secret("made").Data["secret"]) != second.Versions[0].Secret {
		w.t.Errorf("after the rotation: %+v", second)
	}
	if left := time.Until(now.Status.RetireAt.Time); left < 50*time.Minute || left > time.Hour+time.Second || !strings.Contains(now.Status.Summary, "two secrets are valid until") {
		w.t.Errorf("status %+v", now.Status)
	}
	// The overlap is over.
	w.later = time.Hour + 2*time.Second
	w.restart()
	w.settled(k, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt == nil })
	third := w.at("made.dns.")
	if len(third.Versions) != 1 || third.Versions[0] != second.Versions[0] {
		w.t.Errorf("after the overlap: %+v", third)
	}
	for _, e := range []string{"Normal Created key made.dns.", "Normal Rotated key made.dns.", "Normal Retired"} {
		if !w.told(e) {
			w.t.Errorf("no event %q", e)
		}
	}
	if err := w.kube.Delete(w.t.Context(), k.DeepCopy()); err != nil {
		w.t.Fatal(err)
	}
	w.vanishes(k)
	if _, err := w.admin.Key(w.t.Context(), "made.dns.", false); !adminapi.IsCode(err, adminapi.CodeNotFound) {
		w.t.Errorf("after its deletion: %v", err)
	}
}

func given(w *world) {
	b64 := func(s string) []byte { return []byte(base64.StdEncoding.EncodeToString([]byte(s)) + "\n") }
	k := w.add(key("given", func(k *v1alpha1.TSIGKey) {
		k.Spec.SecretRef, k.Spec.KeyName = &v1alpha1.SecretKeyReference{Name: "input", Key: "secret"}, "given.example"
	}))
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonNoSuchSecret, "no Secret input in namespace dns"))
	input := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "input"}, Data: map[string][]byte{"secret": []byte("not base64!")}}
	if err := w.kube.Create(w.t.Context(), input); err != nil {
		w.t.Fatal(err)
	}
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonInvalid, "not base64"))
	put := func(text string) {
		input.Data["secret"] = b64(text)
		if err := w.kube.Update(w.t.Context(), input); err != nil {
			w.t.Fatal(err)
		}
	}
	has := func(texts ...string) {
		w.t.Helper()
		var want, have []string
		for _, s := range texts {
			want = append(want, strings.TrimSpace(string(b64(s))))
		}
		for _, v := range w.at("given.example.").Versions {
			have = append(have, v.Secret)
		}
		if strings.Join(want, " ") != strings.Join(have, " ") {
			w.t.Errorf("secrets %q, want %q", have, want)
		}
	}
	put("one")
	w.settled(k, ready)
	has("one")
	put("two")
	w.settled(k, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt != nil })
	has("two", "one")
	put("three")
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonRotating, "two are valid at most"))
	has("two", "one")
	put("one")
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonInvalid, "put a new one there"))
	put("three")
	w.later = time.Hour + 2*time.Second
	w.restart()
	w.settled(k, ready)
	has("three", "two")
}

func whose(w *world) {
	if _, err := w.admin.AddKey(w.t.Context(), adminapi.AddKey{Name: "mine.example."}); err != nil {
		w.t.Fatal(err)
	}
	k := w.add(key("mine", func(k *v1alpha1.TSIGKey) { k.Spec.KeyName = "mine.example" }))
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonManagedElsewhere, "kubectl annotate -n dns tsigkey mine"))
	w.change(k, func(k *v1alpha1.TSIGKey) { k.Annotations = map[string]string{v1alpha1.AnnotationAdopt: "true"} })
	now := w.settled(k, ready)
	if at := w.at("mine.example."); len(now.Annotations) != 0 || at.ManagedBy != "operator TSIGKey dns/mine" || len(at.Versions) != 1 {
		w.t.Errorf("after the adoption: %v, %+v", now.Annotations, at)
	}
	if _, err := w.admin.RotateKey(w.t.Context(), "mine.example.", adminapi.RotateKey{}); !adminapi.IsCode(err, adminapi.CodeManaged) {
		w.t.Errorf("a rotation by the command line: %v", err)
	}
	second := key("second", func(k *v1alpha1.TSIGKey) { k.Spec.KeyName = "mine.example"; k.UID = "zzz" })
	second.CreationTimestamp = metav1.NewTime(time.Now().Add(time.Hour))
	w.settled(w.add(second), because(v1alpha1.ConditionAccepted, v1alpha1.ReasonNameTaken, "belongs to TSIGKey dns/mine"))
	// A Secret of somebody else's is not written.
	other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "dns", Name: "theirs"}, Data: map[string][]byte{"x": []byte("y")}}
	if err := w.kube.Create(w.t.Context(), other); err != nil {
		w.t.Fatal(err)
	}
	w.settled(w.add(key("theirs")), because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonNameTaken, "Secret dns/theirs exists"))
	if s := w.secret("theirs"); len(s.Data) != 1 {
		w.t.Errorf("it was written: %v", s.Data)
	}
	// Retained, and found again by an object of another name.
	if err := w.kube.Delete(w.t.Context(), w.retained(k)); err != nil {
		w.t.Fatal(err)
	}
	w.vanishes(k)
	before := w.at("mine.example.")
	w.settled(second, ready)
	if at := w.at("mine.example."); at.ManagedBy != "operator TSIGKey dns/second" || at.Versions[0] != before.Versions[0] {
		w.t.Errorf("%+v, was %+v", at, before)
	}
}

// retained is the object with a policy that retains the key.
func (w *world) retained(k *v1alpha1.TSIGKey) *v1alpha1.TSIGKey {
	w.change(k, func(k *v1alpha1.TSIGKey) { k.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	return k.DeepCopy()
}

// killed: whatever call was the operator's last while it made, rotated or retired, the next operator ends in the same state.
func killed(w *world) {
	w.t.Cleanup(func() { w.kill.Disarm() })
	passes := func(n int, k *v1alpha1.TSIGKey) (hit bool) {
		w.restart()
		w.kill.After(n)
		for range 2 {
			if _, err := w.pass(k); err != nil && !errors.Is(err, operatortest.ErrKilled) {
				w.t.Errorf("killed after %d calls: %v", n, err)
			}
		}
		hit = w.kill.Disarm()
		w.restart()
		return hit
	}
	for name, step := range map[string]struct {
		prepare func(k *v1alpha1.TSIGKey) // before which the operator is not killed
		want    func(k *v1alpha1.TSIGKey) bool
		secrets int
	}{
		"make": {func(*v1alpha1.TSIGKey) {}, ready, 1},
		"rotate": {func(k *v1alpha1.TSIGKey) {
			w.settled(k, ready)
			before := w.at(k.Name + ".dns.").Versions[0].Created.Add(time.Millisecond).Format(time.RFC3339Nano)
			w.change(k, func(k *v1alpha1.TSIGKey) { k.Annotations = map[string]string{v1alpha1.AnnotationRotateBefore: before} })
		}, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt != nil }, 2},
		"retire": {func(k *v1alpha1.TSIGKey) {
			w.settled(k, ready)
			before := w.at(k.Name + ".dns.").Versions[0].Created.Add(time.Millisecond).Format(time.RFC3339Nano)
			w.change(k, func(k *v1alpha1.TSIGKey) { k.Annotations = map[string]string{v1alpha1.AnnotationRotateBefore: before} })
			w.settled(k, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt != nil })
			w.later += time.Hour + 2*time.Second
			w.restart()
		}, func(k *v1alpha1.TSIGKey) bool { return ready(k) && k.Status.RetireAt == nil }, 1},
	} {
		n := 0
		for hit := true; hit; n++ {
			if n > 200 {
				w.t.Fatalf("%s never gets done", name)
			}
			k := w.add(key(fmt.Sprintf("%s%d", name, n)))
			step.prepare(k)
			hit = passes(n, k)
			now := w.settled(k, step.want)
			at := w.at(k.Name + ".dns.")
			if len(at.Versions) != step.secrets || at.ManagedBy != "operator TSIGKey dns/"+k.Name || string(w.secret(k.Name).Data["secret"]) != at.Versions[0].Secret ||
				now.Status.Version != int64(at.Versions[0].Version) {
				w.t.Errorf("%s: killed after %d calls: %+v, status %+v", name, n, at, now.Status)
			}
			if _, err := w.pass(k); err != nil { // once more changes nothing
				w.t.Error(err)
			}
			if again := w.at(k.Name + ".dns."); again.Versions[0] != at.Versions[0] || len(again.Versions) != len(at.Versions) {
				w.t.Errorf("%s: killed after %d calls: one more pass made %+v of %+v", name, n, again, at)
			}
		}
		w.t.Logf("%s: killed at %d places", name, n-1)
	}
}

// unreachable: status says so, and a deletion does not wait for ever.
func unreachable(w *world) {
	k := w.add(key("late"))
	w.settled(k, ready)
	w.Wrap(func(_ string, c net.Conn) net.Conn { _ = c.Close(); return c })
	w.restart()
	w.settled(k, because(v1alpha1.ConditionProgrammed, v1alpha1.ReasonUnreachable, "primary-2"))
	if err := w.kube.Delete(w.t.Context(), k.DeepCopy()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.pass(k); err != nil {
		w.t.Fatal(err)
	}
	if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(k), &v1alpha1.TSIGKey{}); err != nil {
		w.t.Fatalf("it did not wait: %v", err)
	}
	w.later += lookup.DeletionLimit + time.Minute
	w.restart()
	w.vanishes(k)
	if !w.told("Warning Abandoned key late.dns. stays valid") {
		w.t.Error("no event")
	}
}

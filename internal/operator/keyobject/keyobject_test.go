package keyobject

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func made(namespace, name, keyName string, second int, uid string) v1alpha1.TSIGKey {
	return v1alpha1.TSIGKey{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID(uid),
			CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC))},
		Spec: v1alpha1.TSIGKeySpec{KeyName: v1alpha1.DomainName(keyName), ClusterRef: v1alpha1.ClusterReference{Name: "main", Namespace: "dns"}},
	}
}

func TestAccept(t *testing.T) {
	cluster := &v1alpha1.BindCluster{ObjectMeta: metav1.ObjectMeta{Name: "main", Namespace: "dns"}, Spec: v1alpha1.BindClusterSpec{
		AllowedNamespaces: []v1alpha1.AllowedNamespaces{{Name: "a", From: "Selector", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}}}}}
	namespaces := map[string]map[string]string{"dns": {}, "a1": {"team": "a"}, "a2": {"team": "a"}, "c1": {}}
	for _, c := range []struct {
		name    string
		key     v1alpha1.TSIGKey
		others  []v1alpha1.TSIGKey
		nobody  bool
		reason  string // "": accepted
		message string
	}{
		{name: "the owner's", key: made("dns", "k", "", 1, "u")},
		{name: "a tenant's", key: made("a1", "k", "", 1, "u")},
		{name: "no cluster", key: made("a1", "k", "", 1, "u"), nobody: true, reason: v1alpha1.ReasonNoSuchCluster, message: "dns/main"},
		{name: "a stranger's", key: made("c1", "k", "", 1, "u"), reason: v1alpha1.ReasonNamespaceNotAllowed, message: "namespace c1"},
		{name: "of the same name elsewhere", key: made("a1", "k", "", 2, "u"), others: []v1alpha1.TSIGKey{made("a2", "k", "", 1, "u1")}},
		{name: "taken", key: made("a1", "k", "acme", 2, "u"), others: []v1alpha1.TSIGKey{made("a2", "x", "acme.", 1, "u1")},
			reason: v1alpha1.ReasonNameTaken, message: "acme. belongs to TSIGKey a2/x"},
		{name: "the older one has it", key: made("a1", "k", "acme", 1, "u"), others: []v1alpha1.TSIGKey{made("a2", "x", "acme", 2, "u1")}},
		{name: "a stranger takes nothing", key: made("a1", "k", "acme", 2, "u"), others: []v1alpha1.TSIGKey{made("c1", "x", "acme", 1, "u1")}},
		{name: "the cluster's own", key: made("dns", "k", "secondary-0.zonekeeper.invalid", 1, "u"), reason: v1alpha1.ReasonNameNotAllowed},
	} {
		in := cluster
		if c.nobody {
			in = nil
		}
		v := Accept(&c.key, in, append(c.others, c.key), namespaces)
		if v.Accepted != (c.reason == "") || c.reason != "" && v.Reason != c.reason || !strings.Contains(v.Message, c.message) {
			t.Errorf("%s: %+v; want %q, %q", c.name, v, c.reason, c.message)
		}
	}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	key := func(created ...time.Time) *adminapi.Key {
		k := &adminapi.Key{Name: "k."}
		for i, c := range created {
			n := len(created) - i
			k.Versions = append(k.Versions, adminapi.KeyVersion{Version: uint64(n), Algorithm: "hmac-sha256", Secret: b64(strings.Repeat("s", n)), Created: c})
		}
		return k
	}
	given := &v1alpha1.SecretKeyReference{Name: "s", Key: "k"}
	daily := &v1alpha1.KeyRotation{Every: metav1.Duration{Duration: 24 * time.Hour}}
	for _, c := range []struct {
		name     string
		o        Observed
		do       Do
		secret   string
		reason   string
		retireAt time.Time
		next     time.Time
	}{
		{name: "none yet", do: Add},
		{name: "none yet, given", o: Observed{Given: b64("g")}, do: Add, secret: b64("g")},
		{name: "one, for good", o: Observed{Key: key(ago(1000 * time.Hour))}},
		{name: "one, not due", o: Observed{Key: key(ago(23 * time.Hour)), Spec: v1alpha1.TSIGKeySpec{Rotation: daily}}, next: now.Add(time.Hour)},
		{name: "one, due", o: Observed{Key: key(ago(24 * time.Hour)), Spec: v1alpha1.TSIGKeySpec{Rotation: daily}}, do: Rotate},
		{name: "one, asked for", o: Observed{Key: key(ago(time.Hour)), RotateBefore: ago(time.Minute)}, do: Rotate},
		{name: "one, younger than asked for", o: Observed{Key: key(ago(time.Second)), RotateBefore: ago(time.Minute)}},
		{name: "one, asked for later", o: Observed{Key: key(ago(time.Hour)), RotateBefore: now.Add(time.Minute)}, next: now.Add(time.Minute)},
		{name: "one, another is given", o: Observed{Key: key(ago(time.Hour)), Spec: v1alpha1.TSIGKeySpec{SecretRef: given}, Given: b64("g")}, do: Rotate, secret: b64("g")},
		{name: "one, the same is given", o: Observed{Key: key(ago(time.Hour)), Spec: v1alpha1.TSIGKeySpec{SecretRef: given}, Given: b64("s")}},
		{name: "two, the newest not handed out", o: Observed{Key: key(ago(30*time.Hour), ago(60*time.Hour)), Handed: 1, HandedSince: ago(60 * time.Hour)}, retireAt: now.Add(time.Hour)},
		{name: "two, handed out late", o: Observed{Key: key(ago(30*time.Hour), ago(60*time.Hour)), Handed: 2, HandedSince: ago(10 * time.Minute)}, retireAt: now.Add(50 * time.Minute)},
		{name: "two, over", o: Observed{Key: key(ago(30*time.Hour), ago(60*time.Hour)), Handed: 2, HandedSince: ago(time.Hour)}, do: Retire},
		{name: "two, over and due: retire first", o: Observed{Key: key(ago(30*time.Hour), ago(60*time.Hour)), Handed: 2, HandedSince: ago(time.Hour),
			Spec: v1alpha1.TSIGKeySpec{Rotation: daily}}, do: Retire},
		{name: "two, a third is given", o: Observed{Key: key(ago(time.Minute), ago(60*time.Hour)), Handed: 2, HandedSince: ago(time.Minute),
			Spec: v1alpha1.TSIGKeySpec{SecretRef: given}, Given: b64("g")}, reason: v1alpha1.ReasonRotating, retireAt: now.Add(59 * time.Minute)},
		{name: "two, the first is given again", o: Observed{Key: key(ago(time.Minute), ago(60*time.Hour)), Handed: 2, HandedSince: ago(time.Minute),
			Spec: v1alpha1.TSIGKeySpec{SecretRef: given}, Given: b64("s")}, reason: v1alpha1.ReasonInvalid, retireAt: now.Add(59 * time.Minute)},
	} {
		c.o.Now, c.o.Spec.Overlap = now, metav1.Duration{Duration: time.Hour}
		s := Decide(c.o)
		if s.Do != c.do || s.Secret != c.secret || s.Reason != c.reason || !s.RetireAt.Equal(c.retireAt) || !s.NextRotation.Equal(c.next) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// TestRotationAtAnyPace: whatever the times at which the operator comes to look, the rotations of a key follow one another with two secrets at most, and
// none ends before clients have had the next one for the overlap.
func TestRotationAtAnyPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	spec := v1alpha1.TSIGKeySpec{Rotation: &v1alpha1.KeyRotation{Every: metav1.Duration{Duration: 10 * time.Hour}}, Overlap: metav1.Duration{Duration: time.Hour}}
	for _, pace := range []time.Duration{time.Minute, 31 * time.Minute, 7 * time.Hour, 40 * time.Hour} {
		var key *adminapi.Key
		var handed uint64
		var since time.Time
		rotations := 0
		for i := range 2000 {
			now := start.Add(time.Duration(i) * pace)
			if i%3 == 2 && key != nil && handed != key.Versions[0].Version { // it was stopped before each third time
				handed, since = key.Versions[0].Version, now
			}
			switch s := Decide(Observed{Now: now, Spec: spec, Key: key, Handed: handed, HandedSince: since}); s.Do {
			case Add:
				key = &adminapi.Key{Versions: []adminapi.KeyVersion{{Version: 1, Created: now}}}
			case Rotate:
				if len(key.Versions) != 1 {
					t.Fatalf("pace %s, pass %d: a third secret", pace, i)
				}
				rotations++
				key = &adminapi.Key{Versions: append([]adminapi.KeyVersion{{Version: key.Versions[0].Version + 1, Created: now}}, key.Versions...)}
			case Retire:
				if handed != key.Versions[0].Version || now.Sub(since) < time.Hour {
					t.Fatalf("pace %s, pass %d: retired before clients had the newest secret for the overlap", pace, i)
				}
				key.Versions = key.Versions[:1]
			}
		}
		if rotations < 3 {
			t.Errorf("pace %s: %d rotations", pace, rotations)
		}
	}
}

func TestOutput(t *testing.T) {
	k := made("team", "acme", "", 1, "u")
	k.Spec.Output.Formats = []v1alpha1.KeyFormat{"Nsupdate", "ExternalDNS", "CertManager", "BIND", "Kea"}
	key := &adminapi.Key{Name: "acme.team.", Versions: []adminapi.KeyVersion{{Version: 2, Algorithm: "hmac-sha512", Secret: "bmV3"}, {Version: 1, Secret: "b2xk"}}}
	out, err := Output(&k, key, "192.0.2.1", []string{"example.org"})
	if err != nil {
		t.Fatal(err)
	}
	for entry, want := range map[string]string{
		"name": "acme.team", "algorithm": "hmac-sha512", "secret": "bmV3", "nsupdate.key": "key \"acme.team\" {\n\talgorithm hmac-sha512;\n\tsecret \"bmV3\";\n};\n",
		"external-dns.args": "--rfc2136-host=192.0.2.1\n", "cert-manager.yaml": "nameserver: 192.0.2.1:53\n", "named.conf": "key \"acme.team\"", "kea.json": `"name": "example.org."`,
	} {
		if !strings.Contains(string(out[entry]), want) {
			t.Errorf("%s: %q, want %q in it", entry, out[entry], want)
		}
		if strings.Contains(string(out[entry]), "b2xk") {
			t.Errorf("%s has the old secret", entry)
		}
	}
	k.Spec.Output.Formats = []v1alpha1.KeyFormat{"Knot"}
	if _, err := Output(&k, key, "", nil); err == nil {
		t.Error("an unknown format was written")
	}
}

func TestZonesOf(t *testing.T) {
	k := made("dns", "acme", "", 1, "u")
	k.Spec.ClusterRef.Namespace = "" // its own
	zone := func(namespace, name, action, key string) v1alpha1.Zone {
		return v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: v1alpha1.ZoneSpec{ZoneName: v1alpha1.DomainName(name),
			ClusterRef: v1alpha1.ClusterReference{Name: "main", Namespace: "dns"}, UpdatePolicy: []v1alpha1.UpdateRule{{Action: action, KeyRef: v1alpha1.LocalReference{Name: key}}}}}
	}
	got := ZonesOf(&k, []v1alpha1.Zone{zone("dns", "a.example.", "Grant", "acme"), zone("dns", "b.example", "Deny", "acme"), zone("dns", "c.example", "Grant", "other"),
		zone("team", "d.example", "Grant", "acme"), zone("dns", "e.example", "", "acme")})
	if strings.Join(got, " ") != "a.example e.example" {
		t.Errorf("%q", got)
	}
}

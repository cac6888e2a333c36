package program

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

func TestConfig(t *testing.T) {
	good := DefaultConfig()
	good.Image = "zonekeeper:1"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		flag   string
	}{
		"no image":            {func(c *Config) { c.Image = "" }, "--image"},
		"no domain":           {func(c *Config) { c.ClusterDomain = "cluster.local." }, "--cluster-domain"},
		"bad front namespace": {func(c *Config) { c.FrontNamespace = "a.b" }, "--front-namespace"},
		"namespace with dot":  {func(c *Config) { c.Namespace = "a.b" }, "--namespace"},
		"short lease":         {func(c *Config) { c.LeaseDuration = time.Second }, "--lease-duration"},
		"port alone":          {func(c *Config) { c.MetricsListen = "8080" }, "--metrics-listen"},
		"health without port": {func(c *Config) { c.HealthListen = "localhost" }, "--health-listen"},
		"no grace":            {func(c *Config) { c.StopGrace = 0 }, "--stop-grace"},
		"too often":           {func(c *Config) { c.Interval = time.Millisecond }, "--interval"},
		"format":              {func(c *Config) { c.LogFormat = "xml" }, "--log-format"},
		"short certificates":  {func(c *Config) { c.CertificateLifetime = time.Minute }, "--certificate-lifetime"},
	} {
		cfg := good
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.flag+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line about %s", name, err, c.flag)
		}
	}
	off := good
	off.MetricsListen, off.HealthListen, off.FrontNamespace = "", "", ""
	if err := off.Validate(); err != nil || orOff(off.MetricsListen) != "0" {
		t.Errorf("no sockets: %v", err)
	}
}

// TestSecretsAreInNoCache: nor is anything that users name and that has no label of ours.
func TestSecretsAreInNoCache(t *testing.T) {
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	cached := map[string]bool{}
	for o, by := range cacheOptions("fronts").ByObject {
		kinds, _, err := scheme.ObjectKinds(o)
		if err != nil {
			t.Fatal(err)
		}
		cached[kinds[0].Kind] = true
		if by.Label == nil || by.Label.Empty() {
			t.Errorf("all %ss are cached", kinds[0].Kind)
		}
	}
	for _, o := range []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}} {
		kinds, _, err := scheme.ObjectKinds(o)
		if err != nil {
			t.Fatal(err)
		}
		live := false
		for _, u := range uncached() {
			k, _, err := scheme.ObjectKinds(u)
			live = live || err == nil && k[0] == kinds[0]
		}
		if !live || cached[kinds[0].Kind] {
			t.Errorf("%s is read from a cache", kinds[0].Kind)
		}
	}
	if !scheme.Recognizes(v1alpha1.GroupVersion().WithKind("BindCluster")) {
		t.Error("BindCluster is no kind")
	}
}

package clustercontroller

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// believed checks that every certificate in the Secrets is believed with the trust of its CA as it is now in the Secrets.
func (w *world) believed(in resources.Input) {
	w.t.Helper()
	all := w.secrets()
	trust := map[resources.Authority][]byte{}
	for _, c := range resources.Certificates(in) {
		for file, a := range c.Trust {
			trust[a] = all[testNamespace+"/"+c.Secret][file]
		}
	}
	for _, c := range resources.Certificates(in) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(trust[c.Authority]) {
			continue // the first pass is under way
		}
		text := all[testNamespace+"/"+c.Secret][c.CertFile]
		if len(text) == 0 {
			continue
		}
		b, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(b.Bytes)
		w.must(err)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: w.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			w.t.Fatalf("%s/%s is not believed: %v", c.Secret, c.CertFile, err)
		}
	}
}

// TestReplaceCAs: asked for by the annotation each CA gets another key, every certificate is believed at every moment, members of the log are restarted when what they
// trust has changed, and in the end the old CAs are trusted by nobody; also when the operator is killed after any of its writes.
func TestReplaceCAs(t *testing.T) {
	for name, killEvery := range map[string]int{"in peace": 0, "killed after one of its first writes, every other pass": 7} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testObjects(1)...)
			r := w.settle(w.operator())
			before, template := w.secrets(), w.set().Spec.Template.Annotations
			w.change(func(c *v1alpha1.BindCluster) {
				c.Annotations = map[string]string{v1alpha1.AnnotationReplaceCAs: w.now.Format(time.RFC3339)}
			})
			told, trusts := false, map[string]bool{}
			done := func() bool {
				for secret, data := range w.secrets() {
					if strings.Contains(secret, "-ca-") && (len(data["next.crt"]) > 0 || len(data["previous.crt"]) > 0 || bytes.Equal(data[resources.FileKey], before[secret][resources.FileKey])) {
						return false
					}
				}
				return condition(w.cluster(), v1alpha1.ConditionReady).Status == metav1.ConditionTrue
			}
			passes := 0
			for ; passes < 400 && !done(); passes++ {
				if killEvery > 0 && passes%2 == 0 { // who dies in every pass can't tell in status that all is well
					w.failAt = w.writes + 1 + passes/2%killEvery
				}
				err := w.pass(r)
				w.failAt = 0
				if w.dead {
					w.dead = false
					r = w.operator()
				} else if err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				w.kubernetes()
				w.believed(resources.Input{Cluster: w.cluster(), Settings: resources.DefaultSettings()})
				told = told || strings.Contains(condition(w.cluster(), v1alpha1.ConditionCertificatesValid).Message, "CA log is replaced")
				trusts[w.set().Spec.Template.Annotations["dns.zonekeeper.io/log-trust"]] = true
			}
			if !done() {
				t.Fatalf("not done: %+v", w.cluster().Status.Conditions)
			}
			r = w.settle(r)
			if took := time.Duration(passes) * 10 * time.Second; took < 2*DefaultConfig().TrustWait {
				t.Errorf("it took %v, less than Secrets take to arrive", took)
			}
			if !told || len(trusts) != 2 {
				t.Errorf("told in status: %v; templates %v", told, trusts)
			}
			if got := w.set().Spec.Template.Annotations; len(got) != len(template) {
				t.Errorf("the template has %v at last, had %v", got, template)
			}
			for secret, data := range w.secrets() {
				for file, text := range data {
					if old := before[secret][file]; strings.HasSuffix(file, "ca.crt") && (bytes.Count(text, []byte("BEGIN CERT")) != 1 || bytes.Equal(text, old)) {
						t.Errorf("%s/%s still has the old CA", secret, file)
					}
				}
			}
			// The wish is fulfilled: one more pass begins nothing.
			after := w.secrets()["dns/c-ca-log"]
			w.must(w.pass(r))
			if now := w.secrets()["dns/c-ca-log"]; !bytes.Equal(after[resources.FileCert], now[resources.FileCert]) || len(now["next.crt"]) > 0 {
				t.Error("it is replaced once more")
			}
		})
	}
}

// TestReplaceHeld: while somebody is not well nothing goes on, and status says so; an annotation that is no time is told.
func TestReplaceHeld(t *testing.T) {
	w := newWorld(t, testObjects(1)...)
	r := w.settle(w.operator())
	w.change(func(c *v1alpha1.BindCluster) {
		c.Annotations = map[string]string{v1alpha1.AnnotationReplaceCAs: "soon"}
	})
	w.must(w.pass(r))
	valid := func() string { return condition(w.cluster(), v1alpha1.ConditionCertificatesValid).Message }
	if !strings.Contains(valid(), `is "soon"; write a time`) {
		t.Errorf("%s", valid())
	}
	w.change(func(c *v1alpha1.BindCluster) {
		c.Annotations = map[string]string{v1alpha1.AnnotationReplaceCAs: w.now.Format(time.RFC3339)}
	})
	for range 5 {
		w.must(w.pass(r))
		w.kubernetes()
	}
	w.formed = false // no primary answers
	for range 60 {
		w.must(w.pass(r))
	}
	if s := w.secrets()["dns/c-ca-admin"]; len(s["next.crt"]) == 0 || !strings.Contains(valid(), "who is not well") {
		t.Errorf("after 10 minutes without an answer: next %d octets, %s", len(s["next.crt"]), valid())
	}
}

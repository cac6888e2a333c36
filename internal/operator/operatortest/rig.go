// Package operatortest gives the tests of controllers a cluster of real primaries, which is reached as in Kubernetes: by the names of pods, with
// mutual TLS. The API server beside it is controller-runtime's fake.
package operatortest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// Rig is a running cluster that is BindCluster dns in namespace dns.
type Rig struct {
	*harness.Cluster
	// Authority signed the primaries' certificates.
	Authority   *harness.Authority
	BindCluster *v1alpha1.BindCluster
	// Secret has the operator's certificate.
	Secret *corev1.Secret

	mu sync.Mutex
	// wrap changes what the operator's connections are made of; nil: nothing.
	wrap func(host string, c net.Conn) net.Conn
}

// Start runs a cluster. It has no zone.
func Start(t testing.TB, primaries, secondaries int) *Rig {
	t.Helper()
	r := &Rig{Authority: harness.NewAuthority(t, "admin"), BindCluster: &v1alpha1.BindCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: "dns", UID: "cluster", Finalizers: nil},
		Spec:       v1alpha1.BindClusterSpec{Primaries: v1alpha1.PrimariesSpec{Replicas: int32(primaries)}},
	}}
	_, _, own := r.Authority.IssueFor("harness", "")
	issued := map[string][2]string{}
	var mu sync.Mutex
	r.Cluster = harness.Start(t, func(c *devcluster.Config) {
		c.Primaries, c.Secondaries, c.Zones = primaries, secondaries, nil
		c.AdminClient = &http.Client{Transport: &http.Transport{TLSClientConfig: r.Authority.Client(own)}}
		c.Adjust = func(p *primary.Config) {
			mu.Lock()
			defer mu.Unlock()
			files, ok := issued[p.Name]
			if !ok {
				files[0], files[1], _ = r.Authority.IssueFor(p.Name, "", "127.0.0.1", r.host(p.Name))
				issued[p.Name] = files
			}
			p.Admin.TLSCert, p.Admin.TLSKey, p.Admin.TLSClientCA = files[0], files[1], r.Authority.CA
			peers := map[string]string{}
			for name, url := range p.Admin.Peers {
				peers[name] = strings.Replace(url, "http://", "https://", 1)
			}
			p.Admin.Peers = peers
		}
	})
	r.Secret = r.Certificate(t, r.Authority, "operator", conf.OperatorUnit)
	return r
}

// host is the name of a primary's pod.
func (r *Rig) host(member string) string {
	return fmt.Sprintf("dns-%s.dns-primary.dns.svc.cluster.local", member)
}

// Certificate is the Secret with a certificate that an authority has issued.
func (r *Rig) Certificate(t testing.TB, by *harness.Authority, name, unit string) *corev1.Secret {
	t.Helper()
	certFile, keyFile, _ := by.IssueFor(name, unit)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: resources.OperatorSecret("dns"), Namespace: "dns"}, Data: map[string][]byte{}}
	for entry, file := range map[string]string{resources.FileCert: certFile, resources.FileKey: keyFile, resources.FileCA: r.Authority.CA} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.Data[entry] = b
	}
	return s
}

// AdminTLS is an administrator's connection to a primary, as a person at the command line has it.
func (r *Rig) AdminTLS(t testing.TB, unit string) *tls.Config {
	t.Helper()
	_, _, cert := r.Authority.IssueFor("somebody", unit)
	return r.Authority.Client(cert)
}

// Wrap changes what the connections opened from now on are made of; nil: nothing.
func (r *Rig) Wrap(f func(host string, c net.Conn) net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrap = f
}

// Config reaches the primaries by the names of their pods, without a resolver.
func (r *Rig) Config() clusterapi.Config {
	cfg := clusterapi.DefaultConfig()
	cfg.Recheck = 0
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		for _, p := range r.Info().Primaries {
			if r.host(p.Name) != host {
				continue
			}
			c, err := (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(p.Admin, "https://"))
			r.mu.Lock()
			wrap := r.wrap
			r.mu.Unlock()
			if err == nil && wrap != nil {
				c = wrap(host, c)
			}
			return c, err
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	}
	return cfg
}

// Scheme has Kubernetes' kinds and ours.
func Scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Kubernetes is an API server with the BindCluster, the operator's certificate and more objects.
func (r *Rig) Kubernetes(t testing.TB, adjust func(*fake.ClientBuilder), objects ...client.Object) client.WithWatch {
	t.Helper()
	b := fake.NewClientBuilder().WithScheme(Scheme(t)).WithStatusSubresource(&v1alpha1.BindCluster{}, &v1alpha1.Zone{}, &v1alpha1.TSIGKey{}).
		WithObjects(r.BindCluster.DeepCopy(), r.Secret.DeepCopy(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "dns"}})
	for _, o := range objects {
		b = b.WithObjects(o)
	}
	if adjust != nil {
		adjust(b)
	}
	return b.Build()
}

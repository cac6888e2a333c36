package clusterapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/operatortest"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestClusters runs against one cluster of three real primaries.
func TestClusters(t *testing.T) {
	rig := operatortest.Start(t, 3, 0)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *operatortest.Rig)
	}{
		{"each primary by its own address", eachByItsAddress},
		{"connections are reused, and closed", connectionsAreReused},
		{"a certificate is renewed", certificateIsRenewed},
		{"an answer that was lost", lostAnswer},
		{"a request that was not taken", notTaken}, // kills a primary: the last
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Cleanup(func() { rig.Wrap(nil) })
			part.run(t, rig)
		})
	}
}

func open(t *testing.T, rig *operatortest.Rig) (*clusterapi.Clusters, *clusterapi.Cluster, client.Client) {
	t.Helper()
	k := rig.Kubernetes(t, nil)
	cs, err := clusterapi.New(rig.Config(), k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cs.Forget(client.ObjectKeyFromObject(rig.BindCluster)) })
	c, err := cs.Of(t.Context(), rig.BindCluster)
	if err != nil {
		t.Fatal(err)
	}
	return cs, c, k
}

func eachByItsAddress(t *testing.T, rig *operatortest.Rig) {
	_, c, _ := open(t, rig)
	names := make([]string, len(c.Primaries()))
	for _, err := range c.Each(t.Context(), func(ctx context.Context, i int, p clusterapi.Primary) error {
		s, err := p.Replica(ctx)
		if err == nil {
			names[i] = s.Name
		}
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if strings.Join(names, " ") != "primary-0 primary-1 primary-2" {
		t.Errorf("asked %q", names)
	}
}

// counted counts connections that are open.
type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func connectionsAreReused(t *testing.T, rig *operatortest.Rig) {
	var dialled, opened atomic.Int32
	rig.Wrap(func(_ string, c net.Conn) net.Conn {
		dialled.Add(1)
		opened.Add(1)
		return &counted{Conn: c, open: &opened}
	})
	cs, _, _ := open(t, rig)
	for range 5 {
		c, err := cs.Of(t.Context(), rig.BindCluster)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ask(t.Context(), func(ctx context.Context, p *adminapi.Client) error {
			_, err := p.Zones(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d connections for five questions", n)
	}
	cs.Forget(client.ObjectKeyFromObject(rig.BindCluster))
	if n := opened.Load(); n != 0 {
		t.Errorf("%d connections are open after the cluster was forgotten", n)
	}
}

func certificateIsRenewed(t *testing.T, rig *operatortest.Rig) {
	cs, _, k := open(t, rig)
	ask := func() error {
		c, err := cs.Of(t.Context(), rig.BindCluster)
		if err != nil {
			return err
		}
		return c.Ask(t.Context(), func(ctx context.Context, p *adminapi.Client) error { return p.Ready(ctx) })
	}
	put := func(data map[string][]byte) {
		t.Helper()
		var s corev1.Secret
		if err := k.Get(t.Context(), client.ObjectKeyFromObject(rig.Secret), &s); err != nil {
			t.Fatal(err)
		}
		s.Data = data
		if err := k.Update(t.Context(), &s); err != nil {
			t.Fatal(err)
		}
	}
	foreign := rig.Certificate(t, harness.NewAuthority(t, "foreign"), "operator", conf.OperatorUnit)
	put(foreign.Data)
	if err := ask(); !errors.Is(err, clusterapi.ErrUnreachable) || !strings.Contains(err.Error(), "primary-0") || !strings.Contains(err.Error(), "https://dns-primary-0.") {
		t.Errorf("with a stranger's certificate: %v", err)
	}
	put(rig.Certificate(t, rig.Authority, "operator", conf.OperatorUnit).Data)
	if err := ask(); err != nil {
		t.Errorf("with a new one: %v", err)
	}
	put(map[string][]byte{"tls.crt": []byte("half")})
	if err := ask(); err != nil {
		t.Errorf("with half of one: %v", err)
	}
	if err := k.Delete(t.Context(), rig.Secret.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := ask(); !errors.Is(err, clusterapi.ErrNoCertificate) || !strings.Contains(err.Error(), "dns/dns-operator-tls") {
		t.Errorf("without: %v", err)
	}
}

// mute loses every answer.
type mute struct {
	net.Conn
	lost *atomic.Bool
}

func (m *mute) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if m.lost.Load() && err == nil {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// lostAnswer: a change of which the answer never came is found to have been made, and is not made again.
func lostAnswer(t *testing.T, rig *operatortest.Rig) {
	var lost atomic.Bool
	rig.Wrap(func(_ string, c net.Conn) net.Conn { return &mute{Conn: c, lost: &lost} })
	_, c, _ := open(t, rig)
	asked, tried := 0, 0
	err := c.As("TSIGKey dns/lost").Change(t.Context(), func(ctx context.Context, p *adminapi.Client) (bool, error) {
		asked++
		lost.Store(false)
		_, err := p.Key(ctx, "lost.example.", false)
		if adminapi.IsCode(err, adminapi.CodeNotFound) {
			return false, nil
		}
		return err == nil, err
	}, func(ctx context.Context, p *adminapi.Client) error {
		tried++
		if err := p.Ready(ctx); err != nil { // the handshake is over then
			return err
		}
		lost.Store(true)
		_, err := p.AddKey(ctx, adminapi.AddKey{Name: "lost.example."})
		return err
	})
	if err != nil || asked == 0 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	if err := c.Ask(t.Context(), func(ctx context.Context, p *adminapi.Client) error {
		k, err := p.Key(ctx, "lost.example.", false)
		if err == nil && (len(k.Versions) != 1 || k.ManagedBy != "operator TSIGKey dns/lost") {
			t.Errorf("after %d attempts: %+v", tried, k)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// notTaken: a primary that is not there is passed by, and a refusal is an answer.
func notTaken(t *testing.T, rig *operatortest.Rig) {
	_, c, _ := open(t, rig)
	rig.Signal("primary-0", syscall.SIGKILL)
	rig.Gone("primary-0")
	never := func(context.Context, *adminapi.Client) (bool, error) {
		t.Error("asked about a change that was never sent")
		return false, nil
	}
	add := func(ctx context.Context, p *adminapi.Client) error {
		_, err := p.AddKey(ctx, adminapi.AddKey{Name: "taken.example."})
		return err
	}
	rig.Until(20*time.Second, "a leader", func(ctx context.Context) error {
		return c.Ask(ctx, func(ctx context.Context, p *adminapi.Client) error {
			_, err := p.Zones(ctx)
			return err
		})
	})
	if err := c.Change(t.Context(), never, add); err != nil {
		t.Fatal(err)
	}
	if err := c.Change(t.Context(), never, add); !adminapi.IsCode(err, adminapi.CodeConflict) || !strings.Contains(err.Error(), "exists; rotate it") {
		t.Errorf("a second time: %v", err)
	}
	errs := c.Each(t.Context(), func(ctx context.Context, _ int, p clusterapi.Primary) error { return p.Ready(ctx) })
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "primary-0: no answer from the admin address https://dns-primary-0.dns-primary.dns.svc.cluster.local:8443") {
		t.Errorf("of the one that is gone: %v", errs[0])
	}
}

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
	"github.com/zonekeeper/zonekeeper/test/kube/lab"
)

// Names of what the tests make.
const (
	namespace = "dns"
	cluster   = "dns"
	fronts    = "zonekeeper-front"
	zoneName  = "example.test."
)

// patience is for what takes a few seconds on a machine that does nothing else.
const patience = 4 * time.Minute

// site is a Kubernetes cluster and what the tests made there.
type site struct {
	t testing.TB
	*lab.Cluster
	hub *harness.Namespace
}

// start runs a cluster with what `scripts/kube.sh prepare` has put into the folder parts. ZONEKEEPER_KUBE names the directory of one that
// runs already, to be used instead and left alone afterwards.
func start(t testing.TB, parts string) *site {
	t.Helper()
	s := &site{t: t}
	dir := os.Getenv("ZONEKEEPER_KUBE")
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "kube")
		s.run(parts, dir, 3)
	} else {
		s.open(dir, func() error { return nil })
	}
	return s
}

// open waits for the cluster in a directory, while alive says that it is worth it.
func (s *site) open(dir string, alive func() error) {
	t := s.t
	t.Helper()
	s.until("the cluster is ready", func() (err error) {
		if err := alive(); err != nil {
			t.Fatal(err)
		}
		if s.Cluster, err = lab.Open(dir); err != nil {
			return err
		}
		if !s.Ready {
			return errors.New("its nodes and its DNS are not all there yet")
		}
		return nil
	})
	hub, err := s.Network("hub")
	if err != nil {
		t.Fatal(err)
	}
	s.hub = hub
	t.Cleanup(func() { _ = hub.Close() })
}

// run starts a cluster in a process of its own.
func (s *site) run(parts, dir string, nodes int) *harness.Process {
	t := s.t
	t.Helper()
	programs, err := os.Readlink(filepath.Join(parts, "programs"))
	if err != nil {
		t.Fatal(err)
	}
	images, err := filepath.Glob(filepath.Join(parts, "images", "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	p := harness.StartProcess(t, exec.Command(filepath.Join(parts, "kubelab"), "up", "--dir", dir, "--programs", programs, //nolint:noctx // it ends with the test
		"--nodes", strconv.Itoa(nodes), "--images", strings.Join(images, ",")), filepath.Join(t.TempDir(), "kubelab.log"))
	s.open(dir, p.Alive)
	return p
}

// For is the site as a part of the test sees it: what fails there fails that part.
func (s *site) For(t testing.TB) *site {
	part := *s
	part.t = t
	return &part
}

// until repeats what fails until it does not.
func (s *site) until(what string, f func() error) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited %v until %s: %v", patience, what, err)
		}
		<-time.After(200 * time.Millisecond)
	}
}

// try runs kubectl with an input.
func (s *site) try(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := s.Kubectl(ctx, args...)
	cmd.Stdin = strings.NewReader(input)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// kubectl is try that must succeed.
func (s *site) kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.try("", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// apply stores objects.
func (s *site) apply(objects string) {
	s.t.Helper()
	if _, err := s.try(objects, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		s.t.Fatal(err)
	}
}

// get reads an object, or a list of them.
func get[T any](s *site, into *T, args ...string) error {
	out, err := s.try("", append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// dial opens a socket beside the control plane, outside of all pods, as a machine of the nodes' network would.
func (s *site) dial(network, addr string) (conn net.Conn, err error) {
	// An address and no name: names are looked up on other threads, which are in the machine's own network.
	dialer := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}
	err = s.hub.Inside(func() error { conn, err = dialer.DialContext(s.t.Context(), network, addr); return err })
	return conn, err
}

// via leads what is sent to Services from outside through one node.
func (s *site) via(node string) {
	s.t.Helper()
	if _, err := s.hub.Shell("ip route replace 10.96.0.0/16 via " + lab.NodeAddr(node)); err != nil {
		s.t.Fatal(err)
	}
}

// node does something to a node.
func (s *site) node(name, action string) {
	s.t.Helper()
	if err := s.Node(s.t.Context(), name, action); err != nil {
		s.t.Fatal(err)
	}
}

// inPrimary runs zonekeeper in the pod of a primary, with the right of the pod's own certificate.
func (s *site) inPrimary(i int, input string, args ...string) (string, error) {
	pod := fmt.Sprintf("%s-primary-%d", cluster, i)
	words := append([]string{"exec", "-i", "-n", namespace, pod, "--", "zonekeeper"}, args...)
	return s.try(input, append(words, fmt.Sprintf("--admin=https://%s.%s-primary.%s.svc.cluster.local:8443", pod, cluster, namespace),
		"--tls-ca=/etc/zonekeeper/tls/ca.crt", "--tls-cert=/etc/zonekeeper/tls/tls.crt", "--tls-key=/etc/zonekeeper/tls/tls.key")...)
}

package kube

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// Services of the cluster.
const (
	updates = cluster + "-front-updates"
	domain  = namespace + ".svc.cluster.local"
)

// secondaries are the Services of the secondaries, and their pods.
func secondaries() []string { return []string{cluster + "-secondary-0", cluster + "-secondary-1"} }

// clientPod is a client inside of the Kubernetes cluster.
const clientPod = `
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: "localhost/client:1", imagePullPolicy: Never, command: [sleep, "1000000"]}]
`

// key is a TSIG key as people have it.
type key struct{ name, algorithm, secret string }

func (k key) forUpdates(s *site) tsig.Key {
	s.t.Helper()
	return harness.MustKey(s.t, k.name, k.algorithm, k.secret)
}

// keyOf reads the Secret that the operator has made for a TSIGKey.
func (s *site) keyOf(tsigKey string) key {
	s.t.Helper()
	entry := func(name string) string {
		b, err := base64.StdEncoding.DecodeString(s.kubectl("get", "secret", "-n", namespace, tsigKey, "-o", "jsonpath={.data."+name+"}"))
		if err != nil || len(b) == 0 {
			s.t.Fatalf("secret %s, entry %s: %q, %v", tsigKey, name, b, err)
		}
		return strings.TrimSpace(string(b))
	}
	return key{entry("name"), entry("algorithm"), entry("secret")}
}

// nsupdate writes from a pod, and from outside through each node; every secondary shows it. label begins the names that are written.
func (s *site) nsupdate(k key, label string) {
	s.t.Helper()
	s.apply(clientPod)
	s.kubectl("wait", "-n", "default", "pod/client", "--for=condition=Ready", "--timeout=60s")
	script := func(server, name string) string {
		return fmt.Sprintf("server %s\nzone %s\nkey %s:%s %s\nupdate add %s.%[2]s 60 A 192.0.2.1\nsend\n", server, zoneName, k.algorithm, k.name, k.secret, name)
	}
	names := []string{label + "-from-pod"}
	if _, err := s.try(script(updates+"."+domain, names[0]), "exec", "-i", "-n", "default", "client", "--", "nsupdate"); err != nil {
		s.t.Fatal(err)
	}
	for _, node := range nodes() {
		s.via(node)
		name := label + "-through-" + node
		cmd, err := s.Command(s.t.Context(), "hub", "nsupdate")
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader(script(s.address(updates), name))
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("nsupdate through %s: %v: %s", node, err, out)
		}
		names = append(names, name)
	}
	s.via("n1")
	for _, secondary := range secondaries() {
		for _, name := range names {
			s.until(secondary+" shows "+name, func() error {
				out, err := s.try("", "exec", "-n", "default", "client", "--", "dig", "+short", "@"+secondary+"."+domain, name+"."+zoneName)
				if err == nil && out != "192.0.2.1" {
					err = fmt.Errorf("it shows %q", out)
				}
				return err
			})
		}
	}
}

// address is that of a Service.
func (s *site) address(service string) string {
	s.t.Helper()
	return s.kubectl("get", "-n", namespace, "service", service, "-o", "jsonpath={.spec.clusterIP}")
}

// secondaryAddrs are where the Services of the secondaries answer, with their ports.
func (s *site) secondaryAddrs() (addrs []string) {
	s.t.Helper()
	for _, name := range secondaries() {
		addrs = append(addrs, s.address(name)+":53")
	}
	return addrs
}

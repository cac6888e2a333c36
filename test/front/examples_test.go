package front

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestExamples: what docs/front.md tells people to start from is accepted by the front, by HAProxy and by keepalived.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/examples/front/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	// keepalived wants to see the interface.
	ns, err := harness.NewNamespace("ip link set lo up; ip link add eth0 type veth peer name peer; ip addr add 192.0.2.11/24 dev eth0; ip link set eth0 up")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	dir := t.TempDir()
	fronts, servers := harness.NewAuthority(t, "fronts"), harness.NewAuthority(t, "servers")
	cert, key, _ := fronts.IssueFor("front", "zonekeeper-front")
	proxyKey := filepath.Join(dir, "proxy.key")
	if err := os.WriteFile(proxyKey, []byte("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/etc/zonekeeper/front.pem", cert, "/etc/zonekeeper/front.key", key,
		"/etc/zonekeeper/primaries.pem", servers.CA, "/etc/zonekeeper/proxy.key", proxyKey)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c object
			if err := json.Unmarshal([]byte(here.Replace(string(b))), &c); err != nil {
				t.Fatal(err)
			}
			c["dir"] = dir
			if b, err = json.Marshal(c); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(dir, filepath.Base(file))
			if err := os.WriteFile(config, b, 0o600); err != nil {
				t.Fatal(err)
			}
			words := append(ns.Enter(), harness.Program(t), "front", "check", "--config", config)
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("front check: %v\n%s", err, out)
			}
		})
	}
}

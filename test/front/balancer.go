package front

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// runBalancer runs an HAProxy at the host "balancer", which sends TCP to the spare with PROXY headers, as a cloud's load balancer does.
func runBalancer(t *testing.T, s *site) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "haproxy.cfg")
	text := fmt.Sprintf(`defaults
    mode tcp
    maxconn 500
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen balancer
    bind %s
    server spare %s send-proxy-v2
`, addrPort(s.Host("balancer").V4, portDNS), s.spareAddr())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := s.Command("balancer", "haproxy", "-db", "-f", conf)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	harness.StartProcess(t, cmd, filepath.Join(dir, "log"))
}

package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/operator/program"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

func TestCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		fail error
		code int
		says string
	}{
		{name: "all flags", args: []string{"--image=i", "--kubeconfig=" + file, "--lease-duration=30s", "--log-level=debug"}, code: ExitOK},
		{name: "it fails", args: []string{"--image=i", "--kubeconfig=" + file, "--lease-duration=30s"}, fail: errors.New("no API server"), code: ExitFailed, says: "error: no API server"},
		{name: "no image", args: []string{"--kubeconfig=" + file}, code: ExitUsage, says: "--image: empty"},
		{name: "level", args: []string{"--image=i", "--log-level=loud"}, code: ExitUsage, says: "use debug, info, warn or error"},
		{name: "no such flag", args: []string{"--nonsense"}, code: ExitUsage, says: "unknown flag"},
		{name: "an argument", args: []string{"x"}, code: ExitUsage, says: `unexpected argument "x"`},
		{name: "no such file", args: []string{"--image=i", "--kubeconfig=" + file + "x"}, code: ExitUsage, says: "--kubeconfig"},
		{name: "not in a pod", args: []string{"--image=i"}, code: ExitUsage, says: "name a file with --kubeconfig"},
	} {
		t.Setenv("KUBERNETES_SERVICE_HOST", "")
		var out bytes.Buffer
		p := Program{Version: "v", Out: &out, Err: &out, Run: func(_ context.Context, cfg program.Config, env program.Environment) error {
			if cfg.Image != "i" || cfg.LeaseDuration != 30*time.Second || env.Kube.Host != "https://192.0.2.1:6443" || env.Version != "v" || env.Logger == nil {
				t.Errorf("%s: %+v, %+v", c.name, cfg, env)
			}
			return c.fail
		}}
		if code := p.Main(t.Context(), c.args); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit %d, %s", c.name, code, out.String())
		}
	}
}

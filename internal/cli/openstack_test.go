package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// TestOpenStackMistakes: what is wrong is said before any cloud is asked.
func TestOpenStackMistakes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, []byte("clouds: {a: {auth: {auth_url: 'http://127.0.0.1:1', password: geheim}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args, want string
		code       int
	}{
		{"openstack gc --remove dns/front", "--remove without --cluster", ExitUsage},
		{"openstack gc --clouds " + file + ".missing", "name a file that can be read", ExitFailed},
		{"openstack gc --clouds " + file, "neither username and password nor an application credential", ExitFailed},
	} {
		var out bytes.Buffer
		p := Program{Out: &out, Err: &out, In: strings.NewReader(""), Getenv: func(string) string { return "" }}
		if code := p.Run(t.Context(), strings.Fields(tc.args)); code != tc.code || !strings.Contains(out.String(), tc.want) || strings.Contains(out.String(), "geheim") {
			t.Errorf("%s: exit %d, %s", tc.args, code, out.String())
		}
	}
}

// TestAgreed: nothing but yes is yes.
func TestAgreed(t *testing.T) {
	r := openstack.Remnant{Owner: plan.Owner{Cluster: "c", Name: "dns/front"}, Objects: []string{"port x"}}
	for answer, want := range map[string]bool{"yes\n": true, "": false, "y\n": false, "no\n": false} {
		var out bytes.Buffer
		p := Program{Err: &out, In: strings.NewReader(answer)}
		if p.agreed(r) != want || !strings.Contains(out.String(), "port x") {
			t.Errorf("%q: want %v; asked %s", answer, want, out.String())
		}
	}
}

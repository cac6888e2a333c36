package kubectl

import (
	"context"
	"fmt"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// What internal/operator/resources calls things; a test compares. To import it would make the plugin twice as large.
const (
	primaryComponent = "primary"
	adminPort        = 8443
	pathTLS          = "/etc/zonekeeper/tls"
	// pathProgram is where our program is in pods with an image of BIND that does not have it.
	pathProgram = "/opt/zonekeeper/zonekeeper"
)

// run executes zonekeeper in a ready primary, by kubectl itself. A primary's certificate opens all of the admin API, and is where it runs.
func (p *Program) run(ctx context.Context, o options) (int, error) {
	r, namespace, err := connect(o)
	if err != nil {
		return ExitFailed, err
	}
	c, err := r.cluster(ctx, namespace, o.cluster)
	if err != nil {
		return ExitFailed, err
	}
	args, err := inside(c, o)
	if err != nil {
		return ExitFailed, err
	}
	var own []string // kubectl has handed on no flag of its own
	if o.kubeconfig != "" {
		own = append(own, "--kubeconfig", o.kubeconfig)
	}
	if o.context != "" {
		own = append(own, "--context", o.context)
	}
	code, err := p.Execute(ctx, "kubectl", append(own, args...))
	if err != nil {
		return ExitFailed, fmt.Errorf("kubectl: %w; it has to be in $PATH", err)
	}
	return code, nil
}

// inside are kubectl's arguments for a command in the first ready primary.
func inside(c v1alpha1.BindCluster, o options) ([]string, error) {
	member := ""
	for _, m := range c.Status.Primaries.Members {
		if m.Ready {
			member = m.Name
			break
		}
	}
	if member == "" {
		return nil, fmt.Errorf("BindCluster %s/%s has no primary that is ready: %s", c.Namespace, c.Name, or(c.Status.Summary, "it has no status yet"))
	}
	set := c.Name + "-" + primaryComponent
	pod := set + strings.TrimPrefix(member, primaryComponent)
	program := "zonekeeper"
	if c.Spec.Images.Bind != "" {
		program = pathProgram
	}
	args := []string{"--namespace", c.Namespace, "exec", "--stdin", pod, "--container", primaryComponent, "--", program}
	args = append(args, o.command...)
	return append(args, fmt.Sprintf("--admin=https://%s.%s.%s.svc.%s:%d", pod, set, c.Namespace, o.domain, adminPort),
		"--tls-ca="+pathTLS+"/ca.crt", "--tls-cert="+pathTLS+"/tls.crt", "--tls-key="+pathTLS+"/tls.key"), nil
}

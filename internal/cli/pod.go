package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// envConfig stands for --config of probe: the kubelet replaces no variables in the commands of probes, but they have the container's own.
const envConfig = "ZONEKEEPER_CONFIG"

// podProbeTimeout is how long a process may take to say how it is. Kubernetes gives a probe longer, so that the reason is in its event.
const podProbeTimeout = 3 * time.Second

// probed is the part of a configuration that primaries and secondaries have in common.
type probed struct {
	Name  string `json:"name"`
	Admin struct {
		Listen      string `json:"listen"`
		TLSCert     string `json:"tls_cert"`
		TLSKey      string `json:"tls_key"`
		TLSClientCA string `json:"tls_client_ca"`
	} `json:"admin"`
}

func (p *Program) probeCommand() *cobra.Command {
	var path string
	var ready bool
	cmd := &cobra.Command{
		Use: "probe", Short: "Exit with 0 while the primary or secondary of a configuration lives", Args: exactly(),
		Long: `Exit with 0 while the primary or secondary of a configuration, on this machine, lives;
Kubernetes asks this way, because it has no certificate for the admin API. The process's own
is used. With --ready: while it is ready as well. For a front: zonekeeper front probe.`,
	}
	cmd.Flags().StringVar(&path, "config", "", "configuration file of the process [$"+envConfig+"]")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if path == "" {
			path = p.Getenv(envConfig)
		}
		if path == "" {
			return &usageError{err: errors.New("--config is missing; name the configuration file of the process, or set $" + envConfig), command: cmd.CommandPath()}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), podProbeTimeout)
		defer cancel()
		return probe(ctx, path, ready)
	}
	return cmd
}

func probe(ctx context.Context, path string, ready bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return &usageError{err: fmt.Errorf("configuration: %w; name the file with --config", err)}
	}
	var c probed
	if err := json.Unmarshal(text, &c); err != nil { // what else is in it is for the process itself
		return &usageError{err: fmt.Errorf("configuration %s: %w; it is no file of a primary or secondary", path, err)}
	}
	at, err := netip.ParseAddrPort(c.Admin.Listen)
	if err != nil {
		return &usageError{err: fmt.Errorf("configuration %s: admin.listen %q is not address:port; it is no file of a primary or secondary", path, c.Admin.Listen)}
	}
	if at.Addr().IsUnspecified() {
		loopback := netip.IPv6Loopback()
		if at.Addr().Is4() {
			loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		at = netip.AddrPortFrom(loopback, at.Port())
	}
	scheme, transport := "http://", &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}
	if c.Admin.TLSCert != "" {
		scheme = "https://"
		if transport.TLSClientConfig, err = selfTLS(c); err != nil {
			return err
		}
	}
	cl, err := adminapi.NewClient(scheme+at.String(), &http.Client{Transport: transport})
	if err != nil {
		return err
	}
	ask := cl.Live
	if ready {
		ask = cl.Ready
	}
	if err := ask(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// selfTLS is how a process's own certificate is shown to it, and how its answer is known to be the process's: its name is expected, although
// the address is the loopback one, which is in no certificate.
func selfTLS(c probed) (*tls.Config, error) {
	cert, err := conf.LoadCertificate(c.Admin.TLSCert, c.Admin.TLSKey, c.Admin.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	t := cert.Client()
	leaf := cert.Get().Leaf
	switch {
	case len(leaf.DNSNames) > 0:
		t.ServerName = leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		t.ServerName = leaf.IPAddresses[0].String()
	default:
		return nil, fmt.Errorf("admin.tls_cert %s names no host; issue one for the name by which others reach %s", c.Admin.TLSCert, c.Name)
	}
	return t, nil
}

// installCommand is how our program comes into an image of BIND that does not have it.
func (p *Program) installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install DIR", Short: "Copy this program into a directory", Args: exactly("DIR"), Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			own, err := os.Executable()
			if err != nil {
				return fmt.Errorf("this program's own path: %w", err)
			}
			return install(own, filepath.Join(args[0], "zonekeeper"))
		},
	}
}

// install copies a program as a whole or not at all.
func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	defer func() { _ = in.Close() }() // nothing was written
	part := to + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755) //nolint:gosec // a program
	if err != nil {
		return fmt.Errorf("install: %w; name a directory that can be written to", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return fmt.Errorf("install %s: %w", to, err)
	}
	return nil
}

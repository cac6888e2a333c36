package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
)

// Environment variables that stand for flags.
const (
	envAdmin = "ZONEKEEPER_ADMIN"
	envDir   = "ZONEKEEPER_DIR"
)

// probeTimeout is how long one primary of several may take to say that it is ready.
const probeTimeout = time.Second

// How long commands may take unless --timeout says otherwise.
const (
	usualTimeout = 30 * time.Second
	// longTimeout is for work that grows with the zones: a million records take some ten seconds.
	longTimeout = 10 * time.Minute
)

// connection are the flags of every command that talks to a cluster.
type connection struct {
	admin   []string
	dir     string
	timeout time.Duration
	tlsCA   string
	tlsCert string
	tlsKey  string
	detach  bool
	p       *Program
}

// detachable adds the flag of commands that change what an operator may manage.
func (c *connection) detachable(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.detach, "detach", false, "change it although a Kubernetes operator manages it, which then leaves it alone")
}

func (p *Program) connection(cmd *cobra.Command, timeout time.Duration) *connection {
	c := &connection{p: p}
	f := cmd.Flags()
	f.StringSliceVar(&c.admin, "admin", nil, "admin address of a primary, such as http://127.0.0.1:5311; several: the first ready one is asked [$"+envAdmin+"]")
	f.StringVar(&c.dir, "dir", "", "directory of a local cluster, instead of --admin [$"+envDir+"]")
	f.DurationVar(&c.timeout, "timeout", timeout, "give up after this time")
	f.StringVar(&c.tlsCA, "tls-ca", "", "PEM file with the authority of the primaries' certificates")
	f.StringVar(&c.tlsCert, "tls-cert", "", "PEM file with the client's certificate")
	f.StringVar(&c.tlsKey, "tls-key", "", "PEM file with the client's key")
	return c
}

// info is dev.json of the local cluster, if the command was told of one.
func (c *connection) info() (devcluster.Info, bool) {
	dir := c.dir
	if dir == "" {
		dir = c.p.Getenv(envDir)
	}
	if dir == "" {
		return devcluster.Info{}, false
	}
	i, err := devcluster.ReadInfo(dir)
	return i, err == nil
}

// addresses finds where to ask: flag, environment, local cluster.
func (c *connection) addresses() ([]string, error) {
	if len(c.admin) > 0 {
		return c.admin, nil
	}
	dir := c.dir
	if dir == "" {
		if a := c.p.Getenv(envAdmin); a != "" {
			return strings.Split(a, ","), nil
		}
		dir = c.p.Getenv(envDir)
	}
	if dir == "" {
		return nil, &usageError{err: errors.New("which cluster? give --admin URL or --dir DIR, or set $" + envAdmin + " or $" + envDir)}
	}
	i, err := devcluster.ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	var l []string
	for _, pr := range i.Primaries {
		l = append(l, pr.Admin)
	}
	return l, nil
}

// client chooses the first primary that is ready; when none is, the first that
// answers at all: it can still say what is wrong.
func (c *connection) client(ctx context.Context) (*adminapi.Client, error) {
	addrs, err := c.addresses()
	if err != nil {
		return nil, err
	}
	hc, err := c.httpClient()
	if err != nil {
		return nil, err
	}
	var fallback *adminapi.Client
	var errs []error
	for _, a := range addrs {
		cl, err := adminapi.NewClient(strings.TrimSpace(a), hc)
		if err != nil {
			return nil, &usageError{err: err}
		}
		if len(addrs) == 1 {
			return cl, nil
		}
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err = cl.Ready(pctx)
		cancel()
		if err == nil {
			return cl, nil
		}
		var answered *adminapi.Error
		if errors.As(err, &answered) && fallback == nil {
			fallback = cl
		}
		errs = append(errs, err)
	}
	if fallback != nil {
		return fallback, nil
	}
	return nil, fmt.Errorf("no primary answers; are they up, and are these their admin addresses?\n%w", errors.Join(errs...))
}

func (c *connection) httpClient() (*http.Client, error) {
	if c.tlsCA == "" && c.tlsCert == "" && c.tlsKey == "" {
		return &http.Client{}, nil
	}
	if c.tlsCA == "" || c.tlsCert == "" || c.tlsKey == "" {
		return nil, &usageError{err: errors.New("--tls-ca, --tls-cert and --tls-key go together")}
	}
	pem, err := os.ReadFile(c.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-ca %s: no certificate in it; give a PEM file", c.tlsCA)
	}
	cert, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
	}}}, nil
}

// read runs fn, which changes nothing.
func (c *connection) read(cmd *cobra.Command, fn func(ctx context.Context, a *adminapi.Client) error) error {
	return c.do(cmd, fn, "raise --timeout, or look at the primaries: zonekeeper status")
}

// change runs fn, which may have changed something although no answer came.
func (c *connection) change(cmd *cobra.Command, fn func(ctx context.Context, a *adminapi.Client) error) error {
	return c.do(cmd, fn, "the change may or may not have happened: look before you repeat it")
}

// do connects, bounds the whole command by --timeout and runs fn; late says what to do when time is up.
func (c *connection) do(cmd *cobra.Command, fn func(ctx context.Context, a *adminapi.Client) error, late string) error {
	if c.timeout <= 0 {
		return &usageError{err: fmt.Errorf("--timeout %s: give more than 0", c.timeout), command: cmd.CommandPath()}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	a, err := c.client(ctx)
	if err != nil {
		return err
	}
	err = fn(ctx, a.As("", c.detach))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w after %s; %s", err, c.timeout, late)
	case adminapi.IsCode(err, adminapi.CodeInvalid):
		return &usageError{err: err}
	}
	return err
}

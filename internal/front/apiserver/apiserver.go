// Package apiserver reaches the API server of the Kubernetes cluster in which a front runs, as its pod's service account and by HTTP alone: fronts
// have no Kubernetes libraries.
package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Config says where the API server is and who asks. In a pod start from the zero value and [Config.InCluster].
type Config struct {
	API    string // base URL: https://ADDRESS:PORT
	CAFile string // PEM; signed the API server's certificate; it is read again after [Client.Reset]
	// TokenFile holds a bearer token. It is read for every request, because it is replaced while it is in use.
	TokenFile string
}

// accountDir is where Kubernetes gives a pod its token, the CA and the namespace.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster fills in what is empty: the environment (getenv is os.Getenv) and the files of the pod's service account in dir ("" is the usual
// place) say how to reach the API server of the pod's cluster.
func (c Config) InCluster(getenv func(string) string, dir string) (Config, error) {
	if dir == "" {
		dir = accountDir
	}
	if c.API == "" {
		host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return c, errors.New("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; list the primaries in the configuration, or say where the API server is")
		}
		c.API = "https://" + net.JoinHostPort(host, port)
	}
	if c.CAFile == "" {
		c.CAFile = filepath.Join(dir, "ca.crt")
	}
	if c.TokenFile == "" {
		c.TokenFile = filepath.Join(dir, "token")
	}
	return c, nil
}

// Namespace is the pod's own, of the files in dir ("" is the usual place).
func Namespace(dir string) (string, error) {
	if dir == "" {
		dir = accountDir
	}
	b, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil {
		return "", fmt.Errorf("the pod's own namespace: %w; name the namespace in the configuration", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.API); err != nil || u.Host == "" || u.Scheme != "https" {
		errs = append(errs, fmt.Errorf("API: %q is not an https:// URL", c.API))
	}
	if c.CAFile == "" {
		errs = append(errs, errors.New("CAFile: empty; name a PEM file with the CA of the API server"))
	}
	if c.TokenFile == "" {
		errs = append(errs, errors.New("TokenFile: empty; name a file with a token of a service account"))
	}
	return errors.Join(errs...)
}

// Client asks the API server. It is safe for concurrent use.
type Client struct {
	cfg  Config
	mu   sync.Mutex
	http *http.Client
}

// New gives a client; it opens nothing yet.
func New(cfg Config) *Client { return &Client{cfg: cfg} }

// Error is an answer that is no success.
type Error struct {
	Code    int
	Status  string // such as "403 Forbidden"
	Message string // of the API server
}

func (e *Error) Error() string {
	return fmt.Sprintf("the API server answers %s: %s", e.Status, e.Message)
}

// Denied says whether the API server does not let this account do what it asked for.
func (e *Error) Denied() bool {
	return e.Code == http.StatusForbidden || e.Code == http.StatusUnauthorized
}

// Get asks for path, which begins with a slash. The caller closes the body. An answer that is no success is an *Error.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	return c.do(ctx, http.MethodGet, path+"?"+query.Encode(), "", nil)
}

// MergePatch changes fields of what is at path as RFC 7396 says. An answer that is no success is an *Error.
func (c *Client) MergePatch(ctx context.Context, path string, body []byte) error {
	answer, err := c.do(ctx, http.MethodPatch, path, "application/merge-patch+json", body)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer, 1<<20)) // so that the connection can be used again
	return err
}

func (c *Client) do(ctx context.Context, method, path, kind string, body []byte) (io.ReadCloser, error) {
	client, err := c.connect()
	if err != nil {
		return nil, err
	}
	file, err := os.ReadFile(c.cfg.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("the token for the API server: %w", err)
	}
	token := strings.TrimSpace(string(file))
	if token == "" {
		return nil, fmt.Errorf("the token for the API server: %s is empty; write a token of a service account there", c.cfg.TokenFile)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.cfg.API, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var st struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&st) // the code says enough
	return nil, &Error{Code: resp.StatusCode, Status: resp.Status, Message: st.Message}
}

func (c *Client) connect() (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		return c.http, nil
	}
	pem, err := os.ReadFile(c.cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("the API server's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the API server's CA: no PEM certificate is in %s; give the certificate of the CA", c.cfg.CAFile)
	}
	c.http = &http.Client{Transport: &http.Transport{
		Proxy: nil, // the API server is in the same cluster
		// HTTP/2 asks a silent connection whether it is still there.
		ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	return c.http, nil
}

// Reset drops connections; with the next request the CA is read anew.
func (c *Client) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		c.http.CloseIdleConnections()
		c.http = nil
	}
}

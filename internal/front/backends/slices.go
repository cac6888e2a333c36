package backends

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// SlicesConfig names a Service whose EndpointSlices (discovery.k8s.io/v1) list the primaries, and the API server. Start from
// [DefaultSlicesConfig], and in a pod go on with [SlicesConfig.InCluster].
type SlicesConfig struct {
	API    string // base URL: https://ADDRESS:PORT
	CAFile string // PEM; signed the API server's certificate; it is read again after every failure
	// TokenFile holds a bearer token. It is read for every request, because it is replaced while it is in use.
	TokenFile string

	Namespace string
	Service   string

	// Watch is how long one watch is asked for; a connection that has died without a word is noticed a little later at the latest.
	Watch time.Duration
	// RetryMin is the pause after a failure; it doubles up to RetryMax.
	RetryMin, RetryMax time.Duration
	Logger             *slog.Logger
}

// DefaultSlicesConfig has the times.
func DefaultSlicesConfig() SlicesConfig {
	return SlicesConfig{Watch: time.Minute, RetryMin: 100 * time.Millisecond, RetryMax: 5 * time.Second}
}

// accountDir is where Kubernetes gives a pod its token, the CA and the namespace.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster fills in how a pod reaches the API server of its cluster: the environment (getenv is os.Getenv) and the files of its service
// account in dir ("" is the usual place). The pod's role must allow list and watch of endpointslices in the namespace. Fields that are set
// already stay.
func (c SlicesConfig) InCluster(getenv func(string) string, dir string) (SlicesConfig, error) {
	if dir == "" {
		dir = accountDir
	}
	if c.API == "" {
		host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return c, errors.New("backends: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; list the primaries in the configuration, or say where the API server is")
		}
		c.API = "https://" + net.JoinHostPort(host, port)
	}
	if c.CAFile == "" {
		c.CAFile = filepath.Join(dir, "ca.crt")
	}
	if c.TokenFile == "" {
		c.TokenFile = filepath.Join(dir, "token")
	}
	if c.Namespace == "" {
		b, err := os.ReadFile(filepath.Join(dir, "namespace"))
		if err != nil {
			return c, fmt.Errorf("backends: the pod's own namespace: %w; name the namespace in the configuration", err)
		}
		c.Namespace = strings.TrimSpace(string(b))
	}
	return c, nil
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c SlicesConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("backends: "+format, args...)) }
	if u, err := url.Parse(c.API); err != nil || u.Host == "" || u.Scheme != "https" {
		bad("API: %q is not an https:// URL", c.API)
	}
	if c.CAFile == "" {
		bad("CAFile: empty; name a PEM file with the CA of the API server")
	}
	if c.TokenFile == "" {
		bad("TokenFile: empty; name a file with a token of a service account")
	}
	if c.Namespace == "" || c.Service == "" {
		bad("Namespace %q, Service %q: name both", c.Namespace, c.Service)
	}
	if c.Watch < time.Second {
		bad("Watch: %s; give at least 1s", c.Watch)
	}
	if c.RetryMin <= 0 || c.RetryMax < c.RetryMin {
		bad("RetryMin %s, RetryMax %s; give positive times, the second not below the first", c.RetryMin, c.RetryMax)
	}
	if c.Logger == nil {
		bad("Logger: nil; give one")
	}
	return errors.Join(errs...)
}

// Slices follows the EndpointSlices of a Service: one list, then a watch from there. Every endpoint counts, ready or not, because whether
// a primary is ready is for the front's checks. Run fails when the configuration is wrong.
func Slices(cfg SlicesConfig) Source {
	return &slicesSource{keeper: keeper{log: cfg.Logger}, cfg: cfg}
}

type slicesSource struct {
	keeper
	cfg    SlicesConfig
	client *http.Client
}

// errGone means that the API server can't tell what has changed since the version that was named (410): the list is asked for anew.
var errGone = errors.New("410 Gone")

// errExpired is the ordinary end of a watch.
var errExpired = errors.New("the watch has ended")

func (s *slicesSource) Run(ctx context.Context, set func([]Primary)) error {
	if err := s.cfg.Validate(); err != nil {
		return err
	}
	defer func() { s.disconnect() }()
	wait := s.cfg.RetryMin
	for {
		err := s.follow(ctx, set, func() { wait = s.cfg.RetryMin })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the error is the end's
		}
		if !errors.Is(err, errGone) {
			s.fail(err)
			s.disconnect() // with the next attempt the CA is read anew
		}
		// After 410 as well: a server that says it every time is not to be asked without a pause.
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, s.cfg.RetryMax)
	}
}

// follow lists once, and then watches until something is wrong. worked is called when a watch has said something.
func (s *slicesSource) follow(ctx context.Context, set func([]Primary), worked func()) error {
	if err := s.connect(); err != nil {
		return err
	}
	all, version, err := s.list(ctx)
	if err != nil {
		return err
	}
	s.offer(primaries(all), set)
	for {
		version, err = s.watch(ctx, all, version, func() {
			worked()
			s.offer(primaries(all), set)
		})
		if !errors.Is(err, errExpired) {
			return err
		}
		worked()
		// A server that ends every watch at once is not to be asked without a pause.
		if !pause(ctx, s.cfg.RetryMin) {
			return ctx.Err()
		}
	}
}

func (s *slicesSource) connect() error {
	if s.client != nil {
		return nil
	}
	pem, err := os.ReadFile(s.cfg.CAFile)
	if err != nil {
		return fmt.Errorf("backends: the API server's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("backends: the API server's CA: no PEM certificate is in %s; give the certificate of the CA", s.cfg.CAFile)
	}
	s.client = &http.Client{Transport: &http.Transport{
		Proxy: nil, // the API server is in the same cluster
		// HTTP/2 asks a silent connection whether it is still there.
		ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	return nil
}

func (s *slicesSource) disconnect() {
	if s.client != nil {
		s.client.CloseIdleConnections()
		s.client = nil
	}
}

// get asks for the Service's slices. The caller closes the body.
func (s *slicesSource) get(ctx context.Context, query url.Values) (io.ReadCloser, error) {
	query.Set("labelSelector", "kubernetes.io/service-name="+s.cfg.Service)
	u := strings.TrimRight(s.cfg.API, "/") + "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(s.cfg.Namespace) + "/endpointslices?" + query.Encode()
	file, err := os.ReadFile(s.cfg.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("backends: the token for the API server: %w", err)
	}
	token := strings.TrimSpace(string(file))
	if token == "" {
		return nil, fmt.Errorf("backends: the token for the API server: %s is empty; write a token of a service account there", s.cfg.TokenFile)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("backends: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("backends: the API server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var st status
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&st) // the code says enough
	if resp.StatusCode == http.StatusGone {
		return nil, fmt.Errorf("backends: %w: %s", errGone, st.Message)
	}
	remedy := "look at the API server"
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized {
		remedy = "let the front's service account list and watch endpointslices (discovery.k8s.io) in namespace " + s.cfg.Namespace
	}
	return nil, fmt.Errorf("backends: the API server answers %s: %s; %s", resp.Status, st.Message, remedy)
}

// maxList bounds what is read of one list: a slice has at most 1,000 endpoints of less than a kilobyte.
const maxList = 64 << 20

// list reads all slices, by name, and the version from which to watch.
func (s *slicesSource) list(ctx context.Context) (map[string]slice, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := s.get(ctx, url.Values{})
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	var l struct {
		Metadata metadata `json:"metadata"`
		Items    []slice  `json:"items"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxList)).Decode(&l); err != nil {
		return nil, "", fmt.Errorf("backends: the list of endpointslices: %w", err)
	}
	all := map[string]slice{}
	for _, item := range l.Items {
		all[item.Metadata.Name] = item
	}
	return all, l.Metadata.ResourceVersion, nil
}

// watch changes all as the API server says, and calls changed after each change. It returns the version from which to go on.
func (s *slicesSource) watch(ctx context.Context, all map[string]slice, version string, changed func()) (string, error) {
	// The server ends the watch by itself; a dead connection does not.
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Watch+s.cfg.Watch/4+5*time.Second)
	defer cancel()
	body, err := s.get(ctx, url.Values{
		"watch": {"1"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(s.cfg.Watch / time.Second))},
	})
	if err != nil {
		return version, err
	}
	defer body.Close()
	limited := &io.LimitedReader{R: body}
	events := json.NewDecoder(limited)
	for {
		limited.N = maxList // of each event
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		err := events.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return version, errExpired
		case err != nil:
			return version, fmt.Errorf("backends: watching endpointslices: %w", err)
		}
		if e.Type == "ERROR" {
			var st status
			_ = json.Unmarshal(e.Object, &st) // what can't be read is no 410
			if st.Code == http.StatusGone {
				return version, fmt.Errorf("backends: %w: %s", errGone, st.Message)
			}
			return version, fmt.Errorf("backends: watching endpointslices: %d %s", st.Code, st.Message)
		}
		var one slice
		if err := json.Unmarshal(e.Object, &one); err != nil {
			return version, fmt.Errorf("backends: watching endpointslices: event %s: %w", e.Type, err)
		}
		version = one.Metadata.ResourceVersion
		switch e.Type {
		case "ADDED", "MODIFIED":
			all[one.Metadata.Name] = one
		case "DELETED":
			delete(all, one.Metadata.Name)
		default: // BOOKMARK: only the version
			continue
		}
		changed()
	}
}

package openstack

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
)

// Config of the executor.
type Config struct {
	RequestTimeout time.Duration // of one request
	Rounds         int           // of looking and doing in one call
	Pause          time.Duration // before the second round; it doubles
	MaxPause       time.Duration // more than that is left to the caller
}

// DefaultConfig is right for a cloud near by.
func DefaultConfig() Config {
	return Config{RequestTimeout: 15 * time.Second, Rounds: 5, Pause: 200 * time.Millisecond, MaxPause: 5 * time.Second}
}

// Validate says what is wrong.
func (c Config) Validate() error {
	if c.RequestTimeout <= 0 || c.Rounds < 2 || c.Pause <= 0 || c.MaxPause < c.Pause {
		return fmt.Errorf("timeout %s, %d rounds, pauses %s to %s: use durations above zero and at least 2 rounds", c.RequestTimeout, c.Rounds, c.Pause, c.MaxPause)
	}
	return nil
}

// Sessions keeps one session for each set of credentials: other credentials, another session.
type Sessions struct {
	cfg  Config
	mu   sync.Mutex
	open map[[sha256.Size]byte]*Session
}

// NewSessions has none at first.
func NewSessions(cfg Config) (*Sessions, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Sessions{cfg: cfg, open: map[[sha256.Size]byte]*Session{}}, nil
}

// maxSessions bounds what rotations leave behind; a session that is needed again is opened again.
const maxSessions = 64

// Open returns the session of these credentials. Safe for concurrent use.
func (s *Sessions) Open(ctx context.Context, c Credentials) (*Session, error) {
	key := c.digest()
	s.mu.Lock()
	old := s.open[key]
	s.mu.Unlock()
	if old != nil {
		return old, nil
	}
	n, err := connect(ctx, s.cfg, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxSessions {
		clear(s.open)
	}
	s.open[key] = n
	return n, nil
}

// Session is a project of one OpenStack, by its Neutron.
type Session struct {
	cfg     Config
	neutron *gophercloud.ServiceClient
	reads   atomic.Int64
	writes  atomic.Int64
}

// Calls are the requests to Neutron so far: those that read, and those that write.
func (s *Session) Calls() (reads, writes int64) { return s.reads.Load(), s.writes.Load() }

func connect(ctx context.Context, cfg Config, c Credentials) (*Session, error) {
	s := &Session{cfg: cfg}
	doing := "log in to " + c.AuthURL
	p, err := openstack.NewClient(c.AuthURL)
	if err != nil {
		return nil, fault(doing, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CABundle != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(c.CABundle)) {
			return nil, errors.New("the CA bundle has no certificate; write it as PEM")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	p.HTTPClient = http.Client{Transport: &meter{s, transport}, Timeout: cfg.RequestTimeout}
	p.UserAgent.Prepend("zonekeeper")
	p.UseTokenLock()
	if err := openstack.Authenticate(ctx, p, c.options()); err != nil {
		return nil, fault(doing, err)
	}
	availability := gophercloud.AvailabilityPublic
	if c.Interface == "internal" || c.Interface == "admin" {
		availability = gophercloud.Availability(c.Interface)
	}
	s.neutron, err = openstack.NewNetworkV2(p, gophercloud.EndpointOpts{Region: c.Region, Availability: availability})
	if err != nil {
		return nil, &Fault{Kind: Invalid, Doing: "look up Neutron in the catalog, region " + c.Region, Said: err.Error(), Remedy: "correct the region", Err: err}
	}
	if err := s.extensions(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (c Credentials) options() gophercloud.AuthOptions {
	o := gophercloud.AuthOptions{IdentityEndpoint: c.AuthURL, AllowReauth: true, ApplicationCredentialID: c.AppID, ApplicationCredentialName: c.AppName, ApplicationCredentialSecret: c.AppSecret}
	if c.AppID == "" {
		o.Username, o.Password, o.DomainName, o.DomainID = c.Username, c.Password, c.UserDomain, c.UserDomainID
	}
	if c.AppSecret != "" { // it belongs to one project
		o.Password = ""
		return o
	}
	o.Scope = &gophercloud.AuthScope{ProjectID: c.ProjectID}
	if c.ProjectID == "" {
		o.Scope = &gophercloud.AuthScope{ProjectName: c.Project, DomainName: c.ProjectDomain, DomainID: c.ProjectDomainID}
	}
	return o
}

// extensions are looked at once: without them the first change would fail with a 400 that says nothing.
func (s *Session) extensions(ctx context.Context) error {
	const doing = "list Neutron's extensions"
	pages, err := extensions.List(s.neutron).AllPages(ctx)
	if err != nil {
		return fault(doing, err)
	}
	list, err := extensions.ExtractExtensions(pages)
	if err != nil {
		return fault(doing, err)
	}
	have := map[string]bool{}
	for _, e := range list {
		have[e.Alias] = true
	}
	for _, need := range []string{"allowed-address-pairs", "security-group", "standard-attr-tag", "standard-attr-revisions", "standard-attr-description", "router"} {
		if !have[need] {
			return &Fault{Kind: MissingExtension, Doing: doing, Said: need + " is not there", Remedy: remedy(MissingExtension)}
		}
	}
	return nil
}

// meter counts requests to Neutron and tries GETs again, which can do no harm.
type meter struct {
	s    *Session
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	read := r.Method == http.MethodGet
	if read {
		m.s.reads.Add(1)
	} else if r.Header.Get("X-Auth-Token") != "" {
		m.s.writes.Add(1)
	}
	resp, err := m.next.RoundTrip(r)
	if !read || r.Context().Err() != nil || err == nil && resp.StatusCode < http.StatusInternalServerError {
		return resp, err
	}
	if resp != nil {
		_ = resp.Body.Close()
	}
	m.s.reads.Add(1)
	return m.next.RoundTrip(r)
}

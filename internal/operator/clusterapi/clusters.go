package clusterapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// ErrUnreachable: no primary has answered, so nothing is known, and nothing was changed by this request. Updates may go on all the same.
var ErrUnreachable = errors.New("no primary answers the operator")

// ErrNoCertificate: the operator's certificate for the cluster is not there yet.
var ErrNoCertificate = errors.New("the operator has no certificate for the cluster")

// Config of Clusters.
type Config struct {
	// ClusterDomain is the one of Services: cluster.local.
	ClusterDomain string
	// DialTimeout bounds a connection, its handshake as well.
	DialTimeout time.Duration
	// AskTimeout bounds a question to one primary, ChangeTimeout a change, and ImportTimeout one that brings the content of a zone.
	AskTimeout, ChangeTimeout, ImportTimeout time.Duration
	// Recheck is how long a Secret that was read is believed; 0: it is read for every Of.
	Recheck time.Duration
	// Dial opens a connection; nil: by the system's resolver. Tests reach primaries on loopback by it.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger
}

// DefaultConfig suits an operator in the same Kubernetes cluster as the primaries.
func DefaultConfig() Config {
	return Config{
		ClusterDomain: "cluster.local", DialTimeout: 2 * time.Second, AskTimeout: 5 * time.Second,
		// A primary settles a change within 15 s, or says that it is in doubt within 30 s.
		ChangeTimeout: 35 * time.Second, ImportTimeout: 10 * time.Minute, Recheck: 10 * time.Second,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if c.ClusterDomain == "" {
		errs = append(errs, errors.New("clusterapi: ClusterDomain is empty; the usual one is cluster.local"))
	}
	if c.DialTimeout <= 0 || c.AskTimeout <= 0 || c.ChangeTimeout <= 0 || c.ImportTimeout <= 0 || c.Recheck < 0 {
		errs = append(errs, errors.New("clusterapi: a time limit is not positive; start from DefaultConfig"))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("clusterapi: Logger is nil; start from DefaultConfig"))
	}
	return errors.Join(errs...)
}

// Clusters has the connections to the primaries of all BindClusters. It is safe for concurrent use.
type Clusters struct {
	cfg  Config
	read client.Reader

	mu    sync.Mutex
	known map[types.NamespacedName]*connection
}

// New gives Clusters that read certificates from Secrets with read, by their names.
func New(cfg Config, read client.Reader) (*Clusters, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Clusters{cfg: cfg, read: read, known: map[types.NamespacedName]*connection{}}, nil
}

// connection is what is kept for one cluster.
type connection struct {
	// preferred is the ordinal of the primary that answered last, for requests that any may answer.
	preferred atomic.Int32

	mu        sync.Mutex
	version   string // of the Secret that transport is made of
	read      time.Time
	transport *http.Transport
}

// Of gives the primaries of a cluster, as many as spec or status say that there are, whichever is more. It opens no connection.
func (c *Clusters) Of(ctx context.Context, cluster *v1alpha1.BindCluster) (*Cluster, error) {
	key := client.ObjectKeyFromObject(cluster)
	c.mu.Lock()
	conn := c.known[key]
	if conn == nil {
		conn = &connection{}
		c.known[key] = conn
	}
	c.mu.Unlock()
	transport, err := c.transport(ctx, key, conn)
	if err != nil {
		return nil, fmt.Errorf("BindCluster %s: %w", key, err)
	}
	out := &Cluster{key: key, cfg: c.cfg, preferred: &conn.preferred}
	n := min(int(max(cluster.Spec.Primaries.Replicas, cluster.Status.Primaries.Replicas, 1)), resources.MaxPrimaries)
	for i := range n {
		p, err := adminapi.NewClient(resources.AdminURL(cluster, c.cfg.ClusterDomain, i), &http.Client{Transport: transport})
		if err != nil {
			return nil, fmt.Errorf("BindCluster %s: %w", key, err)
		}
		out.primaries = append(out.primaries, Primary{Name: resources.Member(i), Client: p})
	}
	return out, nil
}

// transport gives the connections with the certificate that the cluster's Secret has.
func (c *Clusters) transport(ctx context.Context, cluster types.NamespacedName, conn *connection) (*http.Transport, error) {
	if t := conn.fresh(c.cfg.Recheck); t != nil {
		return t, nil
	}
	secret := client.ObjectKey{Namespace: cluster.Namespace, Name: resources.OperatorSecret(cluster.Name)}
	var s corev1.Secret
	err := c.read.Get(ctx, secret, &s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: Secret %s does not exist; it is made when the cluster is", ErrNoCertificate, secret)
	case err != nil:
		return nil, fmt.Errorf("Secret %s: %w", secret, err)
	}
	t, err := conn.at(&s, c.cfg)
	if err != nil {
		return nil, fmt.Errorf("Secret %s: %w", secret, err)
	}
	return t, nil
}

// fresh gives the transport if its Secret was read a short while ago; else nil.
func (c *connection) fresh(limit time.Duration) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport == nil || time.Since(c.read) >= limit {
		return nil
	}
	return c.transport
}

// Forget closes the connections to a cluster that is gone.
func (c *Clusters) Forget(cluster types.NamespacedName) {
	c.mu.Lock()
	conn := c.known[cluster]
	delete(c.known, cluster)
	c.mu.Unlock()
	if conn == nil {
		return
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.transport != nil {
		conn.transport.CloseIdleConnections()
	}
}

// at gives the transport with the certificate of a Secret. A Secret that can't be used, such as one of which half is written, leaves the
// transport that there is.
func (c *connection) at(s *corev1.Secret, cfg Config) (*http.Transport, error) {
	version := string(s.UID) + "/" + s.ResourceVersion
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = time.Now()
	if c.transport != nil && c.version == version {
		return c.transport, nil
	}
	made, err := newTransport(s.Data, cfg)
	if err != nil {
		if c.transport == nil {
			return nil, err
		}
		cfg.Logger.Warn("a renewed certificate can't be used; the one before stays in use", "secret", s.Namespace+"/"+s.Name, "err", err)
		return c.transport, nil
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections() // those in use end with their requests' idle time
	}
	c.transport, c.version = made, version
	return made, nil
}

// newTransport makes connections from the entries of a Secret.
func newTransport(data map[string][]byte, cfg Config) (*http.Transport, error) {
	cert, err := tls.X509KeyPair(data[resources.FileCert], data[resources.FileKey])
	if err != nil {
		return nil, fmt.Errorf("entries %s and %s: %w; delete the Secret to have it made anew", resources.FileCert, resources.FileKey, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data[resources.FileCA]) {
		return nil, fmt.Errorf("entry %s has no PEM certificate; delete the Secret to have it made anew", resources.FileCA)
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: cfg.DialTimeout}).DialContext
	}
	return &http.Transport{
		DialContext: dial, TLSHandshakeTimeout: cfg.DialTimeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool},
	}, nil
}

package primary

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// Config is everything one primary is told from outside. It is read from a JSON
// file (LoadConfig). What can change at run time (keys, zones, policies) is not
// here: that is replicated state, and one file per replica could disagree.
type Config struct {
	// Name identifies the replica in the log and in every report. It must stay the
	// same for the life of the data directory: it is an identity, not an address.
	Name string `json:"name"`

	// Dir holds what must outlive the process: checkpoints, the log's data (unless
	// Etcd.DataDir says otherwise) and the replica's identity.
	Dir string `json:"dir"`

	// ClusterKeyFile holds the key that seals TSIG secrets in the log: 32 bytes,
	// base64 or raw. The same file at every replica.
	ClusterKeyFile string `json:"cluster_key_file"`

	DNS   DNSConfig   `json:"dns"`
	Admin AdminConfig `json:"admin"`
	Named NamedConfig `json:"named"`
	Etcd  EtcdConfig  `json:"etcd"`

	// MinFreeBytes is how much space must be free for checkpoints and the log. Below it this primary leaves service; when
	// that is so at a majority, all refuse updates and go on answering queries. 0 turns the watch off.
	MinFreeBytes int64 `json:"min_free_bytes"`

	// PublishLagLimit is how old the oldest change that a quorum's nameds lack may be, and PublishQueueLimit how many octets
	// of changes may wait for them: from a quarter of either on updates are delayed, at the limit they are refused with SERVFAIL
	// until publishing has caught up. A single primary beyond them, when another one is not, is not ready. 0: no limit.
	PublishLagLimit   conf.Duration `json:"publish_lag_limit"`
	PublishQueueLimit int64         `json:"publish_queue_limit"`

	// LogLevel is debug, info, warn or error.
	LogLevel string `json:"log_level"`
	// LogFormat is text or json.
	LogFormat string `json:"log_format"`

	// StopGrace bounds an orderly stop: draining requests, moving the log's
	// leadership away, stopping named.
	StopGrace conf.Duration `json:"stop_grace"`
	// StopDelay is how long a primary that is asked to stop still takes requests, so that fronts and load balancers
	// notice that it is not ready before its port closes. A little more than their health check's interval.
	StopDelay conf.Duration `json:"stop_delay"`
}

// DNSConfig says where clients reach the endpoint.
type DNSConfig struct {
	// Listen are address:port pairs, UDP and TCP on each.
	Listen []string `json:"listen"`
	// ListenTLS are address:port pairs for DNS over TLS (RFC 7858); they need TLSCert and TLSKey.
	ListenTLS []string `json:"listen_tls,omitempty"`
	// TLSCert and TLSKey are PEM files. They are read again when they change.
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`
	// ListenFront are address:port pairs for fronts only: a PROXY protocol header, then TLS in which the front shows a
	// certificate. The client's address in such a header is authority (D4). They need all of FrontTLS…. With ProxyKeyFile UDP is
	// served there too, from any address whose header proves itself by that key.
	ListenFront []string `json:"listen_front,omitempty"`
	// FrontTLSCert and FrontTLSKey are what this primary shows to fronts, FrontTLSClientCA signed the fronts' own
	// certificates: give it to nobody else. PEM files; they are read again when they change.
	FrontTLSCert     string `json:"front_tls_cert,omitempty"`
	FrontTLSKey      string `json:"front_tls_key,omitempty"`
	FrontTLSClientCA string `json:"front_tls_client_ca,omitempty"`
	// ProxyFrom are the prefixes whose PROXY protocol headers are read. Headers from
	// elsewhere close the connection.
	ProxyFrom []netip.Prefix `json:"proxy_from,omitempty"`
	// ProxyKeyFile authenticates fronts over UDP and plain TCP: a key of at least 16 octets in base64, by which a front
	// signs each header. Without it an address in such a header is audit data and never authority.
	ProxyKeyFile string `json:"proxy_key_file,omitempty"`
	// AuditUpdates logs every update with its sender, not only requests that are refused.
	AuditUpdates bool `json:"audit_updates,omitempty"`
	// ForwardFrom is the loopback address from which queries are passed to named;
	// named's ACLs admit it and nothing else.
	ForwardFrom netip.Addr `json:"forward_from"`
}

// AdminConfig is the admin API's socket.
type AdminConfig struct {
	// Listen is one address:port. Without TLS only a loopback address is accepted.
	Listen string `json:"listen"`
	// TLSCert, TLSKey and TLSClientCA (all PEM files) turn on mutual TLS.
	TLSCert     string `json:"tls_cert,omitempty"`
	TLSKey      string `json:"tls_key,omitempty"`
	TLSClientCA string `json:"tls_client_ca,omitempty"`
	// Peers maps the names of all primaries to the base URLs of their admin APIs: for checkpoints, clocks and status.
	Peers map[string]string `json:"peers,omitempty"`
}

// NamedConfig describes the local BIND.
type NamedConfig struct {
	// Path is the named program; its rndc is looked for beside it, then in $PATH.
	Path string `json:"path"`
	// Dir is its working directory. Its content can be lost at any time: the log is
	// what lasts. A tmpfs keeps publishing cheap.
	Dir string `json:"dir"`
	// Listen is named's own address:port on loopback (UDP and TCP).
	Listen string `json:"listen"`
	// ControlPort is rndc's port on 127.0.0.1.
	ControlPort int `json:"control_port"`
	// User is the account that named runs as when this program is root; empty: the same as this program.
	User string `json:"user,omitempty"`
	// Threads is the number of named's network threads; 0: named decides.
	Threads int `json:"threads,omitempty"`
}

// EtcdConfig describes the log: an embedded etcd member, or an external cluster
// when Endpoints is set.
type EtcdConfig struct {
	// Endpoints are the client URLs of an external etcd. When set, everything about
	// the embedded member must be empty.
	Endpoints []string `json:"endpoints,omitempty"`
	// Prefix is the root of all keys in the store.
	Prefix string `json:"prefix"`

	// Name of the embedded member; the replica's name when empty.
	Name string `json:"name,omitempty"`
	// DataDir of the embedded member; Dir/etcd when empty.
	DataDir string `json:"data_dir,omitempty"`
	// PeerURL and ClientURL are what the member advertises.
	PeerURL   string `json:"peer_url,omitempty"`
	ClientURL string `json:"client_url,omitempty"`
	// ListenPeerURL and ListenClientURL are where the member listens when that differs from what it advertises, as
	// behind a NAT or a proxy.
	ListenPeerURL   string `json:"listen_peer_url,omitempty"`
	ListenClientURL string `json:"listen_client_url,omitempty"`
	// InitialCluster maps member names to peer URLs. It is used at the very first
	// start only, and by a member with an empty disk to find the others.
	InitialCluster map[string]string `json:"initial_cluster,omitempty"`
	// PeerClientURLs maps member names to client URLs: whom a member with an empty
	// disk asks to be replaced.
	PeerClientURLs map[string]string `json:"peer_client_urls,omitempty"`
	// Token is minted once for a cluster. A returning member never bootstraps a
	// second cluster under the same token.
	Token string `json:"token,omitempty"`
	// Bootstrap permits the very first start: this member may create the cluster.
	// Where it is false, a member with an empty disk joins the running cluster.
	Bootstrap bool `json:"bootstrap,omitempty"`

	// QuotaBytes bounds the store of the embedded member. At the quota updates are answered SERVFAIL until compaction has
	// made room, which the members do by themselves.
	QuotaBytes int64 `json:"quota_bytes,omitempty"`

	// CA, Cert and Key (PEM files) secure peer and client connections.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
}

// External says that the log is somebody else's etcd.
func (e EtcdConfig) External() bool { return len(e.Endpoints) > 0 }

// DefaultConfig has every value that has a sensible default. Name, Dir,
// ClusterKeyFile, the sockets and the log's addresses have none.
func DefaultConfig() Config {
	return Config{
		DNS:   DNSConfig{ForwardFrom: netip.AddrFrom4([4]byte{127, 0, 0, 53})},
		Named: NamedConfig{Path: "named"},
		Etcd:  EtcdConfig{Prefix: "/zonekeeper", QuotaBytes: 2 << 30},
		// The next file of the write-ahead log takes 64 MB at once, a growing store 16 MB.
		MinFreeBytes: 128 << 20,
		// See replica.DefaultLagLimits.
		PublishLagLimit:   conf.Duration(replica.DefaultLagLimits().Age),
		PublishQueueLimit: int64(replica.DefaultLagLimits().Bytes),

		LogLevel:  "info",
		LogFormat: "text",
		StopGrace: conf.Duration(10 * time.Second),
		StopDelay: conf.Duration(500 * time.Millisecond),
	}
}

// LoadConfig reads a JSON file over DefaultConfig. Errors name file, line and remedy.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	if err := conf.Load(path, "docs/operations.md", &c); err != nil {
		return Config{}, err
	}
	return c.withDerived(), nil
}

// withDerived fills the values that follow from others.
func (c Config) withDerived() Config {
	if !c.Etcd.External() {
		if c.Etcd.Name == "" {
			c.Etcd.Name = c.Name
		}
		if c.Etcd.DataDir == "" {
			c.Etcd.DataDir = filepath.Join(c.Dir, "etcd")
		}
	}
	if c.Named.Dir == "" {
		c.Named.Dir = filepath.Join(c.Dir, "named")
	}
	return c
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !conf.ValidName(c.Name) {
		bad("name", "%q is not a replica name; use letters, digits, '-' and '_', at most 63", c.Name)
	}
	if c.Dir == "" {
		bad("dir", "empty; name a directory on durable storage")
	}
	if c.ClusterKeyFile == "" {
		bad("cluster_key_file", "empty; name a file with 32 random bytes, the same at every replica")
	}
	if len(c.DNS.Listen) == 0 {
		bad("dns.listen", "empty; give at least one address:port")
	}
	c.DNS.validate(bad)
	c.validateAdmin(bad)
	c.validateNamed(bad)
	c.validateEtcd(bad)
	conf.CheckLog(c.LogLevel, c.LogFormat, bad)
	if c.MinFreeBytes < 0 {
		bad("min_free_bytes", "%d; use 0 or more octets", c.MinFreeBytes)
	}
	if err := c.lagLimits().Validate(); err != nil {
		bad("publish_lag_limit, publish_queue_limit", "%v", err)
	}
	if c.StopGrace <= 0 {
		bad("stop_grace", "%s; use a positive duration such as \"10s\"", time.Duration(c.StopGrace))
	}
	if c.StopDelay < 0 || c.StopDelay >= c.StopGrace {
		bad("stop_delay", "%s; use 0 to less than stop_grace (%s)", time.Duration(c.StopDelay), time.Duration(c.StopGrace))
	}
	return errors.Join(errs...)
}

func (d DNSConfig) validate(bad conf.Bad) {
	seen := map[netip.AddrPort]string{}
	for _, l := range []struct {
		field string
		addrs []string
	}{{"dns.listen", d.Listen}, {"dns.listen_tls", d.ListenTLS}, {"dns.listen_front", d.ListenFront}} {
		for _, a := range l.addrs {
			ap, err := netip.ParseAddrPort(a)
			if err != nil {
				bad(l.field, "%q is not address:port (%v)", a, err)
				continue
			}
			if other, twice := seen[ap]; twice && ap.Port() != 0 {
				bad(l.field, "%q is in %s already; each kind of client needs a port of its own", a, other)
			}
			seen[ap] = l.field
		}
	}
	if len(d.ListenTLS) > 0 && (d.TLSCert == "" || d.TLSKey == "") {
		bad("dns.listen_tls", "needs dns.tls_cert and dns.tls_key")
	}
	switch n := conf.CountSet(d.FrontTLSCert, d.FrontTLSKey, d.FrontTLSClientCA); {
	case len(d.ListenFront) > 0 && n != 3:
		bad("dns.listen_front", "needs all of dns.front_tls_cert, dns.front_tls_key and dns.front_tls_client_ca: fronts and primary show certificates to each other")
	case len(d.ListenFront) == 0 && n != 0:
		bad("dns.listen_front", "empty, and the dns.front_tls_ fields are for it; give address:port, or remove them")
	}
	if d.ProxyKeyFile != "" && len(d.ProxyFrom) == 0 && len(d.ListenFront) == 0 {
		bad("dns.proxy_key_file", "%q proves headers, and none is read; set dns.proxy_from to the prefixes of the fronts", d.ProxyKeyFile)
	}
	if !d.ForwardFrom.IsLoopback() {
		bad("dns.forward_from", "%q is not a loopback address; named admits it to every zone, so it must not be reachable from outside", d.ForwardFrom)
	}
}

func (c Config) validateAdmin(bad conf.Bad) {
	conf.CheckAdmin(c.Admin.Listen, c.Admin.TLSCert, c.Admin.TLSKey, c.Admin.TLSClientCA, bad)
}

func (c Config) validateNamed(bad conf.Bad) {
	if c.Named.Path == "" {
		bad("named.path", "empty; give the path of BIND's named, or \"named\"")
	}
	ap, err := netip.ParseAddrPort(c.Named.Listen)
	switch {
	case err != nil:
		bad("named.listen", "%q is not address:port (%v)", c.Named.Listen, err)
	case !ap.Addr().IsLoopback():
		bad("named.listen", "%q is not a loopback address; only the endpoint may reach named", c.Named.Listen)
	}
	if c.Named.ControlPort < 1 || c.Named.ControlPort > 65535 {
		bad("named.control_port", "%d is not a port", c.Named.ControlPort)
	}
}

// minQuota leaves room beside the tail of the log: etcd counts the file, which grows by 16 MB at a time.
const minQuota = 64 << 20

func (c Config) validateEtcd(bad conf.Bad) {
	e := c.Etcd
	if !strings.HasPrefix(e.Prefix, "/") {
		bad("etcd.prefix", "%q must begin with '/'", e.Prefix)
	}
	if n := conf.CountSet(e.CA, e.Cert, e.Key); n != 0 && n != 3 {
		bad("etcd", "TLS needs all of ca, cert and key")
	}
	if e.External() {
		for _, u := range e.Endpoints {
			conf.CheckURL("etcd.endpoints", u, bad)
		}
		if e.PeerURL != "" || e.ClientURL != "" || len(e.InitialCluster) > 0 || e.Bootstrap {
			bad("etcd", "endpoints (an external etcd) excludes peer_url, client_url, initial_cluster and bootstrap")
		}
		return
	}
	if e.QuotaBytes < minQuota {
		bad("etcd.quota_bytes", "%d; use at least %d (64 MiB)", e.QuotaBytes, minQuota)
	}
	conf.CheckURL("etcd.peer_url", e.PeerURL, bad)
	conf.CheckURL("etcd.client_url", e.ClientURL, bad)
	if e.ListenPeerURL != "" {
		conf.CheckURL("etcd.listen_peer_url", e.ListenPeerURL, bad)
	}
	if e.ListenClientURL != "" {
		conf.CheckURL("etcd.listen_client_url", e.ListenClientURL, bad)
	}
	name := e.Name
	if name == "" {
		name = c.Name
	}
	if u, ok := e.InitialCluster[name]; !ok {
		bad("etcd.initial_cluster", "has no entry for %q, the member itself", name)
	} else if u != e.PeerURL {
		bad("etcd.initial_cluster", "says %q for %q, but peer_url is %q; make them equal", u, name, e.PeerURL)
	}
	if n := len(e.InitialCluster); e.Bootstrap && n%2 == 0 {
		bad("etcd.initial_cluster", "has %d members; use 1, 3 or 5: an even one survives no more failures than the odd number below it", n)
	}
	for _, u := range e.InitialCluster {
		conf.CheckURL("etcd.initial_cluster", u, bad)
	}
	if e.Token == "" {
		bad("etcd.token", "empty; mint one random string per cluster")
	}
}

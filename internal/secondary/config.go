package secondary

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Config is everything one secondary is told from outside. It is read from a JSON file
// (LoadConfig). Which zones there are is not here: the catalog says it.
type Config struct {
	// Name is the name under which the secondary is registered with the primaries.
	Name string `json:"name"`
	// Dir holds what must outlive the process: the zones (named's directory, unless
	// Named.Dir says otherwise) and the age of the data.
	Dir string `json:"dir"`

	DNS   DNSConfig   `json:"dns"`
	Admin AdminConfig `json:"admin"`
	// Primaries are all of them; a secondary does not find out about others.
	Primaries []PrimaryConfig `json:"primaries"`
	// Key signs transfers. It is the key of this secondary's registration.
	Key KeyConfig `json:"key"`
	// Catalog is the name of the primaries' catalog zone.
	Catalog string      `json:"catalog"`
	Named   NamedConfig `json:"named"`
	// Proxy is the address:port on loopback from which named transfers, other than
	// 127.0.0.1: named believes NOTIFYs from this address. Port 0 picks one.
	Proxy string `json:"proxy"`

	// MaxLag is how old the oldest change may be that is not served yet before this
	// secondary is not ready. It is not judged while no primary is reachable.
	MaxLag conf.Duration `json:"max_lag"`

	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`
}

// DNSConfig says where the world reaches named.
type DNSConfig struct {
	// Listen are address:port pairs, UDP and TCP on each.
	Listen []string `json:"listen"`
	// ListenProxy are address:port pairs that expect a PROXY protocol version 2 header
	// (BIND 9.20 only), ProxyFrom the prefixes from which one is believed.
	ListenProxy []string       `json:"listen_proxy,omitempty"`
	ProxyFrom   []netip.Prefix `json:"proxy_from,omitempty"`
	// ClientAddresses is "preserved" when named sees the addresses of clients, and
	// "hidden" when they come through a translation. Response rate limiting is on in
	// the first case only: in the second it would shut everybody out together.
	ClientAddresses string `json:"client_addresses"`
	// TransferKeys may transfer the zones from this secondary; nobody else may.
	TransferKeys []KeyConfig `json:"transfer_keys,omitempty"`
}

// AdminConfig is the admin API's socket, and the certificate that the primaries are
// shown.
type AdminConfig struct {
	// Listen is one address:port. Without TLS only a loopback address is accepted.
	Listen string `json:"listen"`
	// Advertise is the host:port at which primaries reach it, when they verify; Listen when empty.
	Advertise string `json:"advertise,omitempty"`
	// TLSCert, TLSKey and TLSClientCA (all PEM files) turn on mutual TLS.
	TLSCert     string `json:"tls_cert,omitempty"`
	TLSKey      string `json:"tls_key,omitempty"`
	TLSClientCA string `json:"tls_client_ca,omitempty"`
}

// PrimaryConfig is one primary.
type PrimaryConfig struct {
	Name  string `json:"name"`
	DNS   string `json:"dns"`   // host:port of its endpoint
	Admin string `json:"admin"` // base URL of its admin API
}

// KeyConfig is a TSIG key. The file holds the secret in base64; it is read again when
// it changes.
type KeyConfig struct {
	Name       string `json:"name"`
	Algorithm  string `json:"algorithm"`
	SecretFile string `json:"secret_file"`
}

// NamedConfig describes the local BIND.
type NamedConfig struct {
	// Path is the named program; its rndc is looked for beside it, then in $PATH.
	Path string `json:"path"`
	// Dir is its working directory, on durable storage; Dir/named of the secondary
	// when empty.
	Dir string `json:"dir,omitempty"`
	// Listen is an address:port on loopback at which this program asks it.
	Listen string `json:"listen"`
	// ControlPort is rndc's port on 127.0.0.1.
	ControlPort int `json:"control_port"`
	// User is the account that named runs as when this program is root.
	User string `json:"user,omitempty"`
	// Threads is the number of named's network threads; 0: named decides.
	Threads int `json:"threads,omitempty"`
}

// Values of DNSConfig.ClientAddresses.
const (
	addressesHidden    = "hidden"
	addressesPreserved = "preserved"
)

// DefaultConfig has every value that has a sensible default.
func DefaultConfig() Config {
	return Config{
		DNS:       DNSConfig{ClientAddresses: addressesHidden},
		Key:       KeyConfig{Algorithm: "hmac-sha256"},
		Catalog:   "catalog.zonekeeper.invalid.",
		Named:     NamedConfig{Path: "named"},
		Proxy:     "127.0.0.54:0",
		MaxLag:    conf.Duration(5 * time.Second),
		LogLevel:  "info",
		LogFormat: "text",
	}
}

// LoadConfig reads a JSON file over DefaultConfig. Errors name file, line and remedy.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	if err := conf.Load(path, "docs/operations.md", &c); err != nil {
		return Config{}, err
	}
	return c, nil
}

// namedDir is named's working directory.
func (c Config) namedDir() string {
	if c.Named.Dir != "" {
		return c.Named.Dir
	}
	return filepath.Join(c.Dir, "named")
}

// Validate reports every mistake at once, each with field, value and remedy.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !conf.ValidName(c.Name) {
		bad("name", "%q is not a secondary's name; use letters, digits, '-' and '_', at most 63", c.Name)
	}
	if c.Dir == "" {
		bad("dir", "empty; name a directory on durable storage")
	}
	c.DNS.validate(bad)
	conf.CheckAdmin(c.Admin.Listen, c.Admin.TLSCert, c.Admin.TLSKey, c.Admin.TLSClientCA, bad)
	if a := c.Admin.Advertise; a != "" {
		if _, _, err := net.SplitHostPort(a); err != nil {
			bad("admin.advertise", "%q is not host:port", a)
		}
	}
	c.validatePrimaries(bad)
	c.Key.validate("key", bad)
	if n, err := zone.ParseName(c.Catalog); err != nil || n == zone.Root {
		bad("catalog", "%q is no name of a catalog zone; see: zonekeeper catalog show", c.Catalog)
	}
	c.validateNamed(bad)
	if p, err := netip.ParseAddrPort(c.Proxy); err != nil || !p.Addr().Is4() || !p.Addr().IsLoopback() || p.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		bad("proxy", "%q is not an address:port within 127.0.0.0/8 other than 127.0.0.1; use 127.0.0.54:0", c.Proxy)
	}
	if c.MaxLag <= 0 {
		bad("max_lag", "%s; use a positive duration such as \"5s\"", time.Duration(c.MaxLag))
	}
	conf.CheckLog(c.LogLevel, c.LogFormat, bad)
	return errors.Join(errs...)
}

func (d DNSConfig) validate(bad conf.Bad) {
	if len(d.Listen)+len(d.ListenProxy) == 0 {
		bad("dns.listen", "empty; give at least one address:port")
	}
	for field, list := range map[string][]string{"dns.listen": d.Listen, "dns.listen_proxy": d.ListenProxy} {
		for _, a := range list {
			if ap, err := netip.ParseAddrPort(a); err != nil || ap.Port() == 0 {
				bad(field, "%q is not address:port", a)
			}
		}
	}
	if (len(d.ListenProxy) > 0) != (len(d.ProxyFrom) > 0) {
		bad("dns.proxy_from", "goes with dns.listen_proxy; set both, or neither")
	}
	switch d.ClientAddresses {
	case addressesHidden, addressesPreserved:
	default:
		bad("dns.client_addresses", "%q; use %q or %q", d.ClientAddresses, addressesHidden, addressesPreserved)
	}
	for _, k := range d.TransferKeys {
		k.validate("dns.transfer_keys", bad)
	}
}

func (c Config) validatePrimaries(bad conf.Bad) {
	if len(c.Primaries) == 0 {
		bad("primaries", "empty; list every primary")
	}
	seen := map[string]bool{}
	for _, p := range c.Primaries {
		if !conf.ValidName(p.Name) || seen[p.Name] {
			bad("primaries", "%q is no primary's name, or is there twice", p.Name)
		}
		seen[p.Name] = true
		if _, _, err := net.SplitHostPort(p.DNS); err != nil {
			bad("primaries", "dns of %s: %q is not host:port", p.Name, p.DNS)
		}
		conf.CheckURL("primaries", p.Admin, bad)
	}
}

func (k KeyConfig) validate(field string, bad conf.Bad) {
	if n, err := zone.ParseName(k.Name); err != nil || n == zone.Root {
		bad(field+".name", "%q is not a key's name", k.Name)
	}
	if _, err := tsig.ParseAlgorithm(k.Algorithm); err != nil {
		bad(field+".algorithm", "%v", err)
	}
	if k.SecretFile == "" {
		bad(field+".secret_file", "empty; name a file with the secret in base64, as zonekeeper key export gives it")
	}
}

func (c Config) validateNamed(bad conf.Bad) {
	if c.Named.Path == "" {
		bad("named.path", "empty; give the path of BIND's named, or \"named\"")
	}
	// A name server on an address of 127/8 other than 127.0.0.1 would not see it on the loopback interface.
	if ap, err := netip.ParseAddrPort(c.Named.Listen); err != nil || !ap.Addr().IsLoopback() || ap.Port() == 0 {
		bad("named.listen", "%q is not an address:port on loopback; use 127.0.0.1 and a free port", c.Named.Listen)
	}
	if c.Named.ControlPort < 1 || c.Named.ControlPort > 65535 {
		bad("named.control_port", "%d is not a port", c.Named.ControlPort)
	}
}

// load reads the key's secret.
func (k KeyConfig) load() (tsig.Key, error) {
	const remedy = "write the secret in base64, as zonekeeper key export gives it"
	b, err := os.ReadFile(k.SecretFile)
	if err != nil {
		return tsig.Key{}, fmt.Errorf("secret of key %s: %w; %s", k.Name, err, remedy)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return tsig.Key{}, fmt.Errorf("secret of key %s: %s is not base64: %w; %s", k.Name, k.SecretFile, err, remedy)
	}
	name, err := zone.ParseName(k.Name)
	if err != nil {
		return tsig.Key{}, fmt.Errorf("key %q: %w", k.Name, err)
	}
	algorithm, err := tsig.ParseAlgorithm(k.Algorithm)
	if err != nil {
		return tsig.Key{}, err
	}
	return tsig.NewKey(tsig.Key{Name: name, Algorithm: algorithm, Secret: secret, AllowMD5: algorithm == tsig.HMACMD5})
}

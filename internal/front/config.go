package front

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/conf"
)

// Mode says how clients reach the node.
type Mode string

// Modes.
const (
	// ModeVIP: keepalived moves addresses between nodes.
	ModeVIP Mode = "vip"
	// ModeLoadBalancer: a load balancer sends here, with PROXY headers from listen.proxy_from.
	ModeLoadBalancer Mode = "loadbalancer"
	// ModeService: the same without PROXY headers, as a Service of Kubernetes does it.
	ModeService Mode = "service"
)

// Config is everything one front node is told from outside. It is read from a JSON file (LoadConfig).
type Config struct {
	// Name is this node's, in logs and in keepalived's configuration.
	Name string `json:"name"`
	// Dir holds generated configurations and sockets; nothing there must outlive a boot.
	Dir  string `json:"dir"`
	Mode Mode   `json:"mode"`

	Listen     ListenConfig     `json:"listen"`
	VIP        VIPConfig        `json:"vip"`
	Primaries  PrimariesConfig  `json:"primaries"`
	Checks     ChecksConfig     `json:"checks"`
	Retry      RetryConfig      `json:"retry"`
	Limits     LimitsConfig     `json:"limits"`
	HAProxy    HAProxyConfig    `json:"haproxy"`
	Keepalived KeepalivedConfig `json:"keepalived"`
	Admin      AdminConfig      `json:"admin"`
	Announce   AnnounceConfig   `json:"announce"`

	// DrainTimeout bounds each step of a planned stop.
	DrainTimeout conf.Duration `json:"drain_timeout"`
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`

	path string // the file; "" when it comes from nowhere
}

// ListenConfig says where clients reach the node.
type ListenConfig struct {
	Port int `json:"port"`
	// Addresses are the node's own in modes other than vip; 0.0.0.0 and :: are allowed.
	Addresses []string `json:"addresses"`
	// UDPSockets is the number of sockets an address; 0: as many as cores, at most 4.
	UDPSockets int `json:"udp_sockets"`
	// ProxyFrom are the prefixes of load balancers whose PROXY headers are believed, in mode loadbalancer.
	ProxyFrom []string `json:"proxy_from"`
}

// VIPConfig is about mode vip.
type VIPConfig struct {
	// Addresses move between nodes, all together; with prefix length.
	Addresses []string `json:"addresses"`
	Interface string   `json:"interface"`
	// RouterID is VRRP's, 1-255: the same on all front nodes, nobody else's in this network.
	RouterID    int      `json:"router_id"`
	NodeAddress string   `json:"node_address"`
	Peers       []string `json:"peers"`
	// AdvertInterval is VRRP's, 100ms-1s; ARPRefresh is how often neighbours are told again, in whole seconds.
	AdvertInterval conf.Duration `json:"advert_interval"`
	ARPRefresh     conf.Duration `json:"arp_refresh"`
}

// AnnounceConfig says where in Kubernetes the node's state is told, in mode vip: for status, not for VRRP. The API server is reached as for
// primaries.endpoint_slices.
type AnnounceConfig struct {
	// Lease exists already; "" for none. Namespace "" is the pod's own.
	Lease     string `json:"lease"`
	Namespace string `json:"namespace"`
	// Every is how often an unchanged state is told again.
	Every conf.Duration `json:"every"`
}

// PrimariesConfig says where the primaries are: exactly one of Static, DNS and EndpointSlices.
type PrimariesConfig struct {
	Static         []PrimaryConfig `json:"static"`
	DNS            DNSConfig       `json:"dns"`
	EndpointSlices SlicesConfig    `json:"endpoint_slices"`
	Ports          PortsConfig     `json:"ports"`
	TLS            TLSConfig       `json:"tls"`
	// ProxyKeyFile has the key that proves PROXY headers to the primaries over UDP, in base64: the same as their dns.proxy_key_file.
	ProxyKeyFile string `json:"proxy_key_file"`
}

// PrimaryConfig is one primary of a static list.
type PrimaryConfig struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// DNSConfig names a headless Service, or any name with an address for each primary.
type DNSConfig struct {
	Name  string        `json:"name"`
	Every conf.Duration `json:"every"`
}

// SlicesConfig names a Service whose EndpointSlices are followed. In a pod Service is enough: the namespace, the API server, its CA
// and the token are the pod's own unless they are given.
type SlicesConfig struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	API       string `json:"api"`
	CA        string `json:"ca"`
	TokenFile string `json:"token_file"`
}

// PortsConfig has the primaries' ports: dns.listen (UDP), dns.listen_front (TCP) and admin.listen.
type PortsConfig struct {
	DNS   int `json:"dns"`
	Front int `json:"front"`
	Admin int `json:"admin"`
}

// TLSConfig is the front's certificate, and what a primary's is verified with.
type TLSConfig struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
	CA   string `json:"ca"`
	// ServerName is in every primary's certificate; when empty each one's own name is.
	ServerName string `json:"server_name"`
}

// ChecksConfig is how primaries are asked whether they are ready.
type ChecksConfig struct {
	Every   conf.Duration `json:"every"`
	Timeout conf.Duration `json:"timeout"`
	Fall    int           `json:"fall"`
	Rise    int           `json:"rise"`
}

// RetryConfig says when a datagram is sent to a second primary.
type RetryConfig struct {
	After  conf.Duration `json:"after"`
	Max    int           `json:"max"`
	Budget float64       `json:"budget"`
}

// LimitsConfig bounds what clients can take. An address is an IPv4 address or an IPv6 /64.
type LimitsConfig struct {
	Connections           int      `json:"connections"`
	ConnectionsPerAddress int      `json:"connections_per_address"`
	ConnectionsPerSecond  int      `json:"connections_per_second"`
	DatagramsPerSecond    int      `json:"datagrams_per_second"`
	Burst                 int      `json:"burst"`
	Pending               int      `json:"pending"`
	Exempt                []string `json:"exempt"`
}

// HAProxyConfig names the program and where its own metrics are served; "" for nowhere.
type HAProxyConfig struct {
	Path  string `json:"path"`
	Stats string `json:"stats"`
}

// KeepalivedConfig names the program.
type KeepalivedConfig struct {
	Path string `json:"path"`
}

// AdminConfig is where status and metrics are served. There is no authentication: a loopback address.
type AdminConfig struct {
	Listen string `json:"listen"`
}

// DefaultConfig has every value that has a sensible default.
func DefaultConfig() Config {
	return Config{
		Dir: "/run/zonekeeper-front", Mode: ModeVIP,
		Listen: ListenConfig{Port: 53},
		VIP:    VIPConfig{RouterID: 53, AdvertInterval: conf.Duration(200 * time.Millisecond), ARPRefresh: conf.Duration(time.Second)},
		Primaries: PrimariesConfig{
			DNS:   DNSConfig{Every: conf.Duration(5 * time.Second)},
			Ports: PortsConfig{DNS: 53, Front: 854, Admin: 8443},
		},
		Checks: ChecksConfig{Every: conf.Duration(200 * time.Millisecond), Timeout: conf.Duration(800 * time.Millisecond), Fall: 2, Rise: 1},
		Retry:  RetryConfig{After: conf.Duration(250 * time.Millisecond), Max: 2, Budget: 0.1},
		Limits: LimitsConfig{
			Connections: 10000, ConnectionsPerAddress: 200, ConnectionsPerSecond: 100,
			DatagramsPerSecond: 2000, Burst: 4000, Pending: 65536,
		},
		HAProxy:      HAProxyConfig{Path: "haproxy", Stats: "127.0.0.1:8405"},
		Keepalived:   KeepalivedConfig{Path: "keepalived"},
		Admin:        AdminConfig{Listen: "127.0.0.1:8406"},
		Announce:     AnnounceConfig{Every: conf.Duration(15 * time.Second)},
		DrainTimeout: conf.Duration(5 * time.Second),
		LogLevel:     "info", LogFormat: "text",
	}
}

// LoadConfig reads a JSON file over DefaultConfig. Errors name file, line and remedy.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	if err := conf.Load(path, "docs/front.md", &c); err != nil {
		return Config{}, err
	}
	c.path = path
	return c, nil
}

// SocketPath is where status and drain are asked for on the node itself, by whoever may open the directory.
func SocketPath(dir string) string { return filepath.Join(dir, "front.sock") }

// settings are the values of a Config that are spelt as text there. Validate makes sure that they can be read.
type settings struct {
	listen    []netip.AddrPort // of clients: the VIPs, or listen.addresses
	vips      []netip.Prefix
	vipAddrs  []netip.Addr
	node      netip.Addr
	peers     []netip.Addr
	proxyFrom []netip.Prefix
	exempt    []netip.Prefix
	primaries []netip.Addr // of the static list
	stats     netip.AddrPort
	sockets   int
}

// settings reads them.
func (c Config) settings() (s settings, err error) {
	if s.vips, err = prefixes(c.VIP.Addresses); err != nil {
		return s, err
	}
	if s.peers, err = addrs(c.VIP.Peers); err != nil {
		return s, err
	}
	if s.proxyFrom, err = prefixes(c.Listen.ProxyFrom); err != nil {
		return s, err
	}
	if s.exempt, err = prefixes(c.Limits.Exempt); err != nil {
		return s, err
	}
	for _, p := range c.Primaries.Static {
		a, err := netip.ParseAddr(p.Address)
		if err != nil {
			return s, fmt.Errorf("address of %s: %w", p.Name, err)
		}
		s.primaries = append(s.primaries, a)
	}
	if c.HAProxy.Stats != "" {
		if s.stats, err = netip.ParseAddrPort(c.HAProxy.Stats); err != nil {
			return s, fmt.Errorf("haproxy.stats: %w", err)
		}
	}
	own, err := addrs(c.Listen.Addresses)
	if err != nil {
		return s, err
	}
	if c.Mode == ModeVIP {
		own = nil
		for _, v := range s.vips {
			own = append(own, v.Addr())
		}
		s.vipAddrs = own
		if s.node, err = netip.ParseAddr(c.VIP.NodeAddress); err != nil {
			return s, fmt.Errorf("vip.node_address: %w", err)
		}
	}
	for _, a := range own {
		s.listen = append(s.listen, netip.AddrPortFrom(a, uint16(c.Listen.Port))) //nolint:gosec // validated
	}
	s.sockets = c.Listen.UDPSockets
	if s.sockets == 0 {
		s.sockets = min(runtime.GOMAXPROCS(0), 4)
	}
	return s, nil
}

func prefixes(list []string) (out []netip.Prefix, err error) {
	for _, t := range list {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func addrs(list []string) (out []netip.Addr, err error) {
	for _, t := range list {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

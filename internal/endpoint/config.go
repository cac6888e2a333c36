package endpoint

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
)

// Config is what the endpoint is made of and its limits. Start from
// [DefaultConfig].
type Config struct {
	Listen    []netip.AddrPort // DNS over UDP and TCP; port 0 picks one port for both
	ListenTLS []netip.AddrPort // DNS over TLS (RFC 7858), needs TLS
	// ListenFront are DNS over TLS from fronts only: a PROXY header comes first,
	// in clear, as HAProxy sends it, and the client certificate is required and
	// verified with FrontTLS. Addresses in those headers are proven. With ProxyKeys
	// UDP is served there too, for datagrams from anywhere whose header proves itself.
	ListenFront []netip.AddrPort

	// TLS is asked for each handshake, so that a certificate can be replaced
	// while connections are open. The endpoint adds ALPN "dot".
	TLS      func() *tls.Config
	FrontTLS func() *tls.Config // must set ClientCAs

	// ProxyFrom are the prefixes of the fronts. Connections and datagrams from
	// there must begin with a PROXY protocol header; from elsewhere they must not.
	ProxyFrom []netip.Prefix
	// ProxyKeys authenticate the fronts' headers; see [proxyproto.Append]. They may
	// change. Without any an address that a front reports is audit data.
	ProxyKeys func() proxyproto.Keys

	Named       netip.AddrPort // the local named
	ForwardFrom netip.Addr     // loopback source address that named's ACLs admit

	Writer   Writer
	Reader   Reader
	Settings func() Settings // cheap; called several times a request
	// Answered gives the answer that a signed update got before, by the time and fudge of its signature and what identifies it; false when
	// none is remembered. nil: none ever is.
	Answered func(timeSigned uint64, fudge uint16, fp fsm.Fingerprint) (fsm.Result, bool)
	// NotApplied are the errors of Writer that prove that an update was not and
	// will not be applied. Every other error leaves it in doubt.
	NotApplied []error

	UDPSockets  int // sockets per address, sharing it by SO_REUSEPORT
	UDPReadSize int // octets asked of the kernel for each socket's receive buffer

	MaxConns        int           // TCP and TLS connections; beyond it the longest idle is closed
	MaxConnsPerAddr int           // connections of one client address
	MaxConnInFlight int           // requests of one connection under way; beyond it we stop reading
	IdleTimeout     time.Duration // of a connection without a request under way
	MessageTimeout  time.Duration // for a message that has begun, a PROXY header, a TLS handshake
	WriteTimeout    time.Duration // for a reply

	MaxRequests   int // requests under way, of all clients; datagrams beyond it are dropped, connections wait
	MaxLargeBytes int // octets of requests above 4 KiB under way; as above

	MaxUpdates       int           // updates proposed and not answered
	MaxQueuedUpdates int           // updates that wait to be proposed
	MaxUpdatesPerKey int           // of one key, waiting or proposed
	QueueTimeout     time.Duration // longest wait before being proposed
	UpdateDeadline   time.Duration // from receipt; a later log entry does not apply the update (C2)

	MaxReads       int           // queries waiting for the barrier or for named; of one client, half
	MaxTransfers   int           // zone transfers under way; of one client, half
	ReadTimeout    time.Duration // for the barrier and for named, each
	RefreshEvery   time.Duration // shortest time between second looks
	MaxSecondLooks int           // datagrams that wait for a second look

	AuditUpdates bool // log every update, not only refused requests

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// DefaultConfig returns the limits for a primary with a few hundred megabytes of
// memory. Addresses, Writer, Reader and Settings have no default.
func DefaultConfig() Config {
	return Config{
		ForwardFrom: netip.AddrFrom4([4]byte{127, 0, 0, 53}),

		ProxyKeys: proxyproto.Fixed(),

		UDPSockets:  2,
		UDPReadSize: 4 << 20,

		MaxConns:        20_000,
		MaxConnsPerAddr: 2_000, // a whole cluster may sit behind one address
		MaxConnInFlight: 128,
		IdleTimeout:     30 * time.Second, // as BIND's tcp-idle-timeout
		MessageTimeout:  5 * time.Second,
		WriteTimeout:    5 * time.Second,

		MaxRequests:   32_768, // about 1.5 KiB each, and the message
		MaxLargeBytes: 64 << 20,

		MaxUpdates:       2_048,
		MaxQueuedUpdates: 16_384,
		MaxUpdatesPerKey: 4_096,
		QueueTimeout:     time.Second,
		UpdateDeadline:   4 * time.Second,

		MaxReads:       2_048,
		MaxTransfers:   128,
		ReadTimeout:    2 * time.Second,
		RefreshEvery:   5 * time.Millisecond,
		MaxSecondLooks: 1_024,

		Logger:     slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
		Now:        time.Now,
	}
}

// Validate names every setting that is wrong, and the remedy.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("endpoint: "+format, args...)) }
	if len(c.Listen)+len(c.ListenTLS)+len(c.ListenFront) == 0 {
		bad("no address to listen on: set Listen")
	}
	for _, list := range [][]netip.AddrPort{c.Listen, c.ListenTLS, c.ListenFront, {c.Named}} {
		for _, a := range list {
			if !a.IsValid() {
				bad("%v is not an address and port", a)
			}
		}
	}
	if len(c.ListenTLS) > 0 && c.TLS == nil {
		bad("ListenTLS needs TLS: give it a certificate")
	}
	if len(c.ListenFront) > 0 && c.FrontTLS == nil {
		bad("ListenFront needs FrontTLS: give it a certificate and the fronts' CA")
	}
	proxyproto.CheckKeys("ProxyKeys", c.ProxyKeys, bad)
	if !c.ForwardFrom.IsLoopback() {
		bad("ForwardFrom %v: must be a loopback address, because named admits it to every zone", c.ForwardFrom)
	}
	if c.Writer == nil || c.Reader == nil || c.Settings == nil {
		bad("Writer, Reader and Settings must be set")
	}
	if c.Logger == nil || c.Registerer == nil || c.Now == nil {
		bad("Logger, Registerer and Now must be set: start from DefaultConfig")
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"UDPSockets", c.UDPSockets}, {"UDPReadSize", c.UDPReadSize}, {"MaxConns", c.MaxConns},
		{"MaxConnsPerAddr", c.MaxConnsPerAddr}, {"MaxConnInFlight", c.MaxConnInFlight},
		{"IdleTimeout", int(c.IdleTimeout)}, {"MessageTimeout", int(c.MessageTimeout)}, {"WriteTimeout", int(c.WriteTimeout)},
		{"MaxRequests", c.MaxRequests}, {"MaxUpdates", c.MaxUpdates}, {"MaxQueuedUpdates", c.MaxQueuedUpdates}, {"MaxUpdatesPerKey", c.MaxUpdatesPerKey},
		{"QueueTimeout", int(c.QueueTimeout)}, {"UpdateDeadline", int(c.UpdateDeadline)},
		{"MaxReads", c.MaxReads}, {"MaxTransfers", c.MaxTransfers}, {"ReadTimeout", int(c.ReadTimeout)},
		{"RefreshEvery", int(c.RefreshEvery)}, {"MaxSecondLooks", c.MaxSecondLooks},
	} {
		if n.value < 1 {
			bad("%s is %d: it must be positive", n.name, n.value)
		}
	}
	if c.MaxLargeBytes < maxMessage {
		bad("MaxLargeBytes is %d: it must fit one message of %d octets", c.MaxLargeBytes, maxMessage)
	}
	return errors.Join(errs...)
}

package proxy

import (
	"context"
	"net"
	"net/netip"
)

// Proxy is a running transfer proxy. Make one with [New], run it with [Proxy.Run].
type Proxy struct {
	cfg Config
	tcp *net.TCPListener
	udp *net.UDPConn
}

// New checks the configuration and binds the sockets. Questions wait in them until
// [Proxy.Run].
func New(cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg}
	var err error
	if p.tcp, p.udp, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	return p, nil
}

// Addr returns where the proxy listens, over UDP and TCP.
func (p *Proxy) Addr() netip.AddrPort { return p.tcp.Addr().(*net.TCPAddr).AddrPort() }

// Run answers questions until ctx ends, and then returns nil. It must be called
// once, also when nothing shall be answered: it closes the sockets.
func (p *Proxy) Run(ctx context.Context) error {
	<-ctx.Done()
	p.tcp.Close()
	p.udp.Close()
	return nil
}

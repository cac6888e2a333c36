package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

func (r *Relay) serveTCP(ctx context.Context) {
	slots := make(chan struct{}, r.cfg.MaxConnections)
	for {
		c, err := r.tcp.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// A shortage of descriptors must not become a busy loop.
			r.cfg.Logger.Warn("relay: accept", "err", err)
			r.pause(ctx)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = c.Close() // full: the client sees it at once
			continue
		}
		r.wg.Go(func() {
			defer func() { <-slots }()
			r.connection(ctx, c)
		})
	}
}

// conn is one client connection and its way to a primary.
type conn struct {
	once     sync.Once
	client   net.Conn
	upstream net.Conn
}

// lost closes both ends: a client of a dead primary must learn it now, not at its
// own timeout.
func (c *conn) lost(*backend) {
	c.once.Do(func() {
		_ = c.client.Close()
		_ = c.upstream.Close()
	})
}

func (r *Relay) connection(ctx context.Context, client *net.TCPConn) {
	f, b := r.dial(ctx, client)
	if f == nil {
		_ = client.Close()
		return
	}
	defer r.pool.drop(b, f)
	defer f.lost(b)
	var wg sync.WaitGroup
	wg.Go(func() { splice(f.upstream, f.client) })
	splice(f.client, f.upstream)
	wg.Wait()
}

// splice copies one direction and passes its end on, so that a client may finish
// sending and still read all answers.
func splice(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if t, ok := dst.(*net.TCPConn); ok && err == nil {
		_ = t.CloseWrite()
		return
	}
	_ = dst.Close()
	_ = src.Close()
}

// dial tries each backend once.
func (r *Relay) dial(ctx context.Context, client net.Conn) (*conn, *backend) {
	d := net.Dialer{Timeout: r.cfg.DialTimeout}
	var failed *backend
	for range r.pool.backends {
		b := r.pool.pick(failed)
		up, err := d.DialContext(ctx, "tcp", b.DNS.String())
		if err == nil {
			f := &conn{client: client, upstream: up}
			if !r.pool.join(b, f) {
				_ = up.Close()
				return nil, nil
			}
			return f, b
		}
		r.pool.checkNow(b.Name)
		failed = b
	}
	return nil, nil
}

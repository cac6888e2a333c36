package named

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// prober asks named a question again and again and reports whether there was an answer, any answer.
type prober struct {
	results chan error
	quit    chan struct{}
}

// probeQuestion is "version.bind. CH TXT": it touches no zone.
const probeQuestion = "\x07version\x04bind\x00\x00\x10\x00\x03"

// newProber starts asking. Before the first success is reported, admit must succeed too: it proves that the answers come
// from our process and not from another one that holds the port.
func newProber(cfg Config, admit func(context.Context) error) *prober {
	p := &prober{results: make(chan error), quit: make(chan struct{})}
	go p.run(cfg, admit)
	return p
}

func (p *prober) stop() { close(p.quit) }

func (p *prober) run(cfg Config, admit func(context.Context) error) {
	addr := cfg.Listen[0].String()
	// Until the first answer ask often: a start takes tens of milliseconds.
	interval := min(20*time.Millisecond, cfg.ProbeInterval)
	for id := uint16(1); ; id++ {
		err := probeOnce(addr, id, cfg.ProbeTimeout)
		if err == nil && admit != nil {
			ctx, cancel := context.WithTimeout(context.Background(), cfg.ProbeTimeout)
			if err = admit(ctx); err == nil {
				admit = nil
			}
			cancel()
		}
		select {
		case p.results <- err:
		case <-p.quit:
			return
		}
		if err == nil {
			interval = cfg.ProbeInterval
		}
		select {
		case <-time.After(interval):
		case <-p.quit:
			return
		}
	}
}

func probeOnce(addr string, id uint16, timeout time.Duration) error {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(context.Background(), "udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	q := make([]byte, 12, 12+len(probeQuestion))
	binary.BigEndian.PutUint16(q, id)
	q[5] = 1
	if _, err := conn.Write(append(q, probeQuestion...)); err != nil {
		return err
	}
	buf := make([]byte, 1232)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("no answer to a query: %w", err)
		}
		if n >= 12 && binary.BigEndian.Uint16(buf) == id {
			if buf[2]&0x80 == 0 {
				return errors.New("answered by something that is not a DNS server")
			}
			return nil
		}
	}
}

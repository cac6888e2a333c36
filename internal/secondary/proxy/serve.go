package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/xfr"
)

const (
	// clientIdle is how long the name server may keep a connection without a question.
	clientIdle = 10 * time.Second
	// clientWrite is how long the name server may take to accept a message, as at
	// the endpoint.
	clientWrite = 5 * time.Second
	// acceptPause is the wait after a failed accept: no descriptor is free.
	acceptPause = 50 * time.Millisecond
)

// acceptTCP serves connections until ctx ends; beyond MaxConns they wait.
func (p *Proxy) acceptTCP(ctx context.Context) error {
	var served sync.WaitGroup
	defer served.Wait()
	slots := make(chan struct{}, p.cfg.MaxConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return errStopped
		}
		c, err := p.tcp.Accept()
		if err != nil {
			<-slots
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return errStopped
			}
			p.cfg.Logger.Warn("connection of the name server not accepted", "err", err)
			pause(ctx, acceptPause)
			continue
		}
		served.Go(func() {
			defer func() { <-slots }()
			p.serveTCP(ctx, c)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serveTCP answers the questions of one connection, one after another. When the
// name server closes it, what is being asked for it is given up.
func (p *Proxy) serveTCP(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { c.Close() }) // ends the reader, and a write to a client that does not read
	msgs := make(chan []byte)
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			msg, err := xfr.ReadFrame(c, nil)
			if err != nil {
				cancel(errClient)
				return
			}
			select {
			case msgs <- msg:
			case <-ctx.Done():
				return
			}
		}
	})
	defer reader.Wait()
	defer cancel(errStopped)
	idle := time.NewTimer(clientIdle)
	defer idle.Stop()
	for {
		idle.Reset(clientIdle)
		select {
		case msg := <-msgs:
			if !answerable(msg) || p.answerTCP(ctx, timed{c}, msg) != nil {
				return
			}
		case <-idle.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// timed is a connection whose writes may take clientWrite each.
type timed struct{ net.Conn }

func (t timed) Write(b []byte) (int, error) {
	if err := t.SetWriteDeadline(time.Now().Add(clientWrite)); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}

// answerTCP answers one question. After an error the connection is of no use.
func (p *Proxy) answerTCP(ctx context.Context, w timed, msg []byte) error {
	q, ok := parse(msg)
	switch {
	case !ok:
		return p.write(w, reply(msg, rcodeRefused))
	case q.transfer():
		return p.answerTransfer(ctx, &q, w)
	}
	answer, err := p.answerSOA(ctx, &q)
	if err != nil {
		return err
	}
	return p.write(w, answer)
}

// answerSOA returns the answer to a question for an SOA. The error is the end of
// ctx.
func (p *Proxy) answerSOA(ctx context.Context, q *question) ([]byte, error) {
	start := time.Now()
	if answer := p.news(q); answer != nil {
		p.metrics.observe("news", time.Since(start))
		return answer, nil
	}
	r := p.newRace(ctx, q)
	a, err := r.run()
	r.close()
	switch {
	case ctx.Err() != nil:
		if err == nil {
			a.release(p.pool)
		}
		return nil, context.Cause(ctx)
	case err != nil:
		return r.excuse(err), nil
	}
	a.release(p.pool)
	p.metrics.observe("soa", time.Since(start))
	return a.msgs[0], nil
}

// readUDP answers datagrams until ctx ends; beyond MaxConns they wait in the socket.
//
// Answers of any size go out whole: on loopback nothing fragments them, and BIND
// reads up to 65,535 octets whatever it announces.
func (p *Proxy) readUDP(ctx context.Context) error {
	var served sync.WaitGroup
	defer served.Wait()
	slots := make(chan struct{}, p.cfg.MaxConns)
	buf := make([]byte, xfr.MaxMessage)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return errStopped
		}
		n, from, err := p.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			<-slots
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return errStopped
			}
			p.cfg.Logger.Warn("question of the name server not read", "err", err)
			pause(ctx, acceptPause)
			continue
		}
		msg := append([]byte(nil), buf[:n]...)
		served.Go(func() {
			defer func() { <-slots }()
			p.answerUDP(ctx, msg, from)
		})
	}
}

// answerUDP answers one datagram. Only questions for the SOA are passed on: BIND
// asks for transfers over TCP.
func (p *Proxy) answerUDP(ctx context.Context, msg []byte, from netip.AddrPort) {
	if !answerable(msg) {
		return
	}
	answer := reply(msg, rcodeRefused)
	if q, ok := parse(msg); ok && !q.transfer() {
		var err error
		if answer, err = p.answerSOA(ctx, &q); err != nil {
			return
		}
	}
	if _, err := p.udp.WriteToUDPAddrPort(answer, from); err != nil && ctx.Err() == nil {
		p.cfg.Logger.Warn("answer to the name server not sent", "err", fmt.Errorf("to %v: %w", from, err))
	}
}

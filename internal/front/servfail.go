package front

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// servfailConns bounds the connections of the socket below; servfailIdle is how long one may say nothing, servfailPause what
// follows a connection that could not be accepted.
const (
	servfailConns = 1000
	servfailIdle  = 5 * time.Second
	servfailPause = 100 * time.Millisecond
)

// servfail answers every request that HAProxy sends to a UNIX socket when no primary can be reached: DNS over TCP (RFC 7766).
type servfail struct {
	l     net.Listener
	log   *slog.Logger
	conns sync.WaitGroup
	slots chan struct{}
}

func listenServfail(path string, log *slog.Logger) (*servfail, error) {
	l, err := listenUnix(path)
	if err != nil {
		return nil, err
	}
	return &servfail{l: l, log: log, slots: make(chan struct{}, servfailConns)}, nil
}

// listenUnix makes a socket that this user alone may open; one that an earlier process left is replaced.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path) //nolint:noctx // nothing there to wait for
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w; make the directory writable to this program", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close() // nobody has connected
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

// run answers until ctx ends, and returns when no connection is left.
func (s *servfail) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.l.Close() })() // ends Accept
	for {
		c, err := s.l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // too late
			}
			s.conns.Wait()
			return nil
		}
		if err != nil {
			// Too many open files, most often: HAProxy tries again, and so do we.
			s.log.Warn("the SERVFAIL socket accepts nothing", "err", err, "pause", servfailPause)
			select {
			case <-ctx.Done():
			case <-time.After(servfailPause):
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.conns.Go(func() {
				defer func() { <-s.slots }()
				s.serve(ctx, c)
			})
		default:
			_ = c.Close() // the client tries again
		}
	}
}

func (s *servfail) serve(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()                                              // it was answered, or left
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })() // a closed connection has no deadline to set
	var size [2]byte
	for ctx.Err() == nil {
		if err := c.SetDeadline(time.Now().Add(servfailIdle)); err != nil {
			return
		}
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		reply := Unreachable(msg)
		if reply == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil { //nolint:gosec // short
			s.log.Debug("an answer was not taken", "err", err)
			return
		}
	}
}

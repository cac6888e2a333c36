package named

import (
	"context"
	"errors"
	"net"
	"testing"
)

// A command that is given up takes its connection with it, while what shortens the connection's deadline may still be about to run.
func TestCommandGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	c := newControl(l.Addr().(*net.TCPAddr).AddrPort(), []byte("secret"))
	for range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.do(ctx, "status")
			done <- err
		}()
		conn := <-accepted
		_ = conn.Close() // named ends,
		cancel()         // and at the same moment the command is given up
		if err := <-done; err == nil {
			t.Fatal("a command without an answer succeeds")
		}
		if c.conn != nil {
			t.Fatal("the connection of a command that was given up is used again")
		}
	}
	if _, err := c.do(canceled(t), "status"); !errors.Is(err, context.Canceled) {
		t.Errorf("a command that was given up before: %v", err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

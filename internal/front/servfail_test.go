package front

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func quiet(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// TestServfail: several requests on one connection are answered; whoever sends something else is left; the stop ends all.
func TestServfail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenServfail(path, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = first.l.Close() // as a process that ended: the file may stay
	s, err := listenServfail(path, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	dial := func() net.Conn {
		t.Helper()
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	m := new(dns.Msg)
	m.SetUpdate("example.test.")
	query := pack(t, m)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)

	c := dial()
	for range 3 {
		if _, err := c.Write(framed); err != nil {
			t.Fatal(err)
		}
		dc := dns.Conn{Conn: c}
		reply, err := dc.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if reply.Rcode != dns.RcodeServerFailure || reply.Id != m.Id {
			t.Errorf("got %v", reply)
		}
	}
	bad := dial()
	if _, err := bad.Write([]byte{0, 3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if n, err := bad.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("to three octets: %d, %v", n, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}

	if _, err := listenServfail(filepath.Join(path, "nowhere", "s"), quiet(t)); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
}

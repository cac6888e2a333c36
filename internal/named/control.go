package named

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// CommandError is named's own refusal of a control channel command: the command arrived and had no effect.
type CommandError struct {
	Command string // without its arguments
	Result  string // "already exists", "not found", …
	Text    string
}

func (e *CommandError) Error() string {
	if e.Text == "" || e.Text == e.Result {
		return fmt.Sprintf("named refused %q: %s", e.Command, e.Result)
	}
	return fmt.Sprintf("named refused %q: %s: %s", e.Command, e.Result, strings.ReplaceAll(e.Text, "\n", "; "))
}

// NotFound reports whether named does not know the zone that the command names.
func (e *CommandError) NotFound() bool { return e.Result == "not found" }

// Exists reports whether named already has the zone that addzone names.
func (e *CommandError) Exists() bool { return e.Result == "already exists" }

// maxControlMessage bounds an answer; `rndc status` takes about 1 kB.
const maxControlMessage = 1 << 20

// control is a client of named's control channel: the protocol that rndc speaks (lib/isccc and bin/rndc in BIND), over one
// connection that is kept. A process per command would cost more than most commands. It is safe for concurrent use;
// commands run one at a time, as they do inside named.
type control struct {
	addr   netip.AddrPort
	secret []byte

	mu     sync.Mutex
	conn   net.Conn
	r      *bufio.Reader
	nonce  string
	serial uint32
}

func newControl(addr netip.AddrPort, secret []byte) *control {
	return &control{addr: addr, secret: secret, serial: uint32(time.Now().UnixNano())} //nolint:gosec // any start will do
}

// do runs one command and returns named's text. A *CommandError means that named answered and refused. After any other
// error it is unknown whether the command ran.
func (c *control) do(ctx context.Context, command string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	verb, _, _ := strings.Cut(command, " ")
	text, err := c.try(ctx, command)
	var refused *CommandError
	if err != nil && !errors.As(err, &refused) {
		c.close()
		return "", fmt.Errorf("named control channel %s: %s: %w", c.addr, verb, err)
	}
	return text, err
}

func (c *control) try(ctx context.Context, command string) (string, error) {
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.addr.String())
		if err != nil {
			return "", err
		}
		c.conn, c.r, c.nonce = conn, bufio.NewReader(conn), ""
	}
	deadline, _ := ctx.Deadline()
	if err := c.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	conn := c.conn                                                                   // the function may still be about to run when the connection has been given up
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // only shortens; a failure leaves the deadline
	defer stop()
	if c.nonce == "" {
		// The first message only fetches the nonce that every later one must carry.
		if _, err := c.exchange("null"); err != nil {
			return "", err
		}
	}
	return c.exchange(command)
}

// exchange sends one message and reads its answer.
func (c *control) exchange(command string) (string, error) {
	now := time.Now().Unix()
	c.serial++
	ctrl := table{
		{"_ser", strconv.FormatUint(uint64(c.serial), 10)},
		{"_tim", strconv.FormatInt(now, 10)},
		{"_exp", strconv.FormatInt(now+60, 10)},
	}
	if c.nonce != "" {
		ctrl = append(ctrl, field{"_nonce", c.nonce})
	}
	msg := encodeControl(table{{"_ctrl", ctrl}, {"_data", table{{"type", command}}}}, c.secret)
	if _, err := c.conn.Write(msg); err != nil {
		return "", err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return "", errors.New("closed by named: wrong key, or it is stopping")
		}
		return "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxControlMessage {
		return "", fmt.Errorf("answer of %d octets, more than %d", n, maxControlMessage)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return "", err
	}
	t, err := decodeControl(body, c.secret)
	if err != nil {
		return "", err
	}
	if t.text("_ctrl", "_ser") != ctrl[0].value {
		return "", fmt.Errorf("answer to serial %q, expected %q", t.text("_ctrl", "_ser"), ctrl[0].value)
	}
	if nonce := t.text("_ctrl", "_nonce"); nonce != "" {
		c.nonce = nonce
	}
	if res := t.text("_data", "result"); res != "" && res != "0" {
		verb, _, _ := strings.Cut(command, " ")
		return "", &CommandError{Command: verb, Result: t.text("_data", "err"), Text: t.text("_data", "text")}
	}
	return t.text("_data", "text"), nil
}

func (c *control) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is written afterwards
		c.conn = nil
	}
}

// Close drops the connection.
func (c *control) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
}

package haproxy

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of one answer; a line of "show stat" has less than a kilobyte.
const maxAnswer = 4 << 20

// ask sends one command to the stats socket and reads the answer.
func ask(ctx context.Context, socket, command string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("haproxy: %q on the stats socket: %w", command, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) }) // a closed connection has no deadline to set
	defer stop()
	_, err = io.WriteString(c, command+"\n")
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(c, maxAnswer))
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("haproxy: %q on the stats socket %s: %w", command, socket, err)
	}
	return string(b), nil
}

// infoPID asks who serves the socket.
func infoPID(ctx context.Context, socket string) (int, error) {
	text, err := ask(ctx, socket, "show info")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				return 0, fmt.Errorf("haproxy: \"show info\" says %q: %w", strings.TrimSpace(line), err)
			}
			return pid, nil
		}
	}
	return 0, errors.New("haproxy: \"show info\" has no line Pid")
}

// Server is how HAProxy sees one primary in one of its backends.
type Server struct {
	Backend string // Backend, BackendAlive or BackendNone
	Name    string // "" in the frontend's own line
	Status  string // HAProxy's word: UP, DOWN, "UP 1/2", "no check", OPEN
	Reason  string // of its last check, such as "L7STS 503 Service Unavailable"

	Connections      int   // at this moment
	TotalConnections int64 // since the process was started
	Failed           int64 // connections that the server did not take; clients refused by a limit, in the frontend's line
}

// Up reports whether HAProxy sends clients there.
func (s Server) Up() bool { return strings.HasPrefix(s.Status, "UP") || s.Status == "no check" }

// parseStat reads the answer to "show stat": CSV whose first line, after "# ", names the columns. Lines of whole backends and of
// other frontends are left out.
func parseStat(text string) ([]Server, error) {
	head, body, ok := strings.Cut(text, "\n")
	head, ok2 := strings.CutPrefix(head, "# ")
	if !ok || !ok2 {
		return nil, fmt.Errorf("haproxy: \"show stat\" begins with %q, not with \"# \" and the columns' names", head)
	}
	column := map[string]int{}
	for i, name := range strings.Split(head, ",") {
		column[name] = i
	}
	for _, name := range []string{"pxname", "svname", "status", "scur", "stot", "econ", "dcon", "dses", "check_status", "check_code", "last_chk"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("haproxy: \"show stat\" has no column %s; HAProxy 2.6 or later is needed", name)
		}
	}
	r := csv.NewReader(strings.NewReader(body))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	var list []Server
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("haproxy: \"show stat\": %w", err)
		}
		field := func(name string) string {
			if i := column[name]; i < len(row) {
				return row[i]
			}
			return ""
		}
		number := func(name string) int64 {
			n, _ := strconv.ParseInt(field(name), 10, 64) // an empty field is a count that this kind of line has not
			return n
		}
		s := Server{Backend: field("pxname"), Name: field("svname"), Status: field("status")}
		s.Connections, s.TotalConnections, s.Failed = int(number("scur")), number("stot"), number("econ")
		switch {
		case s.Name == "FRONTEND" && s.Backend == Frontend:
			s.Name, s.Failed = "", number("dcon")+number("dses")
		case s.Name == "FRONTEND" || s.Name == "BACKEND":
			continue
		}
		s.Reason = strings.Join(strings.Fields(strings.TrimPrefix(field("check_status"), "* ")+" "+field("check_code")+" "+field("last_chk")), " ")
		list = append(list, s)
	}
}

// noState is a file of states, in the format's only version, that has none.
const noState = "1\n"

// stateFor takes from the answer to "show servers state" what the servers of a configuration may start from: HAProxy would have a server
// that has moved go on at its old port.
func stateFor(state string, conf []byte) string {
	const name, addr, port = 3, 4, 18 // fields of a line; see HAProxy's management guide, "show servers state"
	out := noState
	for line := range strings.Lines(state) {
		f := strings.Fields(line)
		if len(f) <= port || f[0] == "#" {
			continue
		}
		if bytes.Contains(conf, []byte("    server "+f[name]+" "+net.JoinHostPort(f[addr], f[port])+" ")) {
			out += line
		}
	}
	return out
}

package haproxy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Names in the file, for status and metrics.
const (
	Frontend     = "dns_write_tcp"
	Backend      = "bind_backend_tcp"       // primaries that are ready
	BackendAlive = "bind_backend_tcp_alive" // primaries that answer and say why they are not
	BackendNone  = "bind_backend_none"      // the front itself
)

// Render writes a configuration file for HAProxy 2.6 and later. The error is what Config.Validate found.
func Render(c Config) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	f := &file{}
	f.global(c)
	f.defaults(c)
	f.frontend(c)
	f.backends(c)
	f.metrics(c)
	return f.Bytes(), nil
}

type file struct{ bytes.Buffer }

// line writes one line of a section.
func (f *file) line(format string, args ...any) { fmt.Fprintf(f, "    "+format+"\n", args...) }

func (f *file) section(format string, args ...any) { fmt.Fprintf(f, "\n"+format+"\n", args...) }

// comment explains the next lines to an administrator.
func (f *file) comment(text string) { f.line("# %s", text) }

func (f *file) global(c Config) {
	fmt.Fprintf(f, "# Written by zonekeeper front; changes are lost. Format: HAProxy 2.6 and later.\n")
	fmt.Fprintf(f, "# Certificate, key and CA: %s\n", c.Identity.Sum)
	f.section("global")
	f.line("log stdout format short local0 info")
	f.line("maxconn %d", c.Limits.Connections)
	f.comment("Where the limit of descriptors is too low for maxconn (twice as many and a few), start all the same, and say so.")
	f.line("no strict-limits")
	f.comment("A process that was replaced ends when its connections have, or then.")
	f.line("hard-stop-after %s", span(c.HardStop))
	f.comment("The front reads states here and hands the listening sockets to the next process.")
	f.line("stats socket %s mode 600 level admin expose-fd listeners", SocketPath(c.Dir))
	f.comment("What the process before knew of the primaries: a new one would take all of them for ready until its first checks.")
	f.line("server-state-file %s", StatePath(c.Dir))
}

func (f *file) defaults(c Config) {
	f.section("defaults")
	f.line("mode tcp")
	f.line("log global")
	f.line("option tcplog")
	f.comment("Connections without an error are not logged: the primaries log what is asked, with the client's address.")
	f.line("option dontlog-normal")
	f.comment("Finds clients and primaries that went away without a word.")
	f.line("option clitcpka")
	f.line("option srvtcpka")
	f.comment("A primary that swallows packets costs this once.")
	f.line("timeout connect %s", span(c.ConnectTimeout))
	f.line("%s%s", idle, span(c.IdleTimeout))
	f.line("timeout server %s", span(c.ServerTimeout))
	f.line("timeout check %s", span(c.Checks.Timeout))
	f.line("retries 3")
	f.line("option redispatch 1")
	f.line("load-server-state-from-file global")
}

func (f *file) frontend(c Config) {
	f.section("frontend %s", Frontend)
	transparent := ""
	if c.Transparent {
		f.comment("transparent: bound on every node; only the holder of the address receives packets.")
		transparent = " transparent"
	}
	for _, a := range c.Listen {
		only := ""
		if a.Addr() == netip.IPv6Unspecified() {
			only = " v6only" // beside 0.0.0.0
		}
		f.line("bind %s%s%s", a, transparent, only)
	}
	// A connection's first rules see who connected; those of a session see what a PROXY header said.
	level := "connection"
	if len(c.ProxyFrom) > 0 {
		level = "session"
		f.comment("Load balancers begin with a PROXY header. From anybody else it is passed on, and the primary turns it away.")
		f.prefixes("balancer", c.ProxyFrom)
		f.line("tcp-request connection expect-proxy layer4 if balancer")
	}
	unless := ""
	if len(c.Limits.Exempt) > 0 {
		f.comment("These share an address, so the limits of one address are not for them.")
		f.prefixes("exempt", c.Limits.Exempt)
		unless = " !exempt"
	}
	f.comment("Limits of one client: an IPv4 address, or a /64 of IPv6.")
	f.line("stick-table type ipv6 size 100k expire 10s store conn_cur,conn_rate(1s)")
	f.line("tcp-request %s track-sc0 src,ipmask(32,64)", level)
	f.line("tcp-request %s reject if%s { sc0_conn_cur gt %d }", level, unless, c.Limits.ConnectionsPerClient)
	f.line("tcp-request %s reject if%s { sc0_conn_rate gt %d }", level, unless, c.Limits.ConnectionsPerSecond)
	f.comment("Whoever sends nothing is cut. In this order: with the last line first every connection waits.")
	f.line("tcp-request inspect-delay %s", span(c.FirstOctets))
	f.line("tcp-request content accept if { req.len gt 0 }")
	f.line("tcp-request content reject if WAIT_END")
	f.comment("Server by server, because nbsrv() is 0 in a process that was replaced, for connections that it has still taken.")
	for _, b := range []string{Backend, BackendAlive} {
		for _, p := range c.Primaries {
			f.line("acl %s_up srv_is_up(%s/%s)", b, b, p.Name)
		}
	}
	f.line("use_backend %s if %s_up", Backend, Backend)
	f.line("use_backend %s if %s_up", BackendAlive, BackendAlive)
	f.line("default_backend %s", BackendNone)
}

// prefixes makes one ACL; lines of one name are alternatives, and one line has room for 60 words only.
func (f *file) prefixes(name string, list []netip.Prefix) {
	for _, p := range list {
		f.line("acl %s src %s", name, p.Masked())
	}
}

func (f *file) backends(c Config) {
	k := c.Checks
	fast := max(k.Every/2, time.Millisecond)

	f.section("backend %s", Backend)
	f.comment("Primaries that are ready: /readyz of their admin API says 200.")
	f.line("balance leastconn")
	f.line("option httpchk")
	f.line("http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host primary")
	f.line("http-check expect status 200")
	f.comment("A connection that fails counts as a failed check; and nobody stays with a primary that is out.")
	f.line("default-server inter %s fastinter %s downinter %s rise %d fall %d on-marked-down shutdown-sessions observe layer4 error-limit 1 on-error fail-check",
		span(k.Every), span(fast), span(k.Every), k.Rise, k.Fall)
	f.comment("send-proxy-v2 tells the client's address; the certificate proves that it is a front that tells it.")
	for _, p := range c.Primaries {
		f.line("server %s check check-ssl port %d", c.server(p), p.Admin)
	}

	f.section("backend %s", BackendAlive)
	f.comment("None is ready: a primary that answers says why, signed.")
	f.line("balance leastconn")
	f.line("default-server inter %s rise %d fall %d", span(k.Every*5/2), k.Rise, k.Fall)
	for _, p := range c.Primaries {
		f.line("server %s check check-ssl check-send-proxy", c.server(p))
	}

	f.section("backend %s", BackendNone)
	f.comment("No primary answers: SERVFAIL from the front itself.")
	f.line("server front unix@%s", ServfailPath(c.Dir))
}

// server is what the lines of one primary have in common.
func (c Config) server(p Primary) string {
	name := c.ServerName
	if name == "" {
		name = p.Name
	}
	return fmt.Sprintf("%s %s send-proxy-v2 ssl crt %s ca-file %s verify required verifyhost %s ssl-min-ver TLSv1.3", p.Name, p.DNS, c.Identity.PEM, c.Identity.CA, name)
}

func (f *file) metrics(c Config) {
	if !c.Metrics.IsValid() {
		return
	}
	f.section("frontend metrics")
	f.line("mode http")
	f.line("no log")
	f.line("bind %s", c.Metrics)
	f.line("timeout client 5s")
	f.line("http-request use-service prometheus-exporter if { path /metrics }")
	f.line("http-request return status 404")
}

// span writes a time without a fraction, which HAProxy does not read.
func span(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// idle begins the line that differs while a node is drained.
const idle = "timeout client "

// drainIdle is how long a connection may be idle while a node is drained. HAProxy's clock runs while an answer is awaited as well, so it
// must be longer than those usually take.
const drainIdle = time.Second

// draining turns what Render made into a configuration whose connections end as soon as they are idle.
func draining(conf []byte) ([]byte, error) {
	var out bytes.Buffer
	found, section := 0, ""
	for line := range bytes.Lines(conf) {
		if word, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" ")); len(line) > 0 && line[0] != ' ' && line[0] != '\n' {
			section = string(word)
		}
		if section == "defaults" && bytes.HasPrefix(line, []byte("    "+idle)) {
			found++
			line = fmt.Appendf(nil, "    # This node is being drained.\n    %s%s\n", idle, span(drainIdle))
		}
		out.Write(line)
	}
	if found != 1 {
		return nil, fmt.Errorf("haproxy: the configuration has %d lines %q in its defaults, not 1; give what Render made", found, idle)
	}
	return out.Bytes(), nil
}

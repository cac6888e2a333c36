package front

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

const (
	statsAddr = "127.0.0.1:8405" // HAProxy's
	adminAddr = "127.0.0.1:8406" // the front's
)

// node is a front node: its process, the processes of that, and its addresses.
type node struct {
	*harness.Host
	s      *site
	t      testing.TB // it lives until this ends
	enter  []string   // words before the command
	config string
	object object // the configuration
	dir    string
	proc   *harness.Process
	http   *http.Client
}

// object is a JSON object of a configuration.
type object = map[string]any

// startFronts starts all nodes and waits until one of them has the address and writes pass.
func (s *site) startFronts(change func(name string, c object)) {
	s.t.Helper()
	for _, name := range nodeNames() {
		s.newNode(s.whole, name, change).start()
	}
	s.settled()
}

// newNode writes the configuration of a node that lives until t ends; change may alter it.
func (s *site) newNode(t testing.TB, name string, change func(name string, c object)) *node {
	s.t.Helper()
	h := s.Host(name)
	// Short: the names of UNIX sockets have 107 octets at most.
	dir, err := os.MkdirTemp("", "zkf-")
	if err != nil {
		s.t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var peers, primaries []any
	for _, p := range nodeNames() {
		if p != name {
			peers = append(peers, s.Host(p).V4.String())
		}
	}
	for _, p := range primaryNames() {
		primaries = append(primaries, object{"name": p, "address": s.Host(p).V4.String()})
	}
	certFile, keyFile, _ := s.fronts.IssueFor(name, "zonekeeper-front", h.V4.String())
	c := object{
		"name": name, "dir": dir, "mode": "vip",
		"vip": object{
			"addresses": []any{vip4 + "/32", vip6 + "/128"}, "interface": harness.Device, "router_id": 53,
			"node_address": h.V4.String(), "peers": peers,
		},
		"primaries": object{
			"static": primaries,
			"ports":  object{"dns": portDNS, "front": portFront, "admin": portAdmin},
			"tls":    object{"cert": certFile, "key": keyFile, "ca": s.servers.CA, "server_name": "primary"},

			"proxy_key_file": s.proxyKeyFile,
		},
		// Two descriptors a connection: not every machine allows what the default needs. And all writers have one address, at which
		// each opens a connection a write.
		"limits":  object{"connections": 1000, "connections_per_second": 10000},
		"haproxy": object{"stats": statsAddr},
		"admin":   object{"listen": adminAddr},
	}
	if change != nil {
		change(name, c)
	}
	n := &node{Host: h, s: s, t: t, dir: dir, config: filepath.Join(dir, "front.json"), object: c}
	n.http = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: s.DialContext(name)}}
	n.write()
	s.nodes[name] = n
	return n
}

// write writes the configuration.
func (n *node) write() {
	n.s.t.Helper()
	b, err := json.MarshalIndent(n.object, "", "  ")
	if err != nil {
		n.s.t.Fatal(err)
	}
	// As a whole: the front may be reading it.
	err = os.WriteFile(n.config+".new", b, 0o600)
	if err = errors.Join(err, os.Rename(n.config+".new", n.config)); err != nil {
		n.s.t.Fatal(err)
	}
}

// start starts the front; one that was started before must have ended.
func (n *node) start() {
	n.s.t.Helper()
	n.proc = harness.StartProcess(n.t, n.command("--config", n.config), n.log())
}

func (n *node) command(args ...string) *exec.Cmd {
	words := append(slices.Clone(n.enter), harness.Program(n.s.t), "front")
	cmd := n.s.Command(n.Name, append(words, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return cmd
}

func (n *node) log() string { return filepath.Join(n.dir, "log") }

// said waits until the front has logged a line with all of some words.
func (n *node) said(words ...string) {
	n.s.t.Helper()
	n.s.until(patient, fmt.Sprintf("%s logs %q", n.Name, words), func(context.Context) error {
		b, err := os.ReadFile(n.log())
		if err != nil {
			return err
		}
		if hasLine(string(b), words) {
			return nil
		}
		return fmt.Errorf("it did not; its end:\n%s", n.proc.Tail(15))
	})
}

// hasLine reports whether a line of a log has all of some words.
func hasLine(log string, words []string) bool {
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// shows waits until a metric of the front or of its HAProxy has a value.
func (n *node) shows(series string, want float64) {
	n.s.t.Helper()
	n.s.until(patient, fmt.Sprintf("%s: %s is %v", n.Name, series, want), func(ctx context.Context) error {
		m, err := n.series(ctx)
		if err == nil && m[series] != want {
			err = fmt.Errorf("it is %v", m[series])
		}
		return err
	})
}

// run runs a subcommand of `zonekeeper front` at the node.
func (n *node) run(args ...string) (string, error) {
	out, err := n.command(args...).CombinedOutput()
	return string(out), err
}

// settled waits until one node has the address, all fronts are ready, and a write passes over both protocols.
func (s *site) settled() {
	s.t.Helper()
	for _, name := range nodeNames() {
		n := s.nodes[name]
		s.until(patient, name+" is ready", n.isReady)
	}
	s.holder()
	for _, network := range []string{"udp", "tcp"} {
		cl := s.client(network, endpoints()[0])
		s.until(patient, "a write over "+network+" passes", func(context.Context) error { return cl.nothing() })
	}
}

// patient is for what takes a second on a machine that has time for it.
const patient = 60 * time.Second

// isReady fails while the front does not serve, which does not need the address.
func (n *node) isReady(ctx context.Context) error {
	if err := n.proc.Alive(); err != nil {
		return err
	}
	_, err := n.get(ctx, adminAddr, "/readyz")
	return err
}

// held gives the addresses of the front that a node has on its device.
func (s *site) held(name string) (out []netip.Addr) {
	s.t.Helper()
	err := s.Host(name).Inside(func() error {
		i, err := net.InterfaceByName(harness.Device)
		if err != nil {
			return err
		}
		all, err := i.Addrs()
		if err != nil {
			return err
		}
		for _, a := range all {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && (p.Addr().String() == vip4 || p.Addr().String() == vip6) {
				out = append(out, p.Addr())
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// get asks an HTTP server at the node, by an address on its loopback.
func (n *node) get(ctx context.Context, addr, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("http://%s%s: %s: %s", addr, path, resp.Status, strings.TrimSpace(string(b)))
	}
	return string(b), err
}

// status is what the front says of itself.
func (n *node) status(ctx context.Context) (*adminapi.FrontStatus, error) {
	c, err := adminapi.NewClient("http://"+adminAddr, n.http)
	if err != nil {
		return nil, err
	}
	return c.Front(ctx)
}

// series gives every series of the front and of its HAProxy.
func (n *node) series(ctx context.Context) (map[string]float64, error) {
	out := map[string]float64{}
	for _, addr := range []string{adminAddr, statsAddr} {
		text, err := n.get(ctx, addr, "/metrics")
		if err != nil {
			return nil, err
		}
		maps.Copy(out, parse(text))
	}
	return out, nil
}

// metrics is series of a front that works, or will.
func (n *node) metrics() (m map[string]float64) {
	n.s.t.Helper()
	n.s.until(patient, n.Name+" shows its metrics", func(ctx context.Context) (err error) {
		m, err = n.series(ctx)
		return err
	})
	return m
}

// sum adds the series of a metric.
func sum(series map[string]float64, metric string) (total float64) {
	for name, v := range series {
		if family, _, _ := strings.Cut(name, "{"); family == metric {
			total += v
		}
	}
	return total
}

// parse reads the text format of Prometheus.
func parse(text string) map[string]float64 {
	out := map[string]float64{}
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		i := strings.LastIndexByte(sc.Text(), ' ')
		if i < 0 || strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		if v, err := strconv.ParseFloat(sc.Text()[i+1:], 64); err == nil {
			out[sc.Text()[:i]] = v
		}
	}
	return out
}

// processes gives the node's processes of a program's name, parents before their children: keepalived is two.
func (n *node) processes(comm string) (out []int) {
	n.s.t.Helper()
	var below func(pid int)
	below = func(pid int) {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		if err != nil {
			n.s.t.Fatal(err)
		}
		for _, list := range lists {
			b, err := os.ReadFile(list)
			if err != nil {
				continue // the thread ended meanwhile
			}
			for _, f := range strings.Fields(string(b)) {
				child, err := strconv.Atoi(f)
				if err != nil {
					continue
				}
				if b, err := os.ReadFile("/proc/" + f + "/comm"); err == nil && strings.TrimSpace(string(b)) == comm {
					out = append(out, child)
				}
				below(child)
			}
		}
	}
	below(n.proc.PID())
	return out
}

// kill ends processes as a power loss would. One that has just ended is as good.
func kill(pids ...int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

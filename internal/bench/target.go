package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	benchKeyName = "bench-key."
	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// target is one server, or cluster, under load. It is used by one goroutine.
type target interface {
	// start brings it up with empty zones; it must be stopped even after an error.
	start(ctx context.Context, zones []string) error
	// addrs is where clients send to, in turn.
	addrs() []netip.AddrPort
	// key signs the updates and transfers.
	key() tsig.Key
	// copies are all the servers that must hold every acknowledged record.
	copies() []copyAt
	// processes by component, for CPU times.
	processes() map[string][]int
	// settled waits until every copy has what was acknowledged and says how far behind they were.
	settled(ctx context.Context) (time.Duration, error)
	stop() error
}

// copyAt is one server of zones.
type copyAt struct {
	name string
	addr netip.AddrPort
}

// server is a plain DNS server as one process: named or Knot.
type server struct {
	name   string
	dir    string // removed in the end
	addr   netip.AddrPort
	secret []byte
	tsig   tsig.Key
	cmd    *exec.Cmd
	exited chan struct{}
	log    bytes.Buffer // written by the process; read after it exited
	// prepare writes configuration and zones and returns the command line.
	prepare func(s *server, zones []string) ([]string, error)
}

func newServer(name, parent string, prepare func(*server, []string) ([]string, error)) (*server, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, name+"-")
	if err != nil {
		return nil, err
	}
	s := &server{name: name, dir: dir, secret: []byte("0123456789abcdef0123456789abcdef"), prepare: prepare}
	owner, err := zone.ParseName(benchKeyName)
	if err == nil {
		s.tsig, err = tsig.NewKey(tsig.Key{Name: owner, Algorithm: tsig.HMACSHA256, Secret: s.secret})
	}
	if err == nil {
		s.addr, err = freeAddr()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// freeAddr finds a port for UDP and TCP.
func freeAddr() (netip.AddrPort, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return netip.AddrPort{}, err
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = u.Close()
		return netip.ParseAddrPort(l.Addr().String())
	}
	return netip.AddrPort{}, errors.New("no port is free for UDP and TCP")
}

func (s *server) start(ctx context.Context, zones []string) error {
	args, err := s.prepare(s, zones)
	if err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // stopped by stop
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, z := range zones {
		for {
			if _, err := serial(ctx, s.addr, z); err == nil {
				break
			}
			select {
			case <-s.exited:
				return fmt.Errorf("%s ended at its start:\n%s", s.name, s.log.String())
			case <-ctx.Done():
				return fmt.Errorf("%s does not answer for %s: %w", s.name, z, ctx.Err())
			case <-time.After(pollEvery):
			}
		}
	}
	return nil
}

func (s *server) addrs() []netip.AddrPort { return []netip.AddrPort{s.addr} }
func (s *server) key() tsig.Key           { return s.tsig }
func (s *server) copies() []copyAt        { return []copyAt{{s.name, s.addr}} }
func (s *server) processes() map[string][]int {
	return map[string][]int{"server": {s.cmd.Process.Pid}}
}

// settled: a plain server answers from what it has.
func (s *server) settled(context.Context) (time.Duration, error) { return 0, nil }

func (s *server) stop() error {
	var err error
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			err = fmt.Errorf("%s did not stop within %s and was killed", s.name, stopTimeout)
			_ = s.cmd.Process.Kill()
			<-s.exited
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *server) secretText() string { return base64.StdEncoding.EncodeToString(s.secret) }

func (s *server) writeZones(zones []string) error {
	for _, z := range zones {
		text := fmt.Sprintf("$TTL 300\n@ SOA ns.%[1]s hostmaster.%[1]s 1 3600 600 86400 300\n@ NS ns.%[1]s\nns.%[1]s A 127.0.0.1\n", z)
		if err := os.WriteFile(filepath.Join(s.dir, z+"zone"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// prepareNamed is BIND as people run it, with one change in its favour: the
// default update-quota of 100 drops what 256 clients have in flight.
func prepareNamed(path string) func(*server, []string) ([]string, error) {
	return func(s *server, zones []string) ([]string, error) {
		var b bytes.Buffer
		fmt.Fprintf(&b, `key %q { algorithm hmac-sha256; secret %q; };
options {
	directory %q; pid-file none; session-keyfile none; lock-file none;
	listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; notify no; update-quota 2000; tcp-clients 2000;
	allow-transfer { key %q; };
};
controls { };
`, benchKeyName, s.secretText(), s.dir, s.addr.Port(), benchKeyName)
		for _, z := range zones {
			fmt.Fprintf(&b, "zone %q { type primary; file %q; allow-update { key %q; }; };\n", z, z+"zone", benchKeyName)
		}
		if err := s.writeZones(zones); err != nil {
			return nil, err
		}
		conf := filepath.Join(s.dir, "named.conf")
		return []string{path, "-g", "-c", conf}, os.WriteFile(conf, b.Bytes(), 0o600)
	}
}

// prepareKnot lets Knot's journal be the durable place, as its manual advises for
// zones with many updates: the zone file is not rewritten each time.
func prepareKnot(path string) func(*server, []string) ([]string, error) {
	return func(s *server, zones []string) ([]string, error) {
		var b bytes.Buffer
		fmt.Fprintf(&b, `server:
  listen: 127.0.0.1@%d
  rundir: %q
log:
  - target: stderr
    any: warning
database:
  storage: %q
key:
  - id: %s
    algorithm: hmac-sha256
    secret: %s
acl:
  - id: bench
    key: %s
    action: [update, transfer]
template:
  - id: default
    storage: %q
    zonefile-sync: -1
    acl: bench
zone:
`, s.addr.Port(), s.dir, s.dir, benchKeyName, s.secretText(), benchKeyName, s.dir)
		for _, z := range zones {
			fmt.Fprintf(&b, "  - domain: %s\n    file: %szone\n", z, z)
		}
		if err := s.writeZones(zones); err != nil {
			return nil, err
		}
		conf := filepath.Join(s.dir, "knot.conf")
		return []string{path, "-c", conf}, os.WriteFile(conf, b.Bytes(), 0o600)
	}
}

// serial asks a server for a zone's SOA.
func serial(ctx context.Context, addr netip.AddrPort, z string) (uint32, error) {
	m := new(dns.Msg)
	m.SetQuestion(z, dns.TypeSOA)
	c := dns.Client{Timeout: time.Second}
	r, _, err := c.ExchangeContext(ctx, m, addr.String())
	if err != nil {
		return 0, err
	}
	if r.Rcode == dns.RcodeSuccess && len(r.Answer) == 1 {
		if soa, ok := r.Answer[0].(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, errors.New("SOA of " + z + ": answered " + dns.RcodeToString[r.Rcode] + " with " + strconv.Itoa(len(r.Answer)) + " records")
}

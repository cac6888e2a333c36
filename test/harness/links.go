package harness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/primary"
)

// Link is what becomes of traffic from one primary to another.
type Link int

// States of a link. A closed port and a lost packet are different faults: the first is noticed at once, the second by
// timeouts alone.
const (
	Pass   Link = iota
	Refuse      // connections break, new ones are closed at once
	Lose        // octets stay on the way for as long as it lasts
)

// Links are proxies between the primaries of one cluster: between their etcd members, and between their admin APIs. A test
// takes connections apart as a broken network would.
type Links struct {
	t   testing.TB
	dir string // of the cluster: the command lines of its processes name files below it

	mu      sync.Mutex
	changed *sync.Cond // by every change of state, and by conns that end
	state   map[[2]string]Link
	conns   map[*linked]struct{}
	doors   map[string]*door // by purpose and ends
	closed  bool
	wg      sync.WaitGroup
}

// door is one listening address and where it leads.
type door struct {
	ln       net.Listener
	from, to string // from "": whoever connects, found out by its socket
	target   string
}

// linked is one connection through a door.
type linked struct {
	from, to string
	near     net.Conn
	far      net.Conn
}

// NewLinks makes links for a cluster that will run in dir. They end with the test.
func NewLinks(t testing.TB, dir string) *Links {
	l := &Links{t: t, dir: dir, state: map[[2]string]Link{}, conns: map[*linked]struct{}{}, doors: map[string]*door{}}
	l.changed = sync.NewCond(&l.mu)
	t.Cleanup(l.close)
	return l
}

// Adjust leads a primary's connections to others through the links. It is meant for devcluster.Config.Adjust.
func (l *Links) Adjust(c *primary.Config) {
	e := &c.Etcd
	if !e.External() {
		// One advertised address serves all peers, so who comes is asked of the kernel.
		e.ListenPeerURL = e.PeerURL
		initial := map[string]string{}
		for name, u := range e.InitialCluster {
			initial[name] = l.url("peer", "", name, u)
		}
		e.InitialCluster, e.PeerURL = initial, initial[c.Name]
		clients := map[string]string{}
		for name, u := range e.PeerClientURLs {
			clients[name] = l.url("client", c.Name, name, u)
		}
		e.PeerClientURLs = clients
	}
	peers := map[string]string{}
	for name, u := range c.Admin.Peers {
		peers[name] = l.url("admin", c.Name, name, u)
	}
	c.Admin.Peers = peers
}

// url gives the address of the door to a URL, the same every time.
func (l *Links) url(purpose, from, to, target string) string {
	u, err := url.Parse(target)
	if err != nil {
		l.t.Errorf("links: %v", err)
		return target
	}
	id := purpose + " " + from + " " + to
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.doors[id]
	if d == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			l.t.Errorf("links: %v", err)
			return target
		}
		d = &door{ln: ln, from: from, to: to, target: u.Host}
		l.doors[id] = d
		l.wg.Go(func() { l.serve(d) })
	}
	return u.Scheme + "://" + d.ln.Addr().String()
}

// Set changes the link from one primary to another, in that direction only.
func (l *Links) Set(from, to string, s Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state[[2]string{from, to}] = s
	if s == Refuse {
		for c := range l.conns {
			if c.from == from && c.to == to {
				c.close()
			}
		}
	}
	l.changed.Broadcast()
}

// Isolate sets all links of some primaries to and from the others.
func (l *Links) Isolate(all, some []string, s Link) {
	for _, a := range some {
		for _, b := range all {
			if !slices.Contains(some, b) {
				l.Set(a, b, s)
				l.Set(b, a, s)
			}
		}
	}
}

// Heal makes every link pass.
func (l *Links) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.state)
	l.changed.Broadcast()
}

func (l *Links) close() {
	l.mu.Lock()
	l.closed = true
	for _, d := range l.doors {
		_ = d.ln.Close()
	}
	for c := range l.conns {
		c.close()
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	l.wg.Wait()
}

func (l *Links) serve(d *door) {
	for {
		near, err := d.ln.Accept()
		if err != nil {
			return // closed at the end of the test
		}
		l.wg.Go(func() { l.connect(d, near) })
	}
}

func (l *Links) connect(d *door, near net.Conn) {
	c := &linked{from: d.from, to: d.to, near: near}
	defer c.close()
	if c.from == "" {
		var err error
		if c.from, err = l.owner(near.RemoteAddr().(*net.TCPAddr).Port); err != nil {
			return // it ended before it could be asked
		}
	}
	if !l.passes(c.from, c.to) {
		return
	}
	far, err := net.Dial("tcp", d.target)
	if err != nil {
		return
	}
	c.far = far
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.copy(c, c.near, c.far, c.to, c.from)
	}()
	l.copy(c, c.far, c.near, c.from, c.to)
	<-done
}

// passes waits while the link loses what is sent, and says whether it may be sent then.
func (l *Links) passes(from, to string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.state[[2]string{from, to}] == Lose {
		l.changed.Wait()
	}
	return !l.closed && l.state[[2]string{from, to}] == Pass
}

// copy moves one direction of a connection.
func (l *Links) copy(c *linked, dst io.Writer, src io.Reader, from, to string) {
	defer c.close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 && l.passes(from, to) {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil || !l.alive(from, to) {
			return
		}
	}
}

func (l *Links) alive(from, to string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed && l.state[[2]string{from, to}] != Refuse
}

func (c *linked) close() {
	_ = c.near.Close()
	if c.far != nil {
		_ = c.far.Close()
	}
}

var errNoOwner = errors.New("no process of the cluster has the socket")

// owner finds the primary that has a socket with this local TCP port: its inode is in the table of the kernel, and one process of the
// cluster has a descriptor of it.
func (l *Links) owner(port int) (string, error) {
	// Not /proc/net: that is the main thread's network, which a test that entered another one may have left there for good.
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return "", err
	}
	want := fmt.Sprintf(":%04X", port)
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) < 10 || !strings.HasSuffix(f[1], want) || f[9] == "0" {
			continue
		}
		return l.holder("socket:[" + f[9] + "]")
	}
	return "", errNoOwner
}

func (l *Links) holder(socket string) (string, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return "", err
	}
	for _, f := range lines {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended
		}
		_, rest, ok := strings.Cut(string(b), l.dir+"/")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		fds, err := filepath.Glob(filepath.Join(filepath.Dir(f), "fd", "*"))
		if err != nil {
			return "", err
		}
		for _, fd := range fds {
			if at, err := os.Readlink(fd); err == nil && at == socket {
				return name, nil
			}
		}
	}
	return "", errNoOwner
}

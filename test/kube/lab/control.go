package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

// Actions on a node.
const (
	Kill   = "kill"   // power off, without a word to anybody; its disk stays
	Start  = "start"  // power on
	Cut    = "cut"    // every packet to and from it is lost
	Join   = "join"   // the end of that
	Freeze = "freeze" // all its processes stand still
	Thaw   = "thaw"   // and go on
)

// handler serves the socket "control" of the directory.
func (l *lab) handler() http.Handler {
	actions := map[string]func(string) error{
		Kill: l.killNode, Start: l.startNode,
		Cut:    func(n string) error { return l.link(n, "nomaster") },
		Join:   func(n string) error { return l.link(n, "master br0") },
		Freeze: func(n string) error { return l.still(n, true) },
		Thaw:   func(n string) error { return l.still(n, false) },
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
	mux.HandleFunc("POST /nodes/{node}/{action}", func(w http.ResponseWriter, r *http.Request) {
		act := actions[r.PathValue("action")]
		if act == nil {
			http.Error(w, fmt.Sprintf("lab: %q is no action; use kill, start, cut, join, freeze or thaw", r.PathValue("action")), http.StatusNotFound)
			return
		}
		l.log.Info("a node", "node", r.PathValue("node"), "action", r.PathValue("action"))
		answer(w, act(r.PathValue("node")))
	})
	mux.HandleFunc("POST /images", func(w http.ResponseWriter, r *http.Request) { answer(w, l.load(r.Context(), r.FormValue("archive"))) })
	return mux
}

func (l *lab) link(name, state string) error {
	if _, err := l.number(name); err != nil {
		return err
	}
	_, err := l.hub.network.Shell("ip link set " + name + " " + state)
	return err
}

func (l *lab) still(name string, stop bool) error {
	if _, err := l.number(name); err != nil {
		return err
	}
	return freeze(l.groups, name, stop)
}

// load gives an image to all nodes, and to those that are switched on later.
func (l *lab) load(ctx context.Context, archive string) error {
	if err := copyFile(archive, filepath.Join(l.Dir, "images", filepath.Base(archive))); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := make([]error, len(l.nodes))
	var wg sync.WaitGroup
	i := 0
	for name, m := range l.nodes {
		wg.Go(func() {
			args := append(entering(m.pid), "ctr")
			out, err := exec.CommandContext(ctx, "nsenter", append(args, importing(archive)...)...).CombinedOutput()
			if err != nil {
				errs[i] = fmt.Errorf("lab: %s: %s: %w: %s", name, archive, err, out)
			}
		})
		i++
	}
	wg.Wait()
	return errors.Join(errs...)
}

// entering are the arguments with which nsenter runs a program on a machine.
func entering(pid int) []string {
	return []string{"--target=" + strconv.Itoa(pid), "--mount", "--net", "--pid", "--uts", "--cgroup", "--"}
}

// Cluster is a running cluster as its users see it.
type Cluster struct {
	State
	dir  string
	http *http.Client
}

// Read reads the state of the cluster in a directory.
func Read(dir string) (State, error) {
	var s State
	b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("lab: %s: %w", filepath.Join(dir, "cluster.json"), err)
	}
	return s, nil
}

// Open finds the cluster that runs in a directory.
func Open(dir string) (*Cluster, error) {
	s, err := Read(dir)
	if err != nil {
		return nil, fmt.Errorf("lab: %w; start a cluster there", err)
	}
	if !lives(s.Process) {
		return nil, fmt.Errorf("lab: the cluster of %s has ended; start it again", dir)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "control"))
	}
	return &Cluster{State: s, dir: dir, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

func (c *Cluster) post(ctx context.Context, path string, form url.Values) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://lab"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("lab: POST %s: %s", path, strings.TrimSpace(string(b)))
	}
	return nil
}

// Node does something to a node: Kill, Start, Cut, Join, Freeze or Thaw.
func (c *Cluster) Node(ctx context.Context, name, action string) error {
	return c.post(ctx, "/nodes/"+url.PathEscape(name)+"/"+url.PathEscape(action), nil)
}

// Load gives an image archive to all nodes.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	path, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	return c.post(ctx, "/images", url.Values{"archive": {path}})
}

// Command prepares a program that runs on a machine, "hub" or a node.
func (c *Cluster) Command(ctx context.Context, machine, program string, args ...string) (*exec.Cmd, error) {
	pid, err := c.pid(machine)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "nsenter", append(append(entering(pid), program), args...)...), nil
}

// Network opens the network of a machine, "hub" or a node.
func (c *Cluster) Network(machine string) (*harness.Namespace, error) {
	pid, err := c.pid(machine)
	if err != nil {
		return nil, err
	}
	return harness.OpenNamespace(fmt.Sprintf("/proc/%d/ns/net", pid))
}

// pid is the first process of a machine.
func (c *Cluster) pid(machine string) (int, error) {
	s, err := Read(c.dir) // nodes come and go
	if err != nil {
		return 0, err
	}
	pid := s.Nodes[machine]
	if machine == "hub" {
		pid = s.Hub
	}
	if pid == 0 {
		return 0, fmt.Errorf("lab: %s does not run", machine)
	}
	return pid, nil
}

// Kubectl prepares a kubectl.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(c.Programs, "kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
}

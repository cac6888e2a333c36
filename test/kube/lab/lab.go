package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/test/harness"
)

//go:embed system.yaml
var systemObjects []byte

// State is what a running cluster tells others, in the file cluster.json of its directory.
type State struct {
	// Process is that which runs the cluster, with its start time.
	Process    string         `json:"process"`
	Programs   string         `json:"programs"`
	Kubeconfig string         `json:"kubeconfig"`
	Hub        int            `json:"hub"`   // the first process of the control plane
	Nodes      map[string]int `json:"nodes"` // and of the nodes that run
	Ready      bool           `json:"ready"` // everything has been there once
}

// lab is a running cluster.
type lab struct {
	Config
	log    *slog.Logger
	id     string
	groups string
	hub    *machine
	starts chan func() // of processes that die with this one

	mu    sync.Mutex
	nodes map[string]*machine
	ready bool
}

// machine is the control plane or a node that is switched on.
type machine struct {
	name    string
	network *harness.Namespace
	command *exec.Cmd
	ended   chan struct{}
	pid     int
}

// Run starts a cluster, calls ready when its nodes are and its DNS answers, and ends it when ctx does.
func Run(ctx context.Context, config Config, log *slog.Logger, ready func()) (err error) {
	if err := config.Validate(); err != nil {
		return err
	}
	id, err := identity(os.Getpid())
	if err != nil {
		return err
	}
	l := &lab{Config: config, log: log, id: id, groups: cgroupPrefix + id, starts: make(chan func()), nodes: map[string]*machine{}}
	if err := l.prepare(); err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread() // the kernel kills what a thread started when the thread ends; this one never does
		for f := range l.starts {
			f()
		}
	}()
	defer func() { err = errors.Join(err, l.stop()) }()

	began := time.Now()
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	keys, err := newPKI(filepath.Join(l.Dir, "pki"))
	if err != nil {
		return err
	}
	if err := keys.issueAll(listener.Addr().String(), l.Nodes); err != nil {
		return err
	}
	if err := l.startHub(); err != nil {
		return err
	}
	go l.forward(listener)
	for i := 1; i <= l.Nodes; i++ {
		if err := l.startNode(NodeName(i)); err != nil {
			return err
		}
	}
	control, err := net.Listen("unix", filepath.Join(l.Dir, "control"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: l.handler(), ReadHeaderTimeout: time.Second}
	defer server.Close()
	go func() { _ = server.Serve(control) }()

	starting, cancel := context.WithTimeout(ctx, 2*startPatience)
	defer cancel()
	if err := l.becomeReady(starting, began); err != nil {
		return err
	}
	l.mu.Lock()
	l.ready = true
	err = l.write()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case <-l.hub.ended:
		return fmt.Errorf("lab: the control plane ended; see %s", filepath.Join(l.Dir, "log"))
	}
}

// prepare empties the directory, unless a cluster runs there, and removes what killed ones have left.
func (l *lab) prepare() error {
	if old, err := Read(l.Dir); err == nil && lives(old.Process) {
		return fmt.Errorf("lab: process %s runs a cluster in %s; end it, or use another directory", old.Process, l.Dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	} else if err != nil {
		if rest, err := os.ReadDir(l.Dir); err == nil && len(rest) > 0 {
			return fmt.Errorf("lab: %s has files and no cluster.json, so it is not a cluster's; use another directory", l.Dir)
		}
	}
	if err := sweep(); err != nil {
		return err
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return err
	}
	for _, d := range []string{"log", "images", "volumes"} {
		if err := os.MkdirAll(filepath.Join(l.Dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, image := range l.Images {
		if err := copyFile(image, filepath.Join(l.Dir, "images", filepath.Base(image))); err != nil {
			return err
		}
	}
	return l.write()
}

// copyFile links where it can. What was there is replaced, not written to: it may have other names.
func copyFile(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// write stores the state. Callers hold mu, or are the only ones.
func (l *lab) write() error {
	s := State{Process: l.id, Programs: l.Programs, Kubeconfig: l.kubeconfig(), Nodes: map[string]int{}, Ready: l.ready}
	if l.hub != nil {
		s.Hub = l.hub.pid
	}
	for name, m := range l.nodes {
		s.Nodes[name] = m.pid
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(l.Dir, "cluster.json")
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (l *lab) kubeconfig() string { return filepath.Join(l.Dir, "pki", "admin.kubeconfig") }

// start runs the first process of a machine in namespaces of its own. groups are the folders of its control groups.
func (l *lab) start(name string, network *harness.Namespace, groups []string, arguments ...string) (*machine, error) {
	var script strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&script, "echo 0 >%s/cgroup.procs\n", g)
	}
	// The group that it is in when its namespace of groups is made becomes the root of all it sees.
	fmt.Fprintf(&script, `exec unshare --cgroup "$@"`)
	words := append([]string{"-ec", script.String(), "sh"}, network.Enter()...)
	words = append(words, l.Self, "init", "--dir="+l.Dir, "--programs="+l.Programs)
	cmd := exec.Command("sh", append(words, arguments...)...)
	out, err := os.OpenFile(filepath.Join(l.Dir, "log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	l.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("lab: %s: %w", name, err)
	}
	m := &machine{name: name, network: network, command: cmd, pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() { defer close(m.ended); _ = cmd.Wait() }()
	return m, nil
}

// kill ends all processes of a machine and its network.
func (m *machine) kill() error {
	select {
	case <-m.ended:
	default:
		if err := m.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-m.ended
	}
	return m.network.Close()
}

func (l *lab) startHub() error {
	network, err := harness.NewNamespace(`ip link set lo up
ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip addr add ` + hubAddr + `/24 dev br0
ip link set br0 up
echo 1 >/proc/sys/net/ipv4/ip_forward`)
	if err != nil {
		return err
	}
	if l.hub, err = l.start("hub", network, nil, "--hub"); err != nil {
		return errors.Join(err, network.Close())
	}
	// Routes to pods from the beginning: hosts on the hub's link use them too.
	for i := 1; i <= l.Nodes; i++ {
		if _, err := network.Shell("ip route replace " + nodePods(i) + " via " + nodeAddr(i)); err != nil {
			return err
		}
	}
	return nil
}

// startNode switches a node on.
func (l *lab) startNode(name string) error {
	i, err := l.number(name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nodes[name] != nil {
		return fmt.Errorf("lab: %s runs already", name)
	}
	if err := makeGroups(l.groups, name); err != nil {
		return err
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for i := range all {
		all[i] = filepath.Join(all[i], l.groups, name)
	}
	network, err := harness.NewNamespace(`ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables # policies hold between pods of one node as well`)
	if err != nil {
		return err
	}
	routes := ""
	for o := 1; o <= l.Nodes; o++ {
		if o != i {
			routes += fmt.Sprintf("ip route add %s via %s\n", nodePods(o), nodeAddr(o))
		}
	}
	if _, err = l.hub.network.Shell(fmt.Sprintf("ip link add %s type veth peer name %s netns %s; ip link set %[1]s master br0 up",
		name, harness.Device, network.Path())); err == nil {
		_, err = network.Shell(fmt.Sprintf("ip addr add %s/24 dev %s; ip link set %[2]s up; ip route add default via %s\n%s",
			nodeAddr(i), harness.Device, hubAddr, routes))
	}
	if err != nil {
		return errors.Join(err, network.Close())
	}
	m, err := l.start(name, network, all, "--node="+strconv.Itoa(i))
	if err != nil {
		return errors.Join(err, network.Close())
	}
	l.nodes[name] = m
	return l.write()
}

// killNode is a power failure: nobody on the node gets to say anything.
func (l *lab) killNode(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.nodes[name]
	if m == nil {
		return fmt.Errorf("lab: %s does not run", name)
	}
	delete(l.nodes, name)
	// The kernel takes its time to remove a namespace, and its device with it.
	_, err := l.hub.network.Shell("ip link del " + name)
	return errors.Join(err, freeze(l.groups, name, false), m.kill(), l.write())
}

func (l *lab) number(name string) (int, error) {
	for i := 1; i <= l.Nodes; i++ {
		if NodeName(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("lab: there is no node %q; there are n1 to n%d", name, l.Nodes)
}

// stop ends all, and removes what has a name outside.
func (l *lab) stop() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for name, m := range l.nodes {
		err = errors.Join(err, freeze(l.groups, name, false), m.kill())
	}
	if l.hub != nil {
		err = errors.Join(err, l.hub.kill())
	}
	all, more := hierarchies()
	err = errors.Join(err, more)
	for _, h := range all {
		err = errors.Join(err, removeGroups(filepath.Join(h, l.groups)))
	}
	return err
}

// forward carries connections from the machine to the API server.
func (l *lab) forward(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer near.Close()
			var far net.Conn
			if err := l.hub.network.Inside(func() (err error) {
				far, err = (&net.Dialer{Timeout: time.Second, FallbackDelay: -1}).Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(portAPI)))
				return err
			}); err != nil {
				return
			}
			defer far.Close()
			go func() { _, _ = io.Copy(far, near); _ = far.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(near, far)
		}()
	}
}

// becomeReady waits for the nodes, installs the cluster's DNS and waits for that.
func (l *lab) becomeReady(ctx context.Context, began time.Time) error {
	steps := []struct {
		what string
		args []string
	}{
		{"the API server is ready", []string{"get", "--raw=/readyz"}},
		{"all nodes are known", append([]string{"get", "node"}, l.names()...)},
		{"all nodes are ready", []string{"wait", "--for=condition=Ready", "node", "--all", "--timeout=10s"}},
		{"the objects of the system are stored", []string{"apply", "--server-side", "-f", filepath.Join(l.Dir, "system.yaml")}},
		{"the cluster's DNS is ready", []string{"--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=10s"}},
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "system.yaml"), systemObjects, 0o600); err != nil {
		return err
	}
	for _, s := range steps {
		for {
			out, err := exec.CommandContext(ctx, filepath.Join(l.Programs, "kubectl"), append([]string{"--kubeconfig=" + l.kubeconfig()}, s.args...)...).CombinedOutput()
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("lab: waited until %s: %w: %s; see %s", s.what, err, out, filepath.Join(l.Dir, "log"))
			case <-l.hub.ended:
				return fmt.Errorf("lab: the control plane ended; see %s", filepath.Join(l.Dir, "log"))
			case <-time.After(200 * time.Millisecond):
			}
		}
		l.log.Info("starting", "reached", s.what, "after", time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

func (l *lab) names() (out []string) {
	for i := 1; i <= l.Nodes; i++ {
		out = append(out, NodeName(i))
	}
	return out
}

// Init is what the first process of a machine does, until a part of it ends.
func Init(dir, programs string, hub bool, node int) error {
	if hub {
		return initHub(dir, programs)
	}
	return initNode(dir, programs, node)
}

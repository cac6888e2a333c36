package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name: a descriptor holds it, so it goes with this process, and with those that run
// inside, however they end.
type Namespace struct{ file *os.File }

// NewNamespace makes one and runs a shell script inside. It needs root.
func NewNamespace(script string) (*Namespace, error) {
	return newNamespace(func() error { _, err := shell(script); return err })
}

// newNamespace runs setup on a thread inside instead.
func newNamespace(setup func() error) (*Namespace, error) {
	var n Namespace
	err := onNewThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a network namespace: %w; run this as root", err)
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err := setup(); err != nil {
			return errors.Join(err, n.file.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// OpenNamespace takes one that exists: that of another process, /proc/PID/ns/net.
func OpenNamespace(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Namespace{file: file}, nil
}

// onNewThread runs f on a thread that ends afterwards, because it may have entered another namespace.
func onNewThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// Inside runs f in the namespace. Sockets and processes that it makes stay there.
func (n *Namespace) Inside(f func() error) error {
	return onNewThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// Shell runs a script inside and returns what it wrote.
func (n *Namespace) Shell(script string) (string, error) {
	var out string
	err := n.Inside(func() (err error) { out, err = shell(script); return err })
	return out, err
}

// shell runs a script in the namespace of the calling thread.
func shell(script string) (string, error) {
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s; the packages iproute2 and util-linux are needed", script, err, out)
	}
	return string(out), err
}

// Enter is what to put before a command to run it inside, as the same process.
func (n *Namespace) Enter() []string { return []string{"nsenter", "--net=" + n.Path()} }

// Path is good for other processes as well, while this one lives.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Close lets go of it.
func (n *Namespace) Close() error { return n.file.Close() }

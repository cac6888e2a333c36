// Package isolated runs the tests of a package in a network namespace of their own.
package isolated

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
)

// inNamespace marks the process that Main started.
const inNamespace = "ZONEKEEPER_TEST_NAMESPACE"

// Main runs the tests of a package in a network namespace with nothing but the loopback interface: what they listen on, and
// the addresses and filters that they set, is nobody else's. The whole process lives there (all threads and children), and
// the namespace goes with it. Call it from TestMain.
//
// It needs root.
func Main(m *testing.M) int {
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v: %s; install iproute2\n", err, out)
			return 1
		}
		return m.Run()
	}
	// The child dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A terminal's Ctrl-C reaches both; the child decides.
	signal.Ignore(os.Interrupt)
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(1, exit.ExitCode())
	}
	fmt.Fprintf(os.Stderr, "a network namespace for the tests: %v; run this as root\n", err)
	return 1
}

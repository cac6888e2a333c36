package namedtest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const isolatedEnv = "ZONEKEEPER_TEST_ISOLATED"

// Isolated runs body where it may mount file systems. When this process is not root it runs the same test again, alone, in
// a user and mount namespace of its own.
func Isolated(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() == 0 || os.Getenv(isolatedEnv) != "" {
		body(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
}

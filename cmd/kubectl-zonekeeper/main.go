// Command kubectl-zonekeeper is kubectl's plugin: put it into $PATH, then kubectl zonekeeper status.
package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/kubectl"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &kubectl.Program{Version: version, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Execute: execute}
	code := p.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs a program in this one's place, as far as its user can tell.
func execute(ctx context.Context, name string, args []string) (int, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

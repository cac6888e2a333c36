// Command kubectl-zonekeeper is kubectl's plugin: put it into $PATH, then kubectl zonekeeper status.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/kubectl"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &kubectl.Program{Version: version, Out: os.Stdout, Err: os.Stderr, Now: time.Now}
	code := p.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

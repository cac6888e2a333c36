// Command zonekeeper-operator makes BindClusters in Kubernetes what their specs say. It is executed by "zonekeeper operator".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/zonekeeper/zonekeeper/internal/operator/command"
	"github.com/zonekeeper/zonekeeper/internal/operator/program"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	os.Exit(run())
}

func run() int {
	// The second signal kills at once: the first has restored the default by then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	p := command.Program{Version: version, Run: program.Run, Out: os.Stdout, Err: os.Stderr}
	return p.Main(ctx, os.Args[1:])
}

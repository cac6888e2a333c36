// Command zonekeeper is the whole program: primaries, a local cluster, and the
// command line for both.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/zonekeeper/zonekeeper/internal/cli"
	"github.com/zonekeeper/zonekeeper/internal/front"
	"github.com/zonekeeper/zonekeeper/internal/primary"
	"github.com/zonekeeper/zonekeeper/internal/secondary"
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
	p := cli.Program{
		Version:      version,
		RunPrimary:   primary.Run,
		RunSecondary: secondary.Run,
		RunFront:     front.Run,
		Executable:   os.Executable,
		Exec:         func(path string, args []string) error { return syscall.Exec(path, args, os.Environ()) },
		Getenv:       os.Getenv,
		In:           os.Stdin,
		Out:          os.Stdout,
		Err:          os.Stderr,
		Terminal:     isTerminal(os.Stderr),
	}
	return p.Run(ctx, os.Args[1:])
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

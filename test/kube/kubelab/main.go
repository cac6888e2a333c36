// Command kubelab runs a Kubernetes cluster for tests on this machine, and does to its nodes what happens to nodes; see test/kube/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/zonekeeper/zonekeeper/test/kube/lab"
	"github.com/zonekeeper/zonekeeper/test/kube/policy"
)

const usage = `use:
  kubelab up --dir DIR --programs DIR [--nodes 3] [--listen 127.0.0.1:0] [--images A.tar,B.tar]
                                   run a cluster until interrupted
  kubelab check                    say whether a cluster can run on this machine
  kubelab images --dir DIR --programs DIR --bin DIR --release NAME --list FILE [--bind DIR]   write the images of the tests
  kubelab node ACTION NODE --dir DIR     kill, start, cut, join, freeze or thaw a node
  kubelab load ARCHIVE… --dir DIR        give images to all nodes
  kubelab exec MACHINE --dir DIR COMMAND…   run a command on a node or on "hub"`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:])
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(1, exit.ExitCode()))
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb, args := args[0], args[1:]
	var words []string // before the flags
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		words, args = append(words, args[0]), args[1:]
	}
	config := lab.DefaultConfig()
	flags := flag.NewFlagSet("kubelab "+verb, flag.ContinueOnError)
	flags.StringVar(&config.Dir, "dir", "", "directory of the cluster")
	flags.StringVar(&config.Programs, "programs", "", "what scripts/build-kube.sh prints")
	flags.StringVar(&config.Listen, "listen", config.Listen, "where this machine reaches the API")
	flags.IntVar(&config.Nodes, "nodes", config.Nodes, "number of nodes")
	images := flags.String("images", "", "archives that nodes have, with commas between them")
	bin := flags.String("bin", "", "programs for images: zonekeeper, pause")
	release := flags.String("release", "", "name of the image that the chart uses")
	list := flags.String("list", "", "file with the names of other programs for images")
	bind := flags.String("bind", "", "what scripts/fetch-named-920.sh prints")
	hub := flags.Bool("hub", false, "be the control plane")
	node := flags.Int("node", 0, "be this node")
	kubeconfig := flags.String("kubeconfig", "", "how a node's network-policies reach the API server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch verb {
	case "init":
		return lab.Init(config.Dir, config.Programs, *hub, *node)
	case "check":
		return lab.Check()
	case "policies":
		return policy.Enforce(ctx, *kubeconfig, lab.NodeName(*node), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	case "images":
		return writeImages(config.Dir, *bin, config.Programs, *release, *list, *bind)
	case "up":
		if *images != "" {
			config.Images = strings.Split(*images, ",")
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		config.Self = self
		return lab.Run(ctx, config, slog.New(slog.NewTextHandler(os.Stderr, nil)), func() {
			fmt.Printf("ready\nexport KUBECONFIG=%s/pki/admin.kubeconfig PATH=%s:$PATH\n", config.Dir, config.Programs)
		})
	}
	c, err := lab.Open(config.Dir)
	if err != nil {
		return err
	}
	switch {
	case verb == "node" && len(words) == 2:
		return c.Node(ctx, words[1], words[0])
	case verb == "load" && len(words) > 0:
		for _, archive := range words {
			if err := c.Load(ctx, archive); err != nil {
				return err
			}
		}
		return nil
	case verb == "exec" && len(words) == 1 && flags.NArg() > 0:
		cmd, err := c.Command(ctx, words[0], flags.Arg(0), flags.Args()[1:]...)
		if err != nil {
			return err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd.Run()
	}
	return errors.New(usage)
}

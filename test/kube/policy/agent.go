package policy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// settle is how long changes are gathered.
const settle = 50 * time.Millisecond

// Enforce keeps the rules of a node as the API server's objects want them, until ctx ends. It runs in the node's network. The rules stay
// when it ends, as a network plugin's do.
func Enforce(ctx context.Context, kubeconfig, node string, log *slog.Logger) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	core, networking := factory.Core().V1(), factory.Networking().V1()
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default: // it has been noted
		}
	}
	for _, i := range []cache.SharedIndexInformer{core.Pods().Informer(), core.Namespaces().Informer(), networking.NetworkPolicies().Informer()} {
		_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { note() }, UpdateFunc: func(any, any) { note() }, DeleteFunc: func(any) { note() },
		})
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return fmt.Errorf("policy: no list of %s came", kind)
		}
	}
	last := ""
	for {
		var s State
		if s.Pods, err = core.Pods().Lister().List(labels.Everything()); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		if s.Namespaces, err = core.Namespaces().Lister().List(labels.Everything()); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		if s.Policies, err = networking.NetworkPolicies().Lister().List(labels.Everything()); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		if rules := Rules(node, s); rules != last {
			if err := apply(ctx, rules); err != nil {
				log.Error("the rules stay as they were", "err", err)
				note() // tried again
			} else {
				log.Info("the rules are replaced", "chains", strings.Count(rules, "counter drop"))
				last = rules
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		time.Sleep(settle)
	}
}

func apply(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

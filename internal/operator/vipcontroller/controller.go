package vipcontroller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front/announce"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// Kind of the objects.
const Kind = "VirtualIP"

// Finalizer keeps a VirtualIP until the network below the nodes has nothing of it any more, for lookup.DeletionLimit at most.
const Finalizer = v1alpha1.Group + "/network"

// Config of the controller.
type Config struct {
	Client client.Client
	// Live reads pods and Secrets from the API server itself.
	Live     client.Reader
	Recorder lookup.Recorder
	Metrics  prometheus.Registerer
	Now      func() time.Time
	Logger   *slog.Logger
	// Network is asked about VirtualIPs that say something about one.
	Network Network
	// FrontNamespace is where fronts run; "" when there are none.
	FrontNamespace string
	// Workers reconcile different VirtualIPs at the same time.
	Workers int
	// Look is the time between two passes. NetworkEvery is that between two looks at the network while nothing has changed, NetworkLongest the longest one
	// after failures, each of which doubles it. NetworkTimeout bounds one look.
	Look, NetworkEvery, NetworkLongest, NetworkTimeout time.Duration
	// Silence is how long a front may say nothing, Moving how long the addresses may be on their way before nobody is said to have them.
	Silence, Moving time.Duration
}

// DefaultConfig has every value but Client, Live, Recorder, Metrics and Network.
func DefaultConfig() Config {
	return Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler), FrontNamespace: resources.DefaultSettings().FrontNamespace, Workers: 2,
		Look: 5 * time.Second, NetworkEvery: 5 * time.Second, NetworkLongest: 2 * time.Minute, NetworkTimeout: time.Minute,
		Silence: 3 * announce.DefaultConfig().Every, Moving: 5 * time.Second}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if c.Client == nil || c.Live == nil || c.Recorder == nil || c.Metrics == nil || c.Network == nil || c.Now == nil || c.Logger == nil {
		errs = append(errs, errors.New("vipcontroller: Client, Live, Recorder, Metrics, Network, Now and Logger are needed"))
	}
	if c.Workers < 1 || c.Look <= 0 || c.NetworkEvery <= 0 || c.NetworkLongest < c.NetworkEvery || c.NetworkTimeout <= 0 || c.Silence <= 0 || c.Moving <= 0 {
		errs = append(errs, errors.New("vipcontroller: Workers and times must be positive, NetworkLongest not below NetworkEvery; start from DefaultConfig"))
	}
	return errors.Join(errs...)
}

// Reconciler of VirtualIPs.
type Reconciler struct {
	cfg     Config
	metrics *metrics
	mu      sync.Mutex
	memory  map[types.NamespacedName]*memory
}

// memory is what is known of a VirtualIP beyond one pass. Without it everything goes on; what is heard counts from now.
type memory struct {
	heard   map[string]heard // by front
	holder  string           // the last one, and when it was seen
	held    time.Time
	taken   time.Time // when it was seen first
	network network
}

// New gives a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("vipcontroller: metrics: %w", err)
	}
	return &Reconciler{cfg: cfg, metrics: m, memory: map[types.NamespacedName]*memory{}}, nil
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []ctrl.Request { return r.requests(ctx, "") })
	ofCluster := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request { return r.requests(ctx, o.GetNamespace()) })
	ofFronts := handler.EnqueueRequestsFromMapFunc(r.ofFronts)
	b := ctrl.NewControllerManagedBy(mgr).Named("virtualip").
		For(&v1alpha1.VirtualIP{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BindCluster{}, ofCluster, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Node{}, all, builder.WithPredicates(nodeChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.cfg.Workers})
	if r.cfg.FrontNamespace != "" {
		b = b.Watches(&coordinationv1.Lease{}, ofFronts, builder.WithPredicates(saidSomething())).Watches(&appsv1.DaemonSet{}, ofFronts)
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("vipcontroller: %w", err)
	}
	return nil
}

// requests are those for all VirtualIPs of a namespace, "" for all.
func (r *Reconciler) requests(ctx context.Context, namespace string) []ctrl.Request {
	l, err := lookup.Requests(ctx, r.cfg.Client, &v1alpha1.VirtualIPList{}, func(*v1alpha1.VirtualIP) bool { return true }, client.InNamespace(namespace))
	if err != nil {
		r.cfg.Logger.Error("VirtualIPs can't be listed; they are looked at when their time comes", "err", err)
	}
	return l
}

// ofFronts finds the VirtualIP of an object in the fronts' namespace.
func (r *Reconciler) ofFronts(ctx context.Context, o client.Object) []ctrl.Request {
	l := o.GetLabels()
	name := types.NamespacedName{Namespace: l[resources.LabelClusterNamespace], Name: l[resources.LabelInstance]}
	if l[resources.LabelManagedBy] != resources.Manager || name.Namespace == "" {
		return nil
	}
	c, err := lookup.Cluster(ctx, r.cfg.Client, name)
	if err != nil || c == nil {
		return nil // it is looked at when its time comes
	}
	for _, e := range c.Spec.Exposures {
		if e.Name == l[resources.LabelExposure] && e.VIP != nil {
			return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: name.Namespace, Name: e.VIP.VirtualIP}}}
		}
	}
	return nil
}

// nodeChanged: a node has come or gone, or what decides about it has changed. Its heartbeats are nobody's business.
func nodeChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return ok1 && ok2 && (!maps.Equal(before.Labels, after.Labels) || !slices.Equal(before.Status.Addresses, after.Status.Addresses) ||
			before.Spec.ProviderID != after.Spec.ProviderID)
	}}
}

// saidSomething: a front has said something else than that it is still there, which the next pass hears in time.
func saidSomething() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := words(e.ObjectOld.GetAnnotations()), words(e.ObjectNew.GetAnnotations())
		for _, w := range []map[string]announce.State{before, after} {
			for name, s := range w {
				s.Beat = 0
				w[name] = s
			}
		}
		return !maps.Equal(before, after)
	}}
}

// words are what fronts say of themselves, by their names.
func words(annotations map[string]string) map[string]announce.State {
	out := map[string]announce.State{}
	for key, text := range annotations {
		name, ok := strings.CutPrefix(key, announce.Annotation)
		if !ok {
			continue
		}
		s, err := announce.Parse(text)
		if err != nil {
			s = announce.State{VRRP: v1alpha1.VIPNodeFault, Message: err.Error()}
		}
		s.Since = s.Since.UTC()
		out[name] = s
	}
	return out
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	v := &v1alpha1.VirtualIP{}
	if err := r.cfg.Client.Get(ctx, req.NamespacedName, v); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("VirtualIP %s: %w", req, err)
	}
	p := &pass{Reconciler: r, vip: v, memory: r.remembered(req.NamespacedName)}
	if err := p.look(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if !v.DeletionTimestamp.IsZero() {
		return p.finalize(ctx)
	}
	if err := p.below(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if err := p.gate(ctx); err != nil {
		return ctrl.Result{}, err
	}
	return p.report(ctx)
}

func (r *Reconciler) remembered(name types.NamespacedName) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memory[name]
	if m == nil {
		m = &memory{heard: map[string]heard{}}
		r.memory[name] = m
	}
	return m
}

func (r *Reconciler) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memory, name)
	r.metrics.forget(name)
}

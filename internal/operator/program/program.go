package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clustercontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/keycontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipcontroller"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipnetwork"
	"github.com/zonekeeper/zonekeeper/internal/operator/zonecontroller"
)

// leaseName is that of the lease by which one operator leads.
const leaseName = resources.Manager

// Environment is what the process has from outside.
type Environment struct {
	// Kube is how to reach the API server, and as whom.
	Kube    *rest.Config
	Version string
	Logger  *slog.Logger
	// Dial reaches primaries; nil: by the resolver of the host. From outside of the cluster their names mean nothing.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Parts are what controllers are made of. Each one takes what it needs.
type Parts struct {
	Config  Config
	Manager ctrl.Manager
	// Clusters reaches the primaries.
	Clusters *clusterapi.Clusters
	Logger   *slog.Logger
}

// Controllers has all controllers of this version run by p.Manager. ctx bounds the registration only.
func Controllers(ctx context.Context, p Parts) error {
	for _, register := range []func(context.Context, Parts) error{bindClusters, zones, keys, virtualIPs} {
		if err := register(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func bindClusters(_ context.Context, p Parts) error {
	r, err := clustercontroller.New(p.Config.controller(), clustercontroller.Dependencies{
		Client: p.Manager.GetClient(), Live: p.Manager.GetAPIReader(), Connect: connect(p.Clusters), Forget: p.Clusters.Forget, Events: p.Manager.GetEventRecorder(resources.Manager),
		Metrics: metrics.Registry, Logger: p.Logger.With("controller", "bindcluster"), Now: time.Now,
	})
	if err != nil {
		return err
	}
	return r.Register(p.Manager)
}

func zones(ctx context.Context, p Parts) error {
	cfg := zonecontroller.DefaultConfig()
	cfg.Client, cfg.Clusters, cfg.Recorder = p.Manager.GetClient(), p.Clusters, p.Manager.GetEventRecorder(resources.Manager)
	cfg.Logger = p.Logger.With("controller", "zone")
	r, err := zonecontroller.New(cfg)
	if err != nil {
		return err
	}
	return r.SetupWithManager(ctx, p.Manager)
}

func keys(ctx context.Context, p Parts) error {
	cfg := keycontroller.DefaultConfig()
	cfg.Client, cfg.Clusters, cfg.Recorder = p.Manager.GetClient(), p.Clusters, p.Manager.GetEventRecorder(resources.Manager)
	cfg.Logger = p.Logger.With("controller", "tsigkey")
	r, err := keycontroller.New(cfg)
	if err != nil {
		return err
	}
	return r.SetupWithManager(ctx, p.Manager)
}

func virtualIPs(_ context.Context, p Parts) error {
	sessions, err := openstack.NewSessions(openstack.DefaultConfig())
	if err != nil {
		return err
	}
	network, err := vipnetwork.New(vipnetwork.Config{Open: vipnetwork.Sessions(sessions), Reader: p.Manager.GetAPIReader(), Logger: p.Logger.With("part", "vipnetwork")})
	if err != nil {
		return err
	}
	cfg := vipcontroller.DefaultConfig()
	cfg.Client, cfg.Live, cfg.Recorder = p.Manager.GetClient(), p.Manager.GetAPIReader(), p.Manager.GetEventRecorder(resources.Manager)
	cfg.Metrics, cfg.Network, cfg.FrontNamespace = metrics.Registry, network, p.Config.FrontNamespace
	cfg.Logger = p.Logger.With("controller", "virtualip")
	r, err := vipcontroller.New(cfg)
	if err != nil {
		return err
	}
	return r.SetupWithManager(p.Manager)
}

// connect gives the controller the primaries one by one: it asks each for itself.
func connect(clusters *clusterapi.Clusters) clustercontroller.Connect {
	return func(ctx context.Context, c *v1alpha1.BindCluster) ([]clustercontroller.Primary, error) {
		cluster, err := clusters.Of(ctx, c)
		if err != nil {
			return nil, err
		}
		var out []clustercontroller.Primary
		for _, p := range cluster.Primaries() {
			out = append(out, p)
		}
		return out, nil
	}
}

// Scheme knows the kinds that the operator works with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	var errs []error
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme,
		coordinationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		errs = append(errs, add(s))
	}
	return s, errors.Join(errs...)
}

// Run runs the operator until ctx ends, and returns nil when it was asked to stop and did so in order.
func Run(ctx context.Context, cfg Config, env Environment) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	log := logr.FromSlogHandler(env.Logger.Handler())
	ctrllog.SetLogger(log) // parts of controller-runtime ask for it
	mgr, err := newManager(cfg, env.Kube, log)
	if err != nil {
		return err
	}
	reach := clusterapi.DefaultConfig()
	reach.ClusterDomain, reach.Dial, reach.Logger = cfg.ClusterDomain, env.Dial, env.Logger.With("part", "clusterapi")
	clusters, err := clusterapi.New(reach, mgr.GetAPIReader())
	if err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	if err := Controllers(ctx, Parts{Config: cfg, Manager: mgr, Clusters: clusters, Logger: env.Logger}); err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	env.Logger.Info("operator starts", "version", env.Version, "image", cfg.Image)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	env.Logger.Info("operator has stopped")
	return nil
}

func newManager(cfg Config, kube *rest.Config, log logr.Logger) (ctrl.Manager, error) {
	scheme, err := Scheme()
	if err != nil {
		return nil, fmt.Errorf("operator: %w", err)
	}
	kube = rest.CopyConfig(kube)
	kube.UserAgent = resources.Manager
	// A cluster is about 60 requests at its first pass; the library's 5 a second would make its users wait.
	kube.QPS, kube.Burst = 50, 100
	renew, retry := cfg.LeaseDuration*2/3, cfg.LeaseDuration/6
	mgr, err := ctrl.NewManager(kube, ctrl.Options{
		Scheme: scheme, Logger: log, Cache: cacheOptions(cfg.FrontNamespace),
		Client:  client.Options{Cache: &client.CacheOptions{DisableFor: uncached()}},
		Metrics: server.Options{BindAddress: orOff(cfg.MetricsListen)}, HealthProbeBindAddress: orOff(cfg.HealthListen), LivenessEndpointName: "/livez",
		LeaderElection: cfg.LeaderElection, LeaderElectionID: leaseName, LeaderElectionNamespace: cfg.Namespace,
		LeaseDuration: &cfg.LeaseDuration, RenewDeadline: &renew, RetryPeriod: &retry,
		// The process ends with the manager, so whoever takes the lease then is alone.
		LeaderElectionReleaseOnCancel: true, GracefulShutdownTimeout: &cfg.StopGrace,
	})
	if err != nil {
		return nil, fmt.Errorf("operator: API server %s: %w", kube.Host, err)
	}
	if err := mgr.AddHealthzCheck("process", healthz.Ping); err != nil {
		return nil, fmt.Errorf("operator: %w", err)
	}
	if err := mgr.AddReadyzCheck("cache", filled(mgr.GetCache())); err != nil {
		return nil, fmt.Errorf("operator: %w", err)
	}
	return mgr, nil
}

// uncached are kinds that are read from the API server itself: others have many of them, and some that users name have no labels of ours.
func uncached() []client.Object {
	return []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.PersistentVolumeClaim{}, &corev1.Pod{}}
}

// cacheOptions: of the kinds that others have in great numbers only what the operator made.
func cacheOptions(fronts string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{resources.LabelManagedBy: resources.Manager})}
	by := map[client.Object]cache.ByObject{}
	for _, o := range []client.Object{
		&corev1.Service{}, &corev1.ServiceAccount{}, &appsv1.StatefulSet{}, &appsv1.Deployment{},
		&policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
	} {
		by[o] = ours
	}
	if fronts != "" { // the only namespace where they may be read
		ours.Namespaces = map[string]cache.Config{fronts: {}}
		by[&appsv1.DaemonSet{}], by[&coordinationv1.Lease{}] = ours, ours
	}
	return cache.Options{ByObject: by, DefaultTransform: cache.TransformStripManagedFields()}
}

// filled: what is cached so far is what the API server has. Who is ready could lead.
func filled(c cache.Cache) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second/2)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the cache is not filled: does the API server answer, and may this operator list and watch?")
		}
		return nil
	}
}

// orOff is an address as controller-runtime wants it.
func orOff(listen string) string {
	if listen == "" {
		return "0"
	}
	return listen
}

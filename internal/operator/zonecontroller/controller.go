package zonecontroller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
	"github.com/zonekeeper/zonekeeper/internal/operator/zoneobject"
)

// Kind of the objects, as primaries are told it.
const Kind = "Zone"

// IndexCluster is the field by which Zones are listed: the NAMESPACE/NAME of their BindCluster.
const IndexCluster = "clusterRef"

// Config of the controller.
type Config struct {
	Client   client.Client
	Clusters *clusterapi.Clusters
	Recorder lookup.Recorder
	Now      func() time.Time
	Logger   *slog.Logger
	// Workers reconcile different Zones at the same time.
	Workers int
	// Retry is the time until the next pass when something was in the way; Look until the next one when nothing was, to which LookEach is added
	// for every Zone of the cluster, so that many zones are no load.
	Retry, Look, LookEach time.Duration
}

// DefaultConfig has every value but Client, Clusters and Recorder.
func DefaultConfig() Config {
	return Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Workers: 4, Retry: 5 * time.Second, Look: 10 * time.Second, LookEach: 20 * time.Millisecond}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if c.Client == nil || c.Clusters == nil || c.Recorder == nil || c.Now == nil || c.Logger == nil {
		errs = append(errs, errors.New("zonecontroller: Client, Clusters, Recorder, Now and Logger are needed"))
	}
	if c.Workers < 1 || c.Retry <= 0 || c.Look <= 0 || c.LookEach < 0 {
		errs = append(errs, errors.New("zonecontroller: Workers and times must be positive; start from DefaultConfig"))
	}
	return errors.Join(errs...)
}

// Reconciler of Zones.
type Reconciler struct {
	cfg   Config
	views views
}

// New gives a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Reconciler{cfg: cfg, views: views{now: cfg.Now, of: map[types.NamespacedName]*view{}}}, nil
}

// Index gives a Zone's entry in IndexCluster.
func Index(o client.Object) []string {
	z, ok := o.(*v1alpha1.Zone)
	if !ok {
		return nil
	}
	return []string{tenancy.ClusterOf(z.Namespace, z.Spec.ClusterRef).String()}
}

// SetupWithManager registers the controller. ctx bounds the registration only.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Zone{}, IndexCluster, Index); err != nil {
		return fmt.Errorf("zonecontroller: %w", err)
	}
	waiting := func(z *v1alpha1.Zone) bool {
		return !meta.IsStatusConditionTrue(z.Status.Conditions, v1alpha1.ConditionAccepted)
	}
	all := func(*v1alpha1.Zone) bool { return true }
	return ctrl.NewControllerManagedBy(mgr).Named("zone").
		For(&v1alpha1.Zone{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		// A Zone that goes may leave its name, its place in a quota, or what is below it to one that waits.
		Watches(&v1alpha1.Zone{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
			return r.zones(ctx, Index(o), waiting)
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BindCluster{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
			return r.zones(ctx, []string{client.ObjectKeyFromObject(o).String()}, all)
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.TSIGKey{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
			k, ok := o.(*v1alpha1.TSIGKey)
			if !ok {
				return nil
			}
			return r.zones(ctx, []string{tenancy.ClusterOf(k.Namespace, k.Spec.ClusterRef).String()}, func(z *v1alpha1.Zone) bool {
				return z.Namespace == k.Namespace && !meta.IsStatusConditionTrue(z.Status.Conditions, v1alpha1.ConditionProgrammed)
			})
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.cfg.Workers}).
		Complete(r)
}

// zones are requests for the Zones of clusters that are picked.
func (r *Reconciler) zones(ctx context.Context, clusters []string, pick func(*v1alpha1.Zone) bool) []ctrl.Request {
	var out []ctrl.Request
	for _, c := range clusters {
		l, err := lookup.Requests(ctx, r.cfg.Client, &v1alpha1.ZoneList{}, pick, client.MatchingFields{IndexCluster: c}, client.UnsafeDisableDeepCopy)
		if err != nil {
			r.cfg.Logger.Error("Zones of a cluster can't be listed", "cluster", c, "err", err)
		}
		out = append(out, l...)
	}
	return out
}

// pass is one reconciliation of a Zone.
type pass struct {
	*Reconciler
	zone    *v1alpha1.Zone
	cluster *v1alpha1.BindCluster // nil: there is none
	verdict zoneobject.Verdict
	// tenants are the names of the zones of the same tenant, this one among them; empty without a quota for records.
	tenants []string
	// siblings are the number of Zones of the cluster.
	siblings int
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &pass{Reconciler: r, zone: &v1alpha1.Zone{}}
	if err := r.cfg.Client.Get(ctx, req.NamespacedName, p.zone); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	name := tenancy.ClusterOf(p.zone.Namespace, p.zone.Spec.ClusterRef)
	var err error
	if p.cluster, err = lookup.Cluster(ctx, r.cfg.Client, name); err != nil {
		return ctrl.Result{}, err
	}
	if p.cluster == nil {
		r.cfg.Clusters.Forget(name)
		r.views.forget(name)
	}
	if !p.zone.DeletionTimestamp.IsZero() {
		return p.finalize(ctx)
	}
	if err := p.judge(ctx, name); err != nil {
		return ctrl.Result{}, err
	}
	f, err := p.advance(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	return p.report(ctx, f)
}

// judge finds out whether the Zone may be in its cluster.
func (p *pass) judge(ctx context.Context, cluster types.NamespacedName) error {
	var zones v1alpha1.ZoneList
	// Each Zone's pass reads all of them, and changes none: a copy of thousands for each of thousands would be what the operator does all day.
	if err := p.cfg.Client.List(ctx, &zones, client.MatchingFields{IndexCluster: cluster.String()}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("Zones of BindCluster %s: %w", cluster, err)
	}
	p.siblings = len(zones.Items)
	namespaces, err := lookup.Namespaces(ctx, p.cfg.Client)
	if err != nil {
		return err
	}
	p.verdict = zoneobject.Accept(p.zone, p.cluster, zones.Items, namespaces)
	if q := p.quota(); q != nil && q.Records != nil {
		for i := range zones.Items {
			z := &zones.Items[i]
			if rule, err := tenancy.Rule(z.Namespace, p.cluster, namespaces); err == nil && rule != nil && rule.Name == p.verdict.Tenant && z.Namespace != p.cluster.Namespace {
				p.tenants = append(p.tenants, strings.TrimSuffix(string(z.Spec.ZoneName), ".")+".")
			}
		}
		slices.Sort(p.tenants)
		p.tenants = slices.Compact(p.tenants)
	}
	return nil
}

// quota is that of the Zone's tenant; nil without one.
func (p *pass) quota() *v1alpha1.Quota {
	if p.cluster == nil || p.verdict.Tenant == "" {
		return nil
	}
	for _, r := range p.cluster.Spec.AllowedNamespaces {
		if r.Name == p.verdict.Tenant {
			return r.Quota
		}
	}
	return nil
}

// found is what a pass has found.
type found struct {
	programmed, published conditions.Finding
	// zone as the primaries have it; nil when that is not known.
	zone        *adminapi.Zone
	secondaries string // such as 2/2
	healthy     string // the summary while there is no trouble
	tenant      string // what its tenant has of its quota
	soon        bool   // look again soon, although nothing is wrong
}

// report writes status, tells of transitions, and says when to look again.
func (p *pass) report(ctx context.Context, f found) (ctrl.Result, error) {
	old := p.zone.DeepCopy()
	s := &p.zone.Status
	s.ObservedGeneration, s.Tenant = p.zone.Generation, p.verdict.Tenant
	if f.zone != nil {
		s.Serial, s.Records, s.Incarnation = int64(f.zone.Serial), int64(f.zone.Records), int64(f.zone.Incarnation) //nolint:gosec // a log index
		s.Secondaries = f.secondaries
	}
	accepted := conditions.Good(v1alpha1.ConditionAccepted, "")
	if !p.verdict.Accepted {
		accepted = conditions.Bad(v1alpha1.ConditionAccepted, p.verdict.Reason, p.verdict.Message)
	}
	first := len(s.Conditions) == 0
	summary, transitions := conditions.Set(&s.Conditions, p.zone.Generation, p.cfg.Now(), f.healthy+f.tenant, accepted, f.programmed, f.published)
	s.Summary = summary
	if there, err := lookup.WriteStatus(ctx, p.cfg.Client, old, p.zone); err != nil || !there {
		return ctrl.Result{}, err
	}
	lookup.Tell(p.cfg.Recorder, p.zone, first, transitions)
	if f.soon || !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
		return ctrl.Result{RequeueAfter: p.cfg.Retry}, nil
	}
	return ctrl.Result{RequeueAfter: p.cfg.Look + time.Duration(p.siblings)*p.cfg.LookEach}, nil
}

// finalize does what spec.deletionPolicy says, and lets the object go.
func (p *pass) finalize(ctx context.Context) (ctrl.Result, error) {
	var remove func(context.Context) error
	if p.cluster != nil && p.cluster.DeletionTimestamp.IsZero() && p.zone.Spec.DeletionPolicy == v1alpha1.DeletionDelete {
		remove = p.deleteZone
	}
	again, err := lookup.Deletion{
		Client: p.cfg.Client, Recorder: p.cfg.Recorder, Logger: p.cfg.Logger, Now: p.cfg.Now, Kind: Kind,
		What: "zone " + string(p.zone.Spec.ZoneName), Done: "Deleted", Doing: "deleted",
		Left: "stays at the primaries, because they", Remedy: "delete it with: zonekeeper zone delete --detach",
	}.Finalize(ctx, p.zone, remove)
	if again {
		return ctrl.Result{RequeueAfter: p.cfg.Retry}, nil
	}
	return ctrl.Result{}, err
}

// accepted are the TSIGKeys of the Zone's namespace and cluster that the cluster has accepted.
func (p *pass) accepted(ctx context.Context) (zoneobject.Keys, error) {
	var l v1alpha1.TSIGKeyList
	if err := p.cfg.Client.List(ctx, &l, client.InNamespace(p.zone.Namespace)); err != nil {
		return nil, fmt.Errorf("TSIGKeys of namespace %s: %w", p.zone.Namespace, err)
	}
	keys := zoneobject.Keys{}
	for _, k := range slices.DeleteFunc(l.Items, func(k v1alpha1.TSIGKey) bool {
		return tenancy.ClusterOf(k.Namespace, k.Spec.ClusterRef) != client.ObjectKeyFromObject(p.cluster)
	}) {
		if meta.IsStatusConditionPresentAndEqual(k.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionTrue) && k.Status.KeyName != "" {
			keys[k.Name] = k.Status.KeyName
		}
	}
	return keys, nil
}

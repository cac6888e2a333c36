package keycontroller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/zonekeeper/zonekeeper/internal/operator/keyobject"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/tenancy"
)

// Kind of the objects, as primaries are told it.
const Kind = "TSIGKey"

// IndexCluster is the field by which TSIGKeys are listed: the NAMESPACE/NAME of their BindCluster.
const IndexCluster = "clusterRef"

// Config of the controller.
type Config struct {
	// Client reads Secrets by name; a cache of them is not needed.
	Client   client.Client
	Clusters *clusterapi.Clusters
	Recorder lookup.Recorder
	Now      func() time.Time
	Logger   *slog.Logger
	// Workers reconcile different TSIGKeys at the same time.
	Workers int
	// Retry is the time until the next pass when something was in the way, Look when nothing was: a secret that is given is read by then.
	Retry, Look time.Duration
}

// DefaultConfig has every value but Client, Clusters and Recorder.
func DefaultConfig() Config {
	return Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Workers: 2, Retry: 5 * time.Second, Look: 30 * time.Second}
}

// Validate names every value that can't work.
func (c Config) Validate() error {
	var errs []error
	if c.Client == nil || c.Clusters == nil || c.Recorder == nil || c.Now == nil || c.Logger == nil {
		errs = append(errs, errors.New("keycontroller: Client, Clusters, Recorder, Now and Logger are needed"))
	}
	if c.Workers < 1 || c.Retry <= 0 || c.Look <= 0 {
		errs = append(errs, errors.New("keycontroller: Workers and times must be positive; start from DefaultConfig"))
	}
	return errors.Join(errs...)
}

// Reconciler of TSIGKeys.
type Reconciler struct{ cfg Config }

// New gives a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Reconciler{cfg: cfg}, nil
}

// Index gives a TSIGKey's entry in IndexCluster.
func Index(o client.Object) []string {
	k, ok := o.(*v1alpha1.TSIGKey)
	if !ok {
		return nil
	}
	return []string{tenancy.ClusterOf(k.Namespace, k.Spec.ClusterRef).String()}
}

// SetupWithManager registers the controller. ctx bounds the registration only.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.TSIGKey{}, IndexCluster, Index); err != nil {
		return fmt.Errorf("keycontroller: %w", err)
	}
	waiting := func(k *v1alpha1.TSIGKey) bool {
		return !meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionAccepted)
	}
	return ctrl.NewControllerManagedBy(mgr).Named("tsigkey").
		For(&v1alpha1.TSIGKey{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		// One that goes may leave its name to one that waits.
		Watches(&v1alpha1.TSIGKey{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
			return r.keys(ctx, Index(o), waiting)
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.BindCluster{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
			return r.keys(ctx, []string{client.ObjectKeyFromObject(o).String()}, func(*v1alpha1.TSIGKey) bool { return true })
		}), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.cfg.Workers}).
		Complete(r)
}

// keys are requests for the TSIGKeys of clusters that are picked.
func (r *Reconciler) keys(ctx context.Context, clusters []string, pick func(*v1alpha1.TSIGKey) bool) []ctrl.Request {
	var out []ctrl.Request
	for _, c := range clusters {
		l, err := lookup.Requests(ctx, r.cfg.Client, &v1alpha1.TSIGKeyList{}, pick, client.MatchingFields{IndexCluster: c})
		if err != nil {
			r.cfg.Logger.Error("TSIGKeys of a cluster can't be listed", "cluster", c, "err", err)
		}
		out = append(out, l...)
	}
	return out
}

// pass is one reconciliation of a TSIGKey.
type pass struct {
	*Reconciler
	key     *v1alpha1.TSIGKey
	cluster *v1alpha1.BindCluster // nil: there is none
	verdict keyobject.Verdict
}

// Reconcile makes one pass.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &pass{Reconciler: r, key: &v1alpha1.TSIGKey{}}
	if err := r.cfg.Client.Get(ctx, req.NamespacedName, p.key); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	name := tenancy.ClusterOf(p.key.Namespace, p.key.Spec.ClusterRef)
	var err error
	if p.cluster, err = lookup.Cluster(ctx, r.cfg.Client, name); err != nil {
		return ctrl.Result{}, err
	}
	if p.cluster == nil {
		r.cfg.Clusters.Forget(name)
	}
	if !p.key.DeletionTimestamp.IsZero() {
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

// judge finds out whether the TSIGKey may be in its cluster.
func (p *pass) judge(ctx context.Context, cluster types.NamespacedName) error {
	var keys v1alpha1.TSIGKeyList
	if err := p.cfg.Client.List(ctx, &keys, client.MatchingFields{IndexCluster: cluster.String()}); err != nil {
		return fmt.Errorf("TSIGKeys of BindCluster %s: %w", cluster, err)
	}
	namespaces, err := lookup.Namespaces(ctx, p.cfg.Client)
	if err != nil {
		return err
	}
	p.verdict = keyobject.Accept(p.key, p.cluster, keys.Items, namespaces)
	return nil
}

// found is what a pass has found.
type found struct {
	programmed conditions.Finding
	// key as the primaries have it; nil when that is not known.
	key  *adminapi.Key
	step keyobject.Step
}

// report writes status, tells of transitions, and says when to look again.
func (p *pass) report(ctx context.Context, f found) (ctrl.Result, error) {
	old := p.key.DeepCopy()
	s := &p.key.Status
	s.ObservedGeneration, s.Tenant = p.key.Generation, p.verdict.Tenant
	accepted := conditions.Good(v1alpha1.ConditionAccepted, "")
	if p.verdict.Accepted {
		s.KeyName = keyobject.Name(p.key)
	} else {
		s.KeyName = ""
		accepted = conditions.Bad(v1alpha1.ConditionAccepted, p.verdict.Reason, p.verdict.Message)
	}
	healthy := ""
	if f.key != nil && len(f.key.Versions) > 0 {
		newest := f.key.Versions[0]
		s.SecretName = keyobject.SecretName(p.key)
		s.Version = int64(newest.Version) //nolint:gosec // counts secrets
		s.Rotated = at(newest.Created)
		s.RetireAt, s.NextRotation = at(f.step.RetireAt), at(f.step.NextRotation)
		s.UpdatesPerSecond = nil
		if r := f.key.Rate; r != nil && r.PerSecond > 0 {
			n := int32(r.PerSecond) //nolint:gosec // at most 1,000,000
			s.UpdatesPerSecond = &n
		}
		healthy = "one secret is valid"
		if len(f.key.Versions) > 1 {
			healthy = fmt.Sprintf("two secrets are valid until %s", f.step.RetireAt.UTC().Format(time.RFC3339))
		}
	}
	first := len(s.Conditions) == 0
	summary, transitions := conditions.Set(&s.Conditions, p.key.Generation, p.cfg.Now(), healthy, accepted, f.programmed)
	s.Summary = summary
	if there, err := lookup.WriteStatus(ctx, p.cfg.Client, old, p.key); err != nil || !there {
		return ctrl.Result{}, err
	}
	lookup.Tell(p.cfg.Recorder, p.key, first, transitions)
	if !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
		return ctrl.Result{RequeueAfter: p.cfg.Retry}, nil
	}
	again := p.cfg.Look
	for _, t := range []time.Time{f.step.RetireAt, f.step.NextRotation} {
		if wait := t.Sub(p.cfg.Now()); !t.IsZero() && wait < again {
			again = max(wait, time.Second)
		}
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// at is a time for status; nil for none.
func at(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	m := metav1.NewTime(t.Truncate(time.Second)) // as status has it
	return &m
}

// finalize does what spec.deletionPolicy says, and lets the object go. The Secret for clients goes with it in any case: it is the object's.
func (p *pass) finalize(ctx context.Context) (ctrl.Result, error) {
	var remove func(context.Context) error
	if p.cluster != nil && p.cluster.DeletionTimestamp.IsZero() && p.key.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		remove = p.deleteKey
	}
	again, err := lookup.Deletion{
		Client: p.cfg.Client, Recorder: p.cfg.Recorder, Logger: p.cfg.Logger, Now: p.cfg.Now, Kind: Kind,
		What: "key " + keyobject.Name(p.key), Done: "Revoked", Doing: "revoked",
		Left: "stays valid, because the primaries", Remedy: "revoke it with: zonekeeper key delete --detach",
	}.Finalize(ctx, p.key, remove)
	if again {
		return ctrl.Result{RequeueAfter: p.cfg.Retry}, nil
	}
	return ctrl.Result{}, err
}

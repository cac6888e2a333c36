package clustercontroller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/bindcluster"
	"github.com/zonekeeper/zonekeeper/internal/operator/pki"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// Config of the controller.
type Config struct {
	Settings  resources.Settings
	Lifetimes pki.Lifetimes
	// Interval is the time between two looks at a cluster that is what it is to be, BusyInterval at one that is not.
	Interval, BusyInterval time.Duration
	// AskTimeout bounds one question to one primary, VerifyTimeout the comparison of all copies.
	AskTimeout, VerifyTimeout time.Duration
	// StaleAfter without an answer what primaries said last is unknown. It is never called broken: the operator may be the one who is cut off.
	StaleAfter time.Duration
	// TrustWait is how long a Secret that was written takes to be read by every pod, with room to spare: the kubelet looks once a minute.
	TrustWait time.Duration
}

// DefaultConfig has every value but Settings.Image.
func DefaultConfig() Config {
	return Config{
		Settings: resources.DefaultSettings(), Lifetimes: pki.DefaultLifetimes(), Interval: 10 * time.Second, BusyInterval: 2 * time.Second,
		AskTimeout: 5 * time.Second, VerifyTimeout: 5 * time.Minute, StaleAfter: time.Minute, TrustWait: 5 * time.Minute,
	}
}

// Validate reports values that can't work.
func (c Config) Validate() error {
	errs := []error{c.Lifetimes.Validate()}
	if c.Interval <= 0 || c.BusyInterval <= 0 || c.AskTimeout <= 0 || c.VerifyTimeout <= 0 || c.StaleAfter <= 0 || c.TrustWait <= 0 {
		errs = append(errs, errors.New("clustercontroller: a time is not positive; start from DefaultConfig"))
	}
	return errors.Join(errs...)
}

// Dependencies are what the controller works with.
type Dependencies struct {
	// Client writes, and reads what may be a moment old.
	Client client.Client
	// Live reads from the API server itself: Secrets, which are in no cache, and what decides about a quorum.
	Live    client.Reader
	Connect Connect
	// Forget is told of a cluster that is gone.
	Forget  func(types.NamespacedName)
	Events  events.EventRecorder
	Metrics prometheus.Registerer
	Logger  *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Reconciler is the controller. Passes for different clusters may run at the same time.
type Reconciler struct {
	cfg     Config
	client  client.Client
	live    client.Reader
	connect Connect
	gone    func(types.NamespacedName)
	events  events.EventRecorder
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time

	applier applier
	mu      sync.Mutex
	memory  map[types.NamespacedName]*memory
}

// memory is what is known of a cluster beyond one pass. Without it everything goes on: more is asked, and what is stale counts from now.
type memory struct {
	answered   time.Time // when a primary has last answered, or when the first pass began
	registered string    // digest of the registrations that were made last
	at         time.Time // when
}

// New makes the controller.
func New(cfg Config, d Dependencies) (*Reconciler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(d.Metrics)
	if err != nil {
		return nil, fmt.Errorf("clustercontroller: metrics: %w", err)
	}
	return &Reconciler{
		cfg: cfg, client: d.Client, live: d.Live, connect: d.Connect, gone: d.Forget, events: d.Events, metrics: m, log: d.Logger, now: d.Now,
		applier: applier{last: map[objectKey]applied{}}, memory: map[types.NamespacedName]*memory{},
	}, nil
}

// Reconcile is one pass over one cluster.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cluster := &v1alpha1.BindCluster{}
	if err := r.client.Get(ctx, req.NamespacedName, cluster); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("BindCluster %s: %w", req, err)
	}
	if !cluster.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, r.remove(ctx, cluster)
	}
	f := facts{cluster: cluster, now: r.now(), life: r.cfg.Lifetimes.Leaf}
	err := r.pass(ctx, &f)
	var trouble *troubleError
	switch {
	case errors.As(err, &trouble):
		f.trouble, err = trouble, nil
	case errors.Is(err, errPaused), errors.Is(err, errAgain):
		err = nil
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		// Somebody else has written in between: this pass has seen what is no more. The next one looks again.
		r.log.Debug("pass given up", "cluster", req.String(), "err", err)
		return reconcile.Result{RequeueAfter: r.cfg.BusyInterval}, nil
	}
	f.err = err
	if err := errors.Join(err, r.report(ctx, &f)); err != nil {
		return reconcile.Result{}, err
	}
	if f.step.Done && f.trouble == nil {
		return reconcile.Result{RequeueAfter: r.cfg.Interval}, nil
	}
	return reconcile.Result{RequeueAfter: r.cfg.BusyInterval}, nil
}

// pass looks, decides and carries out, in the order that bindcluster.Step asks for. What it finds out is in f, also when it fails.
func (r *Reconciler) pass(ctx context.Context, f *facts) error {
	in := resources.Input{Cluster: f.cluster, Settings: r.cfg.Settings}
	var err error
	if in.Settings.PodMonitors, err = r.exists(podMonitorKind()); err != nil {
		return err
	}
	f.in = in
	kept, state, err := r.loadState(ctx, f.cluster, in)
	if err != nil {
		return err
	}
	in.State = state
	if in.VirtualIPs, in.Nodes, err = r.addresses(ctx, in); err != nil {
		return err
	}
	if in.Ungated, err = r.ungated(ctx, in); err != nil {
		return err
	}
	if in.LogTrust, err = r.logTrust(ctx, in); err != nil {
		return err
	}
	f.in = in
	objects, problems, err := resources.Build(in)
	if err != nil {
		return &troubleError{reason: v1alpha1.ReasonInvalid, message: err.Error()}
	}
	f.problems = problems
	_, template, err := templateOf(objects, in)
	if err != nil {
		return err
	}
	paused := r.paused(f.cluster)
	var trouble *troubleError
	if !paused {
		if err := r.finalizer(ctx, in); err != nil {
			return err
		}
		f.material, err = r.secrets(ctx, in)
		if err != nil && !errors.As(err, &trouble) {
			return err
		}
	}
	s, primaries, err := r.look(ctx, in, template)
	if err != nil {
		return err
	}
	f.seen = s
	r.remember(f)
	f.step = r.decide(ctx, in, s, primaries)
	if err := r.surroundings(ctx, f); err != nil {
		return err
	}
	if trouble != nil {
		return trouble
	}
	if paused {
		return errPaused
	}
	return r.carry(ctx, f, kept, primaries)
}

func (r *Reconciler) paused(c *v1alpha1.BindCluster) bool { return c.Spec.Paused }

// decide is the next step. Nothing is decided from a StatefulSet whose controller has not read yet what was applied last.
func (r *Reconciler) decide(ctx context.Context, in resources.Input, s *seen, primaries []Primary) bindcluster.Step {
	if s.set != nil && !s.changed && !s.settled {
		return bindcluster.Step{State: in.State, DeleteClaim: -1, Reason: v1alpha1.ReasonRollingOut, Message: "the StatefulSet's controller has not read the newest template yet"}
	}
	if s.set == nil && in.State.Formed {
		return bindcluster.Step{State: in.State, DeleteClaim: -1, Reason: v1alpha1.ReasonMembersMissing, Message: "the StatefulSet of the primaries is made"}
	}
	o := s.observed(in)
	step := bindcluster.Decide(o)
	if !step.Verify {
		return step
	}
	rep, err := first(ctx, primaries, r.cfg.VerifyTimeout, func(ctx context.Context, p Primary) (*adminapi.VerifyReport, error) { return p.Verify(ctx) })
	if err != nil {
		step.Reason, step.Message = v1alpha1.ReasonRolloutHeld, fmt.Sprintf("the copies can't be compared: %v", err)
		return step
	}
	o.Verified, o.Disagreement = true, disagreement(rep)
	return bindcluster.Decide(o)
}

// carry does the step, in the order that lets whoever is interrupted begin again.
func (r *Reconciler) carry(ctx context.Context, f *facts, kept *corev1.Secret, primaries []Primary) error {
	in, step := f.in, f.step
	if step.DeleteClaim >= 0 {
		if err := r.deleteClaim(ctx, in.Cluster.Namespace, in.PrimaryClaim(step.DeleteClaim)); err != nil {
			return err
		}
	}
	if step.State != in.State {
		if err := r.storeState(ctx, kept, step.State); err != nil {
			return err
		}
	}
	if step.State != in.State || step.Remove != "" {
		r.events.Eventf(f.cluster, nil, corev1.EventTypeNormal, step.Reason, "Step", "%s", short(step.Message))
		r.log.Info("step", "namespace", in.Cluster.Namespace, "cluster", in.Cluster.Name, "reason", step.Reason, "message", step.Message)
	}
	in.State = step.State
	f.in = in
	objects, _, err := resources.Build(in)
	if err != nil {
		return err
	}
	set, template, err := templateOf(objects, in)
	if err != nil {
		return err
	}
	set.Annotations = map[string]string{annotationTemplate: template}
	if f.storage, err = r.volumes(ctx, in, objects, step.Done); err != nil {
		return err
	}
	if err := r.applyAll(ctx, in, objects); err != nil {
		return err
	}
	if err := r.sweep(ctx, in, objects, in.Cluster.Spec.Certificates.Issuer != nil); err != nil {
		return err
	}
	if step.Remove != "" {
		_, err := first(ctx, primaries, r.cfg.AskTimeout, func(ctx context.Context, p Primary) (struct{}, error) {
			return struct{}{}, p.RemoveMember(ctx, step.Remove)
		})
		if err != nil {
			return fmt.Errorf("%s is asked to leave: %w", step.Remove, err)
		}
	}
	return r.registerAll(ctx, f, primaries)
}

// applyAll applies the cluster's own objects, those first that others need. What fails in the fronts' namespace keeps nothing else back.
func (r *Reconciler) applyAll(ctx context.Context, in resources.Input, objects []resources.Object) error {
	var outside []error
	for _, o := range objects {
		err := r.apply(ctx, o)
		switch {
		case err == nil:
		case o.GetNamespace() == in.Settings.FrontNamespace && in.Cluster.Namespace != in.Settings.FrontNamespace:
			outside = append(outside, err)
		default:
			return err
		}
	}
	return errors.Join(outside...)
}

// registerEvery is how often registrations are looked at although nothing has changed: somebody may have deleted one.
const registerEvery = 5 * time.Minute

// registerAll makes the primaries know the secondaries, as soon as one of them takes changes.
func (r *Reconciler) registerAll(ctx context.Context, f *facts, primaries []Primary) error {
	if len(primaries) == 0 || !f.anyReady() {
		return nil
	}
	want := registrations(f.in, f.material.secondaryKeys)
	text := fmt.Sprintf("%q", want)
	m := r.remembered(f.cluster)
	if m.registered == digest([]byte(text)) && f.now.Sub(m.at) < registerEvery {
		return nil
	}
	_, err := first(ctx, primaries[:1], registerTimeout, func(ctx context.Context, p Primary) (struct{}, error) { return struct{}{}, register(ctx, p, want) })
	if err != nil {
		return fmt.Errorf("secondaries: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.registered, m.at = digest([]byte(text)), f.now
	return nil
}

// registerTimeout bounds the registration of all secondaries: two changes each, which a primary settles within 15 s when etcd's leader has gone.
const registerTimeout = time.Minute

// surroundings reads what status tells of besides the primaries.
func (r *Reconciler) surroundings(ctx context.Context, f *facts) error {
	in := f.in
	get := func(name, namespace string, o client.Object) (bool, error) {
		err := r.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%T %s/%s: %w", o, namespace, name, err)
		}
		return true, nil
	}
	var set appsv1.StatefulSet
	if ok, err := get(in.SecondaryName(), in.Cluster.Namespace, &set); err != nil {
		return err
	} else if ok {
		f.secondaries = &set
	}
	for _, e := range in.Cluster.Spec.Exposures {
		x := exposed{exposure: e}
		if e.Type == v1alpha1.ExposureVIP {
			x.vip = in.VirtualIPs[e.VIP.VirtualIP]
			d, err := r.daemonSet(ctx, in, e)
			if err != nil {
				return err
			}
			if d != nil {
				x.ready, x.wanted = d.Status.NumberReady, d.Status.DesiredNumberScheduled
			}
			f.exposures = append(f.exposures, x)
			continue
		}
		var d appsv1.Deployment
		var s corev1.Service
		ok, err := get(in.FrontName(e.Name), in.Cluster.Namespace, &d)
		if err != nil {
			return err
		}
		if ok && d.Spec.Replicas != nil {
			x.ready, x.wanted = d.Status.ReadyReplicas, *d.Spec.Replicas
		}
		if ok, err = get(in.FrontName(e.Name), in.Cluster.Namespace, &s); err != nil {
			return err
		} else if ok {
			x.service = &s
		}
		f.exposures = append(f.exposures, x)
	}
	return nil
}

// Finalizer keeps a BindCluster that has what no owner reference takes away: objects in the fronts' namespace, or volumes that go with it.
const Finalizer = v1alpha1.Group + "/outside"

// finalizer is there exactly while it is needed: without an operator nothing else could take it away.
func (r *Reconciler) finalizer(ctx context.Context, in resources.Input) error {
	c := in.Cluster
	need := in.HasVIP() || c.Spec.DeletionPolicy == v1alpha1.DeletionDelete
	if need == controllerutil.ContainsFinalizer(c, Finalizer) {
		return nil
	}
	if !need {
		if err := r.clearOutside(ctx, in); err != nil {
			return err
		}
	}
	return r.setFinalizer(ctx, c, need)
}

func (r *Reconciler) setFinalizer(ctx context.Context, c *v1alpha1.BindCluster, want bool) error {
	before := c.DeepCopy()
	if want {
		controllerutil.AddFinalizer(c, Finalizer)
	} else {
		controllerutil.RemoveFinalizer(c, Finalizer)
	}
	// With the version that was read, because a list of finalizers is replaced as a whole.
	err := r.client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("finalizer of BindCluster %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

func (r *Reconciler) remembered(c *v1alpha1.BindCluster) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	m := r.memory[key]
	if m == nil {
		m = &memory{answered: r.now()}
		r.memory[key] = m
	}
	return m
}

// remember notes that a primary has answered, and tells f how long ago one has.
func (r *Reconciler) remember(f *facts) {
	m := r.remembered(f.cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.seen.anyAnswer() {
		m.answered = f.now
	}
	f.answered, f.stale = m.answered, f.now.Sub(m.answered) > r.cfg.StaleAfter
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	delete(r.memory, key)
	r.mu.Unlock()
	r.applier.forget(key.Namespace)
	r.metrics.forget(key.Namespace, key.Name)
	r.gone(key)
}

// digest is short: it tells versions apart and proves nothing.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

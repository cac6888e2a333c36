package clustercontroller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/bindcluster"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// annotationTemplate on the primaries' StatefulSet is a digest of the pod template that was built: what the API server shows has its defaults.
const annotationTemplate = v1alpha1.Group + "/template"

// Primary is the admin API of one primary; *adminapi.Client is one. It is asked by its own address, and answers for itself. It is safe for
// concurrent use.
type Primary interface {
	Replica(ctx context.Context) (*adminapi.ReplicaStatus, error)
	Status(ctx context.Context) (*adminapi.Status, error)
	Members(ctx context.Context) ([]adminapi.Member, error)
	RemoveMember(ctx context.Context, name string) error
	Verify(ctx context.Context) (*adminapi.VerifyReport, error)
	Catalog(ctx context.Context) (*adminapi.Catalog, error)
	Keys(ctx context.Context) ([]adminapi.Key, error)
	Key(ctx context.Context, name string, secret bool) (*adminapi.Key, error)
	AddKey(ctx context.Context, k adminapi.AddKey) (*adminapi.Key, error)
	RotateKey(ctx context.Context, name string, r adminapi.RotateKey) (*adminapi.Key, error)
	RetireKey(ctx context.Context, name string) (*adminapi.Key, error)
	DeleteKey(ctx context.Context, name, confirm string) error
	Secondaries(ctx context.Context) ([]adminapi.Secondary, error)
	PutSecondary(ctx context.Context, s adminapi.Secondary) error
	DeleteSecondary(ctx context.Context, name string) error
}

// Connect gives the admin APIs of a cluster's primaries, by ordinal, as many as there may be. It opens no connection. An error says why none
// can be asked, such as a certificate that is not there yet.
type Connect func(ctx context.Context, cluster *v1alpha1.BindCluster) ([]Primary, error)

// seen is what one pass has seen.
type seen struct {
	set     *appsv1.StatefulSet // the primaries', nil when there is none
	pods    []*corev1.Pod       // the primaries', by ordinal; nil where there is none
	updated []bool
	changed bool
	// settled: the StatefulSet's controller has read what was applied last.
	settled  bool
	replicas []*adminapi.ReplicaStatus
	errs     []error // of asking each
	members  []adminapi.Member
	status   *adminapi.Status // of one that answers, nil when none does
	keys     int
	catalog  string // the name of the catalog zone, "" when there is none
}

// reach are the primaries that can be asked, those first that are ready.
func (r *Reconciler) reach(ctx context.Context, cluster *v1alpha1.BindCluster, s *seen, n int) []Primary {
	s.replicas, s.errs = make([]*adminapi.ReplicaStatus, n), make([]error, n)
	primaries, err := r.connect(ctx, cluster)
	if err != nil {
		for i := range s.errs {
			s.errs[i] = err
		}
		return nil
	}
	var wg sync.WaitGroup
	for i, p := range primaries[:min(n, len(primaries))] {
		if i < len(s.pods) && s.pods[i] == nil {
			s.errs[i] = errors.New("it has no pod")
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, r.cfg.AskTimeout)
			defer cancel()
			s.replicas[i], s.errs[i] = p.Replica(ctx)
		})
	}
	wg.Wait()
	var ready, others []Primary
	for i, p := range primaries[:min(n, len(primaries))] {
		result := "answered"
		switch a := s.replicas[i]; {
		case a == nil:
			result = "failed"
		case a.Ready:
			ready = append(ready, p)
		default:
			others = append(others, p)
		}
		r.metrics.asked.WithLabelValues(result).Inc()
	}
	return append(ready, others...)
}

// first asks one primary after another until one answers.
func first[T any](ctx context.Context, primaries []Primary, limit time.Duration, ask func(context.Context, Primary) (T, error)) (T, error) {
	var none T
	errs := []error{errNobody}
	for _, p := range primaries {
		ctx, cancel := context.WithTimeout(ctx, limit)
		v, err := ask(ctx, p)
		cancel()
		if err == nil {
			return v, nil
		}
		errs = append(errs, err)
	}
	return none, errors.Join(errs...)
}

// errNobody: no primary has answered a question.
var errNobody = errors.New("no primary has answered")

// look sees what there is: objects from the API server itself, because steps that cost a quorum its members must not follow from a cache.
func (r *Reconciler) look(ctx context.Context, in resources.Input, template string) (*seen, []Primary, error) {
	s := &seen{}
	set := &appsv1.StatefulSet{}
	err := r.live.Get(ctx, client.ObjectKey{Namespace: in.Cluster.Namespace, Name: in.PrimaryName()}, set)
	switch {
	case err == nil:
		s.set = set
		s.changed = set.Annotations[annotationTemplate] != template
		s.settled = set.Status.ObservedGeneration >= set.Generation
	case !apierrors.IsNotFound(err):
		return nil, nil, fmt.Errorf("StatefulSet %s/%s: %w", in.Cluster.Namespace, in.PrimaryName(), err)
	}
	var pods corev1.PodList
	if err := r.live.List(ctx, &pods, client.InNamespace(in.Cluster.Namespace), client.MatchingLabels(in.Selector(resources.ComponentPrimary))); err != nil {
		return nil, nil, fmt.Errorf("pods of %s/%s: %w", in.Cluster.Namespace, in.PrimaryName(), err)
	}
	s.place(in, pods.Items)
	primaries := r.reach(ctx, in.Cluster, s, in.State.Members)
	if members, err := first(ctx, primaries, r.cfg.AskTimeout, func(ctx context.Context, p Primary) ([]adminapi.Member, error) { return p.Members(ctx) }); err == nil {
		s.members = members
	}
	if status, err := first(ctx, primaries, r.cfg.AskTimeout, func(ctx context.Context, p Primary) (*adminapi.Status, error) { return p.Status(ctx) }); err == nil {
		s.status = status
	}
	if keys, err := first(ctx, primaries, r.cfg.AskTimeout, func(ctx context.Context, p Primary) ([]adminapi.Key, error) { return p.Keys(ctx) }); err == nil {
		s.keys = len(keys)
	}
	if catalog, err := first(ctx, primaries, r.cfg.AskTimeout, func(ctx context.Context, p Primary) (*adminapi.Catalog, error) { return p.Catalog(ctx) }); err == nil {
		s.catalog = catalog.Name
	}
	return s, primaries, nil
}

// place sorts pods by ordinal, and says which run the newest template.
func (s *seen) place(in resources.Input, pods []corev1.Pod) {
	s.pods, s.updated = make([]*corev1.Pod, in.State.Members), make([]bool, in.State.Members)
	for i := range s.pods {
		n := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name == in.PrimaryPod(i) })
		if n < 0 {
			continue
		}
		s.pods[i] = &pods[n]
		s.updated[i] = s.set != nil && pods[n].Labels[appsv1.ControllerRevisionHashLabelKey] == s.set.Status.UpdateRevision
	}
}

// observed is what the next step is decided from.
func (s *seen) observed(in resources.Input) bindcluster.Observed {
	return bindcluster.Observed{
		Wanted: int(in.Cluster.Spec.Primaries.Replicas), State: in.State, External: in.Cluster.Spec.ExternalLog != nil,
		Changed: s.set != nil && s.changed, Updated: s.updated, Replicas: s.replicas, Members: s.members,
	}
}

// templateOf is a digest of the pod template of the primaries among objects.
func templateOf(objects []resources.Object, in resources.Input) (*appsv1.StatefulSet, string, error) {
	for _, o := range objects {
		set, ok := o.(*appsv1.StatefulSet)
		if !ok || set.Name != in.PrimaryName() {
			continue
		}
		text, err := json.Marshal(set.Spec.Template)
		if err != nil {
			return nil, "", fmt.Errorf("template of %s: %w", set.Name, err)
		}
		return set, digest(text), nil
	}
	return nil, "", fmt.Errorf("no StatefulSet %s was built", in.PrimaryName())
}

// disagreement says how copies of zones differ, "" when none does. One that could not be compared is no difference.
func disagreement(rep *adminapi.VerifyReport) string {
	for _, z := range rep.Zones {
		seen := map[uint32]adminapi.VerifyCopy{}
		for _, c := range z.Copies {
			if c.Error != "" {
				continue
			}
			if other, ok := seen[c.Serial]; ok && other.Digest != c.Digest {
				return fmt.Sprintf("zone %s at serial %d differs between %s and %s; keep the volumes, and report a bug", z.Name, c.Serial, other.Server, c.Server)
			}
			seen[c.Serial] = c
		}
	}
	return ""
}

// cannotRun says why a pod of the newest template does not start, "" when all do.
func (s *seen) cannotRun() string {
	for i, p := range s.pods {
		if p == nil || !s.updated[i] {
			continue
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			w := c.State.Waiting
			if w == nil || !slices.Contains(badReasons(), w.Reason) {
				continue
			}
			text := fmt.Sprintf("pod %s: %s", p.Name, w.Reason)
			if w.Message != "" {
				text += ": " + strings.TrimSpace(w.Message)
			}
			return text
		}
	}
	return ""
}

// badReasons are the kubelet's words for what does not mend itself.
func badReasons() []string {
	return []string{"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RunContainerError"}
}

// Package lookup finds what Zones and TSIGKeys have in common: the cluster that they name, the labels of namespaces, and what an error of a primary
// means for a condition.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/clusterapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
)

// Finalizer keeps a Zone or TSIGKey until the primaries were told, for DeletionLimit at most.
const Finalizer = v1alpha1.Group + "/primaries"

// DeletionLimit is how long a deletion waits for the primaries.
const DeletionLimit = 5 * time.Minute

// ErrPaused: the cluster's owner has told the operator to change nothing.
var ErrPaused = errors.New("the BindCluster has spec.paused, so the operator changes nothing; set it to false")

// Trouble is one that the object's owner can do something about.
type Trouble struct{ Reason, Message string }

func (t *Trouble) Error() string { return t.Message }

// Recorder tells of transitions. It is safe for concurrent use.
type Recorder interface {
	Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any)
}

// Cluster gives the BindCluster of a name; nil when there is none.
func Cluster(ctx context.Context, read client.Reader, name types.NamespacedName) (*v1alpha1.BindCluster, error) {
	var c v1alpha1.BindCluster
	err := read.Get(ctx, name, &c)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("BindCluster %s: %w", name, err)
	}
	return &c, nil
}

// Namespaces gives the labels of all namespaces.
func Namespaces(ctx context.Context, read client.Reader) (map[string]map[string]string, error) {
	var l corev1.NamespaceList
	if err := read.List(ctx, &l); err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	out := make(map[string]map[string]string, len(l.Items))
	for _, n := range l.Items {
		out[n.Name] = n.Labels
	}
	return out, nil
}

// Failure is what an error means: a Trouble, or one on the way to the primaries, or their answer.
func Failure(condition string, err error) conditions.Finding {
	var trouble *Trouble
	switch {
	case errors.As(err, &trouble):
		return conditions.Bad(condition, trouble.Reason, trouble.Message)
	case errors.Is(err, ErrPaused):
		return conditions.Bad(condition, v1alpha1.ReasonPaused, err.Error())
	case errors.Is(err, clusterapi.ErrNoCertificate):
		return conditions.Unknown(condition, v1alpha1.ReasonPending, err.Error())
	case adminapi.IsCode(err, adminapi.CodeManaged):
		return conditions.Bad(condition, v1alpha1.ReasonManagedElsewhere, err.Error())
	case adminapi.IsCode(err, adminapi.CodeInvalid), adminapi.IsCode(err, adminapi.CodeConflict):
		return conditions.Bad(condition, v1alpha1.ReasonInvalid, err.Error())
	}
	return conditions.Unknown(condition, v1alpha1.ReasonUnreachable, err.Error())
}

// Tell makes events of transitions: a warning of what is bad, and of what is good again where it was not. first is before any status was written: what is
// good then is no news but for Ready.
func Tell(r Recorder, o runtime.Object, first bool, transitions []conditions.Finding) {
	for _, f := range transitions {
		switch {
		case f.Status == "False" && f.Type != v1alpha1.ConditionReady:
			r.Eventf(o, nil, corev1.EventTypeWarning, f.Reason, "Reconcile", "%s: %.900s", f.Type, f.Message)
		case f.Status == "True" && (f.Type == v1alpha1.ConditionReady || !first):
			r.Eventf(o, nil, corev1.EventTypeNormal, f.Type, "Reconcile", "%.900s", f.Message)
		}
	}
}

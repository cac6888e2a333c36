package clustercontroller

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// stateEntry of the Secret NAME-bootstrap holds storedState.
const stateEntry = "state.json"

// storedState is resources.State as it is kept. Fields are never renamed: an operator of another version reads it.
type storedState struct {
	Token     string `json:"token"`
	Initial   int    `json:"initial"`
	Formed    bool   `json:"formed"`
	Members   int    `json:"members"`
	Peers     int    `json:"peers"`
	Partition int    `json:"partition"`
	Leaving   bool   `json:"leaving,omitempty"`
}

func encodeState(s resources.State) ([]byte, error) {
	b, err := json.Marshal(storedState(s))
	if err != nil {
		return nil, fmt.Errorf("state of the cluster: %w", err)
	}
	return b, nil
}

func decodeState(b []byte) (resources.State, error) {
	var s storedState
	if err := json.Unmarshal(b, &s); err != nil {
		return resources.State{}, fmt.Errorf("entry %s: %w; restore the Secret from a backup", stateEntry, err)
	}
	if s.Token == "" || s.Members < 1 {
		return resources.State{}, fmt.Errorf("entry %s has no token or no members; restore the Secret from a backup", stateEntry)
	}
	return resources.State(s), nil
}

// newToken tells this cluster's log from any other one.
func newToken() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("token of the cluster: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// loadState reads the cluster's state, or mints that of one which was never started. There are volumes and no state: that is an answer for
// people. Started as a new cluster, empty disks would form a log of their own beside the one that is on the others.
func (r *Reconciler) loadState(ctx context.Context, cluster *v1alpha1.BindCluster, in resources.Input) (*corev1.Secret, resources.State, error) {
	var s corev1.Secret
	key := client.ObjectKey{Namespace: cluster.Namespace, Name: in.Bootstrap()}
	err := r.live.Get(ctx, key, &s)
	if err == nil {
		state, err := decodeState(s.Data[stateEntry])
		if err != nil {
			return nil, state, &troubleError{reason: v1alpha1.ReasonStateMissing, message: fmt.Sprintf("Secret %s: %v", key.Name, err)}
		}
		return &s, state, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, resources.State{}, fmt.Errorf("Secret %s: %w", key, err)
	}
	claims, err := r.claims(ctx, cluster, in.Selector(resources.ComponentPrimary))
	if err != nil {
		return nil, resources.State{}, err
	}
	if len(claims) > 0 {
		return nil, resources.State{}, &troubleError{reason: v1alpha1.ReasonStateMissing, message: fmt.Sprintf(
			"Secret %s is gone, and claim %s of a primary is there; restore the Secret from a backup of the objects, or delete the claims to begin with no zones",
			key.Name, claims[0].Name)}
	}
	if r.paused(cluster) {
		return nil, resources.State{}, errPaused
	}
	token, err := newToken()
	if err != nil {
		return nil, resources.State{}, err
	}
	state := resources.NewState(cluster.Spec.Primaries.Replicas, token)
	text, err := encodeState(state)
	if err != nil {
		return nil, state, err
	}
	s = corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace, Labels: in.Labels(resources.ComponentPrimary)},
		Data: map[string][]byte{stateEntry: text}}
	if err := r.client.Create(ctx, &s); err != nil {
		return nil, state, fmt.Errorf("Secret %s: %w", key, err)
	}
	return &s, state, nil
}

// storeState replaces the state that was read. Another writer in between is an error, and the next pass begins with what that one wrote.
func (r *Reconciler) storeState(ctx context.Context, s *corev1.Secret, state resources.State) error {
	text, err := encodeState(state)
	if err != nil {
		return err
	}
	next := s.DeepCopy()
	next.Data[stateEntry] = text
	if err := r.client.Update(ctx, next); err != nil {
		return fmt.Errorf("Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// errPaused: spec.paused forbids what would have to be done first.
var errPaused = errors.New("the cluster is paused")

// troubleError is what only people can mend; it goes into the conditions with its reason.
type troubleError struct{ reason, message string }

func (e *troubleError) Error() string { return e.message }

// errAgain: what was done has to be seen before anything else is.
var errAgain = errors.New("to be looked at again")

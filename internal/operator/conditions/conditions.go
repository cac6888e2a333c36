// Package conditions writes the conditions of Zones and TSIGKeys: what Ready sums up, in one line what to do, and which events tell of a change.
// It is pure.
package conditions

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Finding is one condition as it was found.
type Finding struct {
	Type   string
	Status metav1.ConditionStatus
	// Reason of api/v1alpha1/conditions.go; Message says what to do where Status is not True.
	Reason, Message string
}

// Good is a finding without trouble.
func Good(kind, message string) Finding {
	return Finding{kind, metav1.ConditionTrue, v1alpha1.ReasonHealthy, message}
}

// Bad is trouble.
func Bad(kind, reason, message string) Finding {
	return Finding{kind, metav1.ConditionFalse, reason, message}
}

// Unknown is what can't be said now.
func Unknown(kind, reason, message string) Finding {
	return Finding{kind, metav1.ConditionUnknown, reason, message}
}

// maxMessage is what the API server takes.
const maxMessage = 32768

// Set puts findings into a list of conditions, with Ready, which sums them up, and returns the findings that differ from what there was in
// status or reason: transitions. healthy is the summary while there is no trouble.
func Set(list *[]metav1.Condition, generation int64, now time.Time, healthy string, findings ...Finding) (summary string, transitions []Finding) {
	ready := Good(v1alpha1.ConditionReady, healthy)
	for _, f := range findings {
		if f.Status != metav1.ConditionTrue {
			ready = Finding{v1alpha1.ConditionReady, f.Status, f.Reason, f.Message}
			break // they are in the order in which one needs the other
		}
	}
	for _, f := range append(slices.Clone(findings), ready) {
		old := meta.FindStatusCondition(*list, f.Type)
		if old == nil || old.Status != f.Status || old.Reason != f.Reason {
			transitions = append(transitions, f)
		}
		if len(f.Message) > maxMessage {
			f.Message = f.Message[:maxMessage]
		}
		meta.SetStatusCondition(list, metav1.Condition{Type: f.Type, Status: f.Status, Reason: f.Reason, Message: f.Message,
			ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now)})
	}
	return ready.Message, transitions
}

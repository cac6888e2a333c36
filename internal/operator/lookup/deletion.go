package lookup

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// Deletion is how an object goes whose content elsewhere, such as at the primaries, goes with it.
type Deletion struct {
	Client   client.Client
	Recorder Recorder
	Logger   *slog.Logger
	Now      func() time.Time

	Kind string
	// Finalizer is Finalizer when empty.
	Finalizer string
	// What is deleted, such as "key k.dns."; Done is the reason and Doing the word of that: Revoked, revoked.
	What, Done, Doing string
	// Left says what is when the primaries could not be told, up to these words; Remedy is what a person can do then.
	Left, Remedy string
}

// Finalize deletes at the primaries by remove, unless that is nil, and lets the object go: after DeletionLimit in any case. It reports whether it has
// to be called again.
func (d Deletion) Finalize(ctx context.Context, o client.Object, remove func(context.Context) error) (again bool, err error) {
	finalizer := cmp.Or(d.Finalizer, Finalizer)
	if !controllerutil.ContainsFinalizer(o, finalizer) {
		return false, nil
	}
	if remove != nil {
		err := remove(ctx)
		late := d.Now().Sub(o.GetDeletionTimestamp().Time) >= DeletionLimit
		switch {
		case err != nil && !late:
			d.Logger.Warn("it could not be deleted yet", "what", d.What, "object", d.Kind+" "+client.ObjectKeyFromObject(o).String(), "err", err)
			return true, nil
		case err != nil:
			d.Recorder.Eventf(o, nil, corev1.EventTypeWarning, "Abandoned", "Delete",
				"%s %s could not be told within %s: %.700v; %s", d.What, d.Left, DeletionLimit, err, d.Remedy)
		default:
			d.Recorder.Eventf(o, nil, corev1.EventTypeNormal, d.Done, "Delete", "%s is %s", d.What, d.Doing)
		}
	}
	return false, LetGo(ctx, d.Client, d.Kind, finalizer, o)
}

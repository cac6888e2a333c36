package lookup

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// Requests are those for the objects of a list that are picked. list is filled with what the options select.
func Requests[T client.Object](ctx context.Context, read client.Reader, list client.ObjectList, pick func(T) bool, options ...client.ListOption) (out []ctrl.Request, err error) {
	if err := read.List(ctx, list, options...); err != nil {
		return nil, err
	}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		if t, ok := o.(T); ok && pick(t) {
			out = append(out, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(t)})
		}
		return nil
	})
	return out, err
}

// WriteStatus writes an object's status if it differs from old's, which is all that may. there is false when the object is gone.
func WriteStatus(ctx context.Context, c client.Client, old, now client.Object) (there bool, err error) {
	if equality.Semantic.DeepEqual(old, now) {
		return true, nil
	}
	if err := c.Status().Patch(ctx, now, client.MergeFrom(old)); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return true, nil
}

// Keep adds a finalizer, before anything is made that it would have to undo.
func Keep(ctx context.Context, c client.Client, kind, finalizer string, o client.Object) error {
	return edit(ctx, c, kind, o, func() bool { return controllerutil.AddFinalizer(o, finalizer) })
}

// LetGo removes it. An object that is gone already is no error.
func LetGo(ctx context.Context, c client.Client, kind, finalizer string, o client.Object) error {
	return client.IgnoreNotFound(edit(ctx, c, kind, o, func() bool { return controllerutil.RemoveFinalizer(o, finalizer) }))
}

// Adopted removes the annotation by which something was taken over: it has served, and would undo a later --detach.
func Adopted(ctx context.Context, c client.Client, kind string, o client.Object) error {
	return edit(ctx, c, kind, o, func() bool {
		_, there := o.GetAnnotations()[v1alpha1.AnnotationAdopt]
		delete(o.GetAnnotations(), v1alpha1.AnnotationAdopt)
		return there
	})
}

// edit writes an object's metadata if change has changed it, and nobody else has in between.
func edit(ctx context.Context, c client.Client, kind string, o client.Object, change func() bool) error {
	old, ok := o.DeepCopyObject().(client.Object)
	if !ok || !change() {
		return nil
	}
	if err := c.Patch(ctx, o, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("%s %s: %w", kind, client.ObjectKeyFromObject(o), err)
	}
	return nil
}

package operatortest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// patience is how long passes are made.
const patience = 30 * time.Second

// Pass makes one pass for an object.
func Pass(t testing.TB, r reconcile.Reconciler, o client.Object) (ctrl.Result, error) {
	t.Helper()
	return r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)})
}

// Settled makes passes until the object is as want says, and gives it.
func Settled[T client.Object](t testing.TB, rig *Rig, r reconcile.Reconciler, kube client.Reader, o T, want func(T) bool) T {
	t.Helper()
	var now T
	rig.Cluster.For(t).Until(patience, o.GetName()+" to settle", func(ctx context.Context) error {
		if _, err := Pass(t, r, o); err != nil {
			return err
		}
		var err error
		if now, err = get[T](ctx, kube, o); err != nil {
			return err
		}
		if !want(now) {
			return fmt.Errorf("it is %+v", now)
		}
		return nil
	})
	return now
}

// Vanishes makes passes until an object that is being deleted is gone.
func Vanishes[T client.Object](t testing.TB, rig *Rig, r reconcile.Reconciler, kube client.Reader, o T) {
	t.Helper()
	rig.Cluster.For(t).Until(patience, o.GetName()+" to go", func(ctx context.Context) error {
		if _, err := Pass(t, r, o); err != nil {
			return err
		}
		_, err := get[T](ctx, kube, o)
		if err == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

// get reads an object into a new one: what the API server leaves out is not there.
func get[T client.Object](ctx context.Context, kube client.Reader, o T) (T, error) {
	now, _ := reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T) // T is a pointer
	return now, kube.Get(ctx, client.ObjectKeyFromObject(o), now)
}

// Told says whether one of the events that wait has some words, and drops those before it.
func Told(events <-chan string, what string) bool {
	for {
		select {
		case e := <-events:
			if strings.Contains(e, what) {
				return true
			}
		default:
			return false
		}
	}
}

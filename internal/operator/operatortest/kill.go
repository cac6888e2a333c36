package operatortest

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ErrKilled is what everything answers to an operator that was killed.
var ErrKilled = errors.New("the operator was killed")

// Kill ends an operator before one of its calls, to Kubernetes or to a primary. The zero Kill never does.
type Kill struct {
	armed atomic.Bool
	left  atomic.Int64
	hit   atomic.Bool
}

// After lets n calls happen, and none after them.
func (k *Kill) After(n int) {
	k.hit.Store(false)
	k.left.Store(int64(n))
	k.armed.Store(true)
}

// Disarm lets everything happen, and says whether the operator was killed.
func (k *Kill) Disarm() bool {
	k.armed.Store(false)
	return k.hit.Load()
}

func (k *Kill) step() error {
	if k.armed.Load() && k.left.Add(-1) < 0 {
		k.hit.Store(true)
		return ErrKilled
	}
	return nil
}

// Calls counts what goes to Kubernetes.
func (k *Kill) Calls() interceptor.Funcs {
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := k.step(); err != nil {
				return err
			}
			return c.Get(ctx, key, o, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := k.step(); err != nil {
				return err
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := k.step(); err != nil {
				return err
			}
			return c.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := k.step(); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := k.step(); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}
}

// Conn counts what goes to a primary: what is sent, and what is heard of it, so that an operator is also killed after a request and before its answer.
func (k *Kill) Conn(_ string, c net.Conn) net.Conn { return &mortal{Conn: c, kill: k} }

type mortal struct {
	net.Conn
	kill *Kill
}

func (m *mortal) Write(b []byte) (int, error) {
	if err := m.kill.step(); err != nil {
		_ = m.Conn.Close() // as the kernel does it
		return 0, err
	}
	return m.Conn.Write(b)
}

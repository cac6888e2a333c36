package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/test/harness"
)

// TestKeyNumbers: the versions of keys are one sequence for the whole cluster, and whoever adds and rotates keys need not know
// of others who do so at the same time. The same key twice is another matter: one of them is told that it exists.
func TestKeyNumbers(t *testing.T) {
	c := harness.Start(t, nil)
	const adders, keysEach, same = 12, 4, "same."
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	used := map[uint64]string{} // versions, and what for
	took := func(what string, k *adminapi.Key, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		v := k.Versions[0].Version
		if other, ok := used[v]; ok {
			t.Errorf("%s and %s have version %d", what, other, v)
		}
		used[v] = what
	}
	exist := 0
	var wg sync.WaitGroup
	for i := range adders {
		api := c.Admin[c.Names()[i%len(c.Names())]]
		wg.Go(func() {
			k, err := api.AddKey(ctx, adminapi.AddKey{Name: same})
			if adminapi.IsCode(err, adminapi.CodeConflict) {
				mu.Lock()
				exist++
				mu.Unlock()
			} else {
				took("add "+same, k, err)
			}
			for j := range keysEach {
				name := fmt.Sprintf("k-%d-%d.", i, j)
				k, err := api.AddKey(ctx, adminapi.AddKey{Name: name})
				took("add "+name, k, err)
				k, err = api.RotateKey(ctx, name, adminapi.RotateKey{})
				took("rotate "+name, k, err)
			}
		})
	}
	wg.Wait()
	if want := adders*keysEach*2 + 1; len(used) != want {
		t.Errorf("%d changes of keys succeeded, want %d", len(used), want)
	}
	if exist != adders-1 {
		t.Errorf("%d were told that %s exists, want %d", exist, same, adders-1)
	}
	for _, name := range c.Names() {
		keys, err := c.Admin[name].Keys(ctx)
		if err != nil {
			t.Fatal(err)
		}
		secrets := 0
		for _, k := range keys {
			secrets += len(k.Versions)
		}
		if want := len(used) + 1; secrets != want { // the cluster's own is there too
			t.Errorf("%s has %d secrets, want %d", name, secrets, want)
		}
	}
	c.Verified()
}

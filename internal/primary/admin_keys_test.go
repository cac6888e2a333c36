package primary

import (
	"context"
	"errors"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/replica"
)

// A number that is taken is the one reason for another proposal: after any other outcome, a second one might be applied beside
// the first.
func TestNumbered(t *testing.T) {
	taken := &adminapi.Error{Code: adminapi.CodeConflict, Message: "version 2 was used before"}
	exists := &adminapi.Error{Code: adminapi.CodeConflict, Message: "it exists"}
	for what, c := range map[string]struct {
		first int   // how many find their number taken
		then  error // what becomes of the one after them
		tries int
		want  func(error) bool
	}{
		"done":         {0, nil, 1, func(err error) bool { return err == nil }},
		"then done":    {5, nil, 6, func(err error) bool { return err == nil }},
		"refused":      {1, exists, 2, func(err error) bool { return errors.Is(err, exists) }},
		"in doubt":     {1, replica.ErrInDoubt, 2, func(err error) bool { return errors.Is(err, replica.ErrInDoubt) }},
		"always taken": {maxTries, nil, maxTries, func(err error) bool { return adminapi.IsCode(err, adminapi.CodeUnavailable) }},
	} {
		tries := 0
		err := numbered(t.Context(), "key k.", func() (fsm.Result, error) {
			if tries++; tries <= c.first {
				return fsm.Result{Err: taken.Message, Taken: true}, taken
			}
			return fsm.Result{}, c.then
		})
		if !c.want(err) || tries != c.tries {
			t.Errorf("%s: %d tries, %v; want %d", what, tries, err, c.tries)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err := numbered(ctx, "key k.", func() (fsm.Result, error) {
		if tries++; tries == 3 {
			cancel()
		}
		return fsm.Result{Err: taken.Message, Taken: true}, taken
	})
	if tries != 3 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d tries after the caller has left at the third: %v", tries, err)
	}
}

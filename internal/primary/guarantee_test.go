package primary

import (
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/fsm"
)

// TestDefaultGuarantee: what the admin API says about a guarantee without a limit is what the state machine does.
func TestDefaultGuarantee(t *testing.T) {
	if got := (fsm.Guarantee{Secondaries: 1}).Limit().Milliseconds(); got != adminapi.DefaultGuaranteeMS {
		t.Errorf("the state machine waits for %d ms, the admin API says %d", got, adminapi.DefaultGuaranteeMS)
	}
	if got := (adminapi.Guarantee{Secondaries: 1}).Normal(); got != (adminapi.Guarantee{Secondaries: 1, LimitMS: adminapi.DefaultGuaranteeMS}) {
		t.Errorf("%+v", got)
	}
	if got := (adminapi.Guarantee{}).Normal(); got != (adminapi.Guarantee{}) {
		t.Errorf("none at all: %+v", got)
	}
}

package log

import (
	"errors"
	"testing"
	"time"
)

func TestDecideReclaim(t *testing.T) {
	const mb = 1 << 20
	for _, tc := range []struct {
		name  string
		s     Status
		since int
		want  chore
	}{
		{"small", Status{DBBytes: 40 * mb, DBUsed: 1 * mb, QuotaBytes: 100 * mb}, 0, choreNone},
		{"large and full", Status{DBBytes: 90 * mb, DBUsed: 80 * mb, QuotaBytes: 100 * mb}, 0, choreNone},
		{"large and hollow", Status{DBBytes: 60 * mb, DBUsed: 20 * mb, QuotaBytes: 100 * mb}, 0, choreDefragment},
		{"alarm, hollow", Status{DBBytes: 101 * mb, DBUsed: 20 * mb, QuotaBytes: 100 * mb, Alarms: []string{"NOSPACE"}}, 0, choreDefragment},
		{"alarm, still full", Status{DBBytes: 101 * mb, DBUsed: 90 * mb, QuotaBytes: 100 * mb, Alarms: []string{"NOSPACE"}}, 0, choreNone},
		{"alarm, room again", Status{DBBytes: 20 * mb, DBUsed: 20 * mb, QuotaBytes: 100 * mb, Alarms: []string{"NOSPACE"}}, 0, choreDisarm},
		{"alarm, full as far as it knows, a while ago", Status{DBBytes: 101 * mb, DBUsed: 101 * mb, QuotaBytes: 100 * mb, Alarms: []string{"NOSPACE"}}, 4, choreDefragment},
		{"quota unknown", Status{DBBytes: 101 * mb, DBUsed: 1}, 0, choreNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := decideReclaim(tc.s, tc.since); got != tc.want {
				t.Errorf("decideReclaim = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestNoSpace fills the store to its quota: appends fail with ErrNoSpace and nothing enters the log; reads go on; after
// a compaction the member makes room by itself and appends go on.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	cfgs := memberConfigs(t, 1)
	cfgs[0].QuotaBytes = 16 << 20
	cfgs[0].Housekeeping = 100 * time.Millisecond
	m := startOne(t, cfgs[0])
	l := openMember(t, m, nil, "r")
	mustSettle(t, l)
	data := make([]byte, 1<<20)
	acked := 0
	var err error
	for range 100 {
		if _, err = l.Append(testContext(t), data); err != nil {
			break
		}
		acked++
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("after %d MiB: %v, want ErrNoSpace", acked, err)
	}
	if epoch, seq := l.Next(); epoch == 0 || seq != uint64(acked+1) {
		t.Errorf("Next = %d, %d: the refused append must not need a Settle nor use a number", epoch, seq)
	}
	head := mustBarrier(t, l)
	if got := collect(t, l, 0, head); len(got) != acked {
		t.Errorf("%d records, %d acknowledged: etcd applies the write that exhausts the quota, and answers it with NOSPACE", len(got), acked)
	}
	if _, err := l.Settle(testContext(t)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Settle = %v, want ErrNoSpace", err)
	}
	if err := l.Compact(testContext(t), head); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	ctx := testContext(t)
	for {
		_, err := l.Settle(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNoSpace) || ctx.Err() != nil {
			t.Fatalf("Settle = %v", err)
		}
		time.Sleep(10 * time.Millisecond) // polling for the housekeeping of the member
	}
	mustAppend(t, l, "room again")
}

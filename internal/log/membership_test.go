package log

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDecideRemove(t *testing.T) {
	member := func(id uint64, learner bool) MemberInfo {
		return MemberInfo{ID: id, Name: string(rune('a' + id)), Learner: learner}
	}
	three := []MemberInfo{member(1, false), member(2, false), member(3, false)}
	for _, tc := range []struct {
		name    string
		members []MemberInfo
		remove  uint64
		alive   []uint64
		want    error
	}{
		{"a dead one of three", three, 3, []uint64{1, 2}, nil},
		{"a live one of three", three, 3, []uint64{1, 2, 3}, nil},
		{"a live one of three, another is dead", three, 3, []uint64{1, 3}, ErrQuorumAtRisk},
		{"a dead one of three, another is dead", three, 3, []uint64{1}, ErrQuorumAtRisk},
		{"the dead one of two", three[:2], 2, []uint64{1}, nil},
		{"the last voter", three[:1], 1, []uint64{1}, ErrQuorumAtRisk},
		{"the last voter beside a learner", []MemberInfo{member(1, false), member(2, true)}, 1, []uint64{1, 2}, ErrQuorumAtRisk},
		{"a dead learner", []MemberInfo{member(1, false), member(2, true)}, 2, []uint64{1}, nil},
		{"a stranger", three, 9, []uint64{1, 2, 3}, ErrNoMember},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alive := map[uint64]bool{}
			for _, id := range tc.alive {
				alive[id] = true
			}
			if err := decideRemove(tc.members, tc.remove, alive); !errors.Is(err, tc.want) {
				t.Errorf("decideRemove = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestDecideJoin(t *testing.T) {
	a := MemberInfo{ID: 1, Name: "a", PeerURLs: []string{"http://a"}}
	b := MemberInfo{ID: 2, Name: "b", PeerURLs: []string{"http://b"}}
	c := MemberInfo{ID: 3, Name: "c", PeerURLs: []string{"http://c"}}
	unstarted := MemberInfo{ID: 4, PeerURLs: []string{"http://c"}, Learner: true}
	other := MemberInfo{ID: 5, PeerURLs: []string{"http://d"}, Learner: true}
	for _, tc := range []struct {
		name    string
		members []MemberInfo
		alive   []uint64
		remove  []uint64
		want    error
	}{
		{"nobody of that name", []MemberInfo{a, b}, []uint64{1, 2}, nil, nil},
		{"the disk is lost", []MemberInfo{a, b, c}, []uint64{1, 2}, []uint64{3}, nil},
		{"an attempt that never started", []MemberInfo{a, b, unstarted}, []uint64{1, 2}, []uint64{4}, nil},
		{"somebody else is joining", []MemberInfo{a, b, other}, []uint64{1, 2}, nil, ErrChangeUnderWay},
		{"a live member has the name", []MemberInfo{a, b, c}, []uint64{1, 2, 3}, nil, ErrChangeUnderWay},
		{"a second one is dead", []MemberInfo{a, b, c}, []uint64{1}, nil, ErrQuorumAtRisk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alive := map[uint64]bool{}
			for _, id := range tc.alive {
				alive[id] = true
			}
			p, err := decideJoin(tc.members, "c", "http://c", alive)
			if !errors.Is(err, tc.want) {
				t.Fatalf("decideJoin: %v, want %v", err, tc.want)
			}
			if err == nil && len(p.remove) != len(tc.remove) || len(p.remove) == 1 && p.remove[0] != tc.remove[0] {
				t.Errorf("remove %v, want %v", p.remove, tc.remove)
			}
		})
	}
}

func TestDecideEntry(t *testing.T) {
	fresh, unheard := peerView{fresh: true}, peerView{}
	running := func(urls ...string) peerView {
		return peerView{running: true, members: []peerMember{{Name: "x", ClientURLs: []string{"u"}}, {Name: "self", ClientURLs: urls}}}
	}
	without := peerView{running: true, members: []peerMember{{Name: "x"}}}
	for _, tc := range []struct {
		name string
		a, b peerView
		want verdict
	}{
		{"all are empty", fresh, fresh, entryBootstrap},
		{"one has not been heard of", fresh, unheard, entryWait},
		{"nobody has been heard of", unheard, unheard, entryWait},
		{"one was faster", running(), fresh, entryBootstrap},
		{"both were faster", running(), running(), entryBootstrap},
		{"we were a member: the disk is lost", running("http://self"), unheard, entryJoin},
		{"the cluster does not know us", without, fresh, entryJoin},
		{"one was faster, one is missing", running(), unheard, entryWait},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := decideEntry("self", map[string]peerView{"a": tc.a, "b": tc.b}); got != tc.want {
				t.Errorf("decideEntry = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestEmptyDisk loses a member's disk, with Bootstrap still configured: it must come back as a new member with
// everything in its log, never as the voter that it was.
func TestEmptyDisk(t *testing.T) {
	t.Parallel()
	cfgs := memberConfigs(t, 3)
	members := startAll(t, cfgs)
	l := openMember(t, members[0], nil, "r")
	mustSettle(t, l)
	for range 20 {
		mustAppend(t, l, "before")
	}
	oldID := members[2].ID()
	members[2].Close()
	lost := filepath.Join(cfgs[2].DataDir, "member", "wal")
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "while it is away")

	m := startOne(t, cfgs[2])
	if m.ID() == oldID {
		t.Fatal("the member came back under its old identity")
	}
	aside, err := filepath.Glob(filepath.Join(cfgs[2].DataDir, "member.aside-*"))
	if err != nil || len(aside) != 1 {
		t.Errorf("what remained of the lost member was not kept: %v, %v", aside, err)
	}
	awaitVoters(t, l, 3)
	fresh := openMember(t, m, nil, "fresh")
	if got := collect(t, fresh, 0, mustBarrier(t, fresh)); len(got) != 21 {
		t.Errorf("the new member has %d records, want 21", len(got))
	}
	// It is a full voter now: the cluster survives the loss of another.
	members[1].Close()
	mustAppend(t, l, "after")
}

// TestJoinLeave grows a cluster from one to three and shrinks it again.
func TestJoinLeave(t *testing.T) {
	t.Parallel()
	cfgs := memberConfigs(t, 3)
	for i := range cfgs {
		cfgs[i].Bootstrap = i == 0
		cfgs[i].InitialCluster = map[string]string{cfgs[0].Name: cfgs[0].PeerURL}
	}
	first := startOne(t, cfgs[0])
	l := openMember(t, first, nil, "r")
	mustSettle(t, l)
	mustAppend(t, l, "x")
	second := startOne(t, cfgs[1])
	awaitVoters(t, l, 2)
	startOne(t, cfgs[2])
	awaitVoters(t, l, 3)
	mustAppend(t, l, "y")

	ctx := testContext(t)
	if err := first.RemoveMember(ctx, "nobody"); !errors.Is(err, ErrNoMember) {
		t.Errorf("RemoveMember(nobody) = %v, want ErrNoMember", err)
	}
	if err := second.Leave(ctx); err != nil {
		t.Fatalf("Leave: %v", err)
	}
	select {
	case <-second.Done():
		if !errors.Is(second.Err(), ErrRemoved) {
			t.Errorf("Err = %v, want ErrRemoved", second.Err())
		}
	case <-ctx.Done():
		t.Error("the removed member did not notice")
	}
	awaitVoters(t, l, 2)
	mustAppend(t, l, "z")
}

func startOne(t *testing.T, cfg MemberConfig) *Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	m, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func awaitVoters(t *testing.T, l Log, n int) {
	t.Helper()
	ctx := testContext(t)
	for {
		ms, err := l.Members(ctx)
		if err != nil {
			t.Fatalf("waiting for %d voters: %v", n, err)
		}
		if len(voters(ms)) == n && len(ms) == n {
			return
		}
	}
}

func TestDataDir(t *testing.T) {
	withData := func(t *testing.T) dataDir {
		d := dataDir{t.TempDir()}
		if err := os.MkdirAll(filepath.Join(d.path, "member", "wal", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Run("empty", func(t *testing.T) {
		f, err := dataDir{filepath.Join(t.TempDir(), "absent")}.inspect("a", "tok")
		if err != nil || f.hasData || f.started {
			t.Errorf("inspect = %+v, %v", f, err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		d := withData(t)
		if err := d.mark(marker{Name: "a", Token: "tok", Started: true}); err != nil {
			t.Fatal(err)
		}
		f, err := d.inspect("a", "tok")
		if err != nil || !f.hasData || !f.started {
			t.Errorf("inspect = %+v, %v", f, err)
		}
	})
	for _, tc := range []struct {
		name    string
		prepare func(*testing.T, dataDir)
		want    string
	}{
		{"no marker", func(*testing.T, dataDir) {}, "no marker.json"},
		{"another member's", func(t *testing.T, d dataDir) { _ = d.mark(marker{Name: "b", Token: "tok"}) }, `belongs to member "b"`},
		{"another cluster's", func(t *testing.T, d dataDir) { _ = d.mark(marker{Name: "a", Token: "old"}) }, "another cluster"},
		{"damaged", func(t *testing.T, d dataDir) { _ = os.WriteFile(d.markerPath(), []byte("{"), 0o600) }, "damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := withData(t)
			tc.prepare(t, d)
			if _, err := d.inspect("a", "tok"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("inspect = %v, want an error about %q", err, tc.want)
			}
		})
	}
}

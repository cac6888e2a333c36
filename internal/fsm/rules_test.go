package fsm

import (
	"errors"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// The tests in this file are named after the rules C1 to C8 (docs/architecture.md). Each fails when its rule is taken out.

const (
	noError = rcodeNoError
	notAuth = rcodeNotAuth
)

type answerWant struct {
	rcode, tsig        uint16
	duplicate, expired bool
	serial             uint32
}

func checkAnswer(t *testing.T, what string, got Result, want answerWant) {
	t.Helper()
	if g := (answerWant{got.RCode, got.TSIGError, got.Duplicate, got.Expired, got.Serial}); g != want {
		t.Errorf("%s: got %+v (%s), want %+v", what, g, got.Text, want)
	}
}

// standard gives a cluster with zone example.test, serial 1, and key k of the returned version.
func standard(t *testing.T) (*cluster, ZoneID, uint64) {
	c := newCluster(t, 1)
	id := c.addZone("example.test.")
	return c, id, c.addKey("k.")
}

func (c *cluster) update(u *Update) Result {
	c.t.Helper()
	return c.apply(u).Results[0]
}

func (c *cluster) zone(id ZoneID) *zone.Zone {
	c.t.Helper()
	v, ok := c.machines[0].Zone(id)
	if !ok {
		c.t.Fatalf("zone %s does not exist", id)
	}
	return v.Zone
}

func TestC1DuplicateGetsFirstAnswer(t *testing.T) {
	c, id, v := standard(t)
	add := c.signed("k.", v, updateWire(t, "example.test", "nonexist a.example.test.", "add a.example.test. 60 A 192.0.2.9"))
	checkAnswer(t, "first", c.update(add), answerWant{serial: 2})
	// Applied again, the prerequisite would fail: YXDOMAIN.
	checkAnswer(t, "again", c.update(add), answerWant{serial: 2, duplicate: true})

	failing := c.signed("k.", v, updateWire(t, "example.test", "nonexist a.example.test.", "add b.example.test. 60 A 192.0.2.9"))
	const yxdomain = 6
	checkAnswer(t, "failing", c.update(failing), answerWant{rcode: yxdomain, serial: 2})
	c.update(c.signed("k.", v, updateWire(t, "example.test", "delname a.example.test.")))
	checkAnswer(t, "failing again, though it would succeed now", c.update(failing), answerWant{rcode: yxdomain, serial: 2, duplicate: true})
	if c.zone(id).Serial() != 3 {
		t.Errorf("serial %d, want 3: a repeated request changed the zone", c.zone(id).Serial())
	}
}

func TestC1DuplicateInOneEntry(t *testing.T) {
	c, id, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	eff := c.apply(u, u)
	checkAnswer(t, "first", eff.Results[0], answerWant{serial: 2})
	checkAnswer(t, "second", eff.Results[1], answerWant{serial: 2, duplicate: true})
	if c.zone(id).Serial() != 2 {
		t.Errorf("serial %d, want 2", c.zone(id).Serial())
	}
}

// The lookup comes before every other check: what was done stays done, whatever became of key, zone or deadline.
func TestC1DuplicateAfterEverythingChanged(t *testing.T) {
	c, id, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	u.DeadlineMS = c.timeMS + 4000
	c.update(u)
	c.must(&DeleteKey{Name: mustName("k.")})
	c.must(&DeleteZone{Zone: id, Confirm: id.Name})
	c.tick(10_000)
	checkAnswer(t, "repeated", c.update(u), answerWant{serial: 2, duplicate: true})
}

// A request is remembered until its signature cannot verify any more, and then it is BADTIME: at no time is it applied again.
func TestC1NoGapBetweenMemoryAndSignature(t *testing.T) {
	c, id, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9", "del a.example.test. 0 A 192.0.2.9"))
	del := updateWire(t, "example.test", "delname a.example.test.")
	u.Wire = updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9")
	u.TimeSigned += 250 // a client's clock may be fast
	c.update(u)
	c.update(c.signed("k.", v, del))
	before := c.zone(id).Digest()
	for range 1200 {
		c.tick(500)
		if r := c.update(u); !r.Duplicate && r.TSIGError != tsigBadTime {
			t.Fatalf("%d ms after the first: %+v", c.timeMS-startMS, r)
		}
	}
	if c.zone(id).Digest() != before {
		t.Error("the zone changed")
	}
	if n := c.machines[0].Stats().Dedupe; n != 0 {
		t.Errorf("%d requests still remembered after the last expired", n)
	}
}

func TestC1FudgeIsCapped(t *testing.T) {
	c, _, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	u.Fudge = 65535
	u.TimeSigned -= MaxFudge + 1
	checkAnswer(t, "a day's fudge", c.update(u), answerWant{rcode: notAuth, tsig: tsigBadTime})
}

// A full table forgets nothing: what does not fit is applied, and the floor rises so that it is not applied again.
func TestC1FullTableRaisesFloor(t *testing.T) {
	c, id, v := standard(t)
	c.addKey("other.")
	limits := DefaultLimits()
	limits.MaxDedupePerKey = 3
	c.must(&PutLimits{Limits: limits})
	var sent []*Update
	for i := range 4 {
		u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 TXT "+strings.Repeat("x", i+1)))
		checkAnswer(t, "applied", c.update(u), answerWant{serial: uint32(2 + i)})
		sent = append(sent, u)
		c.tick(1000)
	}
	c.update(c.signed("k.", v, updateWire(t, "example.test", "delname a.example.test.")))
	serial := c.zone(id).Serial()
	for i, u := range sent[:3] {
		checkAnswer(t, "remembered", c.update(u), answerWant{serial: uint32(2 + i), duplicate: true})
	}
	checkAnswer(t, "not remembered", c.update(sent[3]), answerWant{rcode: notAuth, tsig: tsigBadTime})
	late := c.signed("k.", v, updateWire(t, "example.test", "add b.example.test. 60 A 192.0.2.1"))
	late.TimeSigned--
	checkAnswer(t, "signed before the floor, arriving after", c.update(late), answerWant{rcode: notAuth, tsig: tsigBadTime})
	if got := c.zone(id).Serial(); got != serial {
		t.Errorf("serial %d, want %d", got, serial)
	}
	c.tick(1000)
	checkAnswer(t, "signed after the floor", c.update(c.signed("k.", v, updateWire(t, "example.test", "add b.example.test. 60 A 192.0.2.1"))),
		answerWant{serial: serial + 1})
}

// A flood from one key does not cost another key its memory.
func TestC1QuotaPerKey(t *testing.T) {
	c, id, v := standard(t)
	w := c.addKey("other.")
	c.must(&PutZone{Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant k. zonesub ANY; grant other. zonesub ANY;"}})
	limits := DefaultLimits()
	limits.MaxDedupePerKey = 2
	c.must(&PutLimits{Limits: limits})
	for range 5 {
		c.update(c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9")))
	}
	u := c.signed("other.", w, updateWire(t, "example.test", "add o.example.test. 60 A 192.0.2.9"))
	serial := c.update(u).Serial
	checkAnswer(t, "the other key's", c.update(u), answerWant{serial: serial, duplicate: true})
}

// The same secret under a new version would make old requests look new.
func TestC1DeletedSecretMustNotReturn(t *testing.T) {
	c, _, _ := standard(t)
	again := &PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: 50, Sealed: []byte("x"), SecretID: secretID("k.", uint64(1))}
	c.must(&DeleteKey{Name: mustName("k.")})
	if r := c.apply(again).Results[0]; !strings.Contains(r.Err, "another secret") {
		t.Errorf("the secret came back at once: %+v", r)
	}
	c.tick(2*MaxFudge*1000 + 1)
	c.must(again)
}

func TestC1FloorCommand(t *testing.T) {
	c, _, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	c.must(&Floor{TimeSigned: u.TimeSigned})
	checkAnswer(t, "at the floor", c.update(u), answerWant{rcode: notAuth, tsig: tsigBadTime})
}

func TestC2Deadline(t *testing.T) {
	c, id, v := standard(t)
	for _, signed := range []bool{true, false} {
		u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
		if !signed {
			u = &Update{Wire: u.Wire}
		}
		u.DeadlineMS = c.timeMS + 4000
		c.tick(4001)
		checkAnswer(t, "late", c.update(u), answerWant{expired: true})
		if c.zone(id).Serial() != 1 {
			t.Fatal("a request was applied after its deadline")
		}
		if signed { // nothing was done, so the client's retry is the first
			u.DeadlineMS = c.timeMS + 4000
			checkAnswer(t, "retry", c.update(u), answerWant{serial: 2})
			c.must(&DeleteZone{Zone: id, Confirm: id.Name})
			c.must(&PutZone{Zone: id, Create: true, Settings: ZoneSettings{AllowUpdate: "any;"},
				RRs: NewZoneRRs(id.Name, mustName("ns.other.test."), mustName("h."), nil)})
			c.graveless(id)
		}
	}
}

// graveless brings a zone's serial back to 1, for tests that count from there.
func (c *cluster) graveless(id ZoneID) {
	for _, m := range c.machines {
		setSerial(m.slots[id].cur.zone, 1)
	}
}

func TestC3SerialSurvivesDeletion(t *testing.T) {
	c, id, v := standard(t)
	for range 5 {
		c.update(c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 TXT "+string(rune('a'+c.nextSign)))))
	}
	last := c.zone(id).Serial()
	c.must(&DeleteZone{Zone: id, Confirm: id.Name})
	r := c.must(&PutZone{Zone: id, Create: true, RRs: NewZoneRRs(id.Name, mustName("ns.other.test."), mustName("h."), nil)})
	if !zone.SerialGT(r.Serial, last) {
		t.Errorf("the new zone begins at serial %d, the deleted one had reached %d", r.Serial, last)
	}
}

func TestC3ImportOfOldSerial(t *testing.T) {
	c, id, _ := standard(t)
	c.must(&BumpSerial{Zone: id, Past: 2026010100, HasPast: true})
	rrs := NewZoneRRs(id.Name, mustName("ns.other.test."), mustName("h."), nil)
	imp := func(move bool) Result {
		c.must(&ImportBegin{ID: "i", Zone: id, Replace: true, MoveSerial: move})
		c.must(&ImportChunk{ID: "i", Seq: 1, RRs: rrs})
		return c.apply(&ImportCommit{ID: "i", Records: 2, Digest: zone.DigestRRs(rrs)}).Results[0]
	}
	if r := imp(false); !strings.Contains(r.Err, "not greater than 2026010101") {
		t.Errorf("import of serial 1 over 2026010101: %+v", r)
	}
	if r := imp(true); r.Err != "" || r.Serial != 2026010102 {
		t.Errorf("import that may move the serial: %+v, want serial 2026010102", r)
	}
}

func TestC3BumpSerial(t *testing.T) {
	c, id, _ := standard(t)
	for _, step := range []struct {
		past    uint32
		hasPast bool
		want    uint32
	}{
		{0, false, 2}, {100, true, 101}, {50, true, 102}, {1<<31 + 50, true, 1<<31 + 51}, {1<<32 - 1, true, 1}, {0, false, 2},
	} {
		eff := c.apply(&BumpSerial{Zone: id, Past: step.past, HasPast: step.hasPast})
		if r := eff.Results[0]; r.Err != "" || r.Serial != step.want {
			t.Errorf("past %d: %+v, want serial %d", step.past, r, step.want)
		}
		if len(eff.Boundaries) != 1 || eff.Boundaries[0].To != step.want {
			t.Errorf("past %d: boundaries %+v, want one to %d", step.past, eff.Boundaries, step.want)
		}
	}
}

func TestC4Judge(t *testing.T) {
	x, y, z := Digest{1}, Digest{2}, Digest{3}
	abc := []string{"a", "b", "c"}
	for _, tt := range []struct {
		name    string
		digests map[string]Digest
		members []string
		want    string // standings of the members
	}{
		{"nothing yet", nil, abc, "unknown unknown unknown"},
		{"one of three", map[string]Digest{"a": x}, abc, "unknown unknown unknown"},
		{"two agree", map[string]Digest{"a": x, "b": x}, abc, "majority majority unknown"},
		{"one differs", map[string]Digest{"a": x, "b": x, "c": y}, abc, "majority majority minority"},
		{"two differ, the third can still decide", map[string]Digest{"a": x, "b": y}, abc, "unknown unknown unknown"},
		{"all differ", map[string]Digest{"a": x, "b": y, "c": z}, abc, "no-majority no-majority no-majority"},
		{"two of two differ", map[string]Digest{"a": x, "b": y}, []string{"a", "b"}, "no-majority no-majority"},
		{"alone", map[string]Digest{"a": x}, []string{"a"}, "majority"},
		{"a plurality of five is no majority", map[string]Digest{"a": x, "b": x, "c": y, "d": z, "e": z},
			[]string{"a", "b", "c", "d", "e"}, "no-majority no-majority no-majority no-majority no-majority"},
		{"a stranger has no vote", map[string]Digest{"a": x, "old": x}, abc, "unknown unknown unknown"},
	} {
		v := Verdict{Digests: tt.digests}
		var got []string
		for _, m := range tt.members {
			got = append(got, v.Judge(m, tt.members).String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

func TestC4MarksAndCompactionFloor(t *testing.T) {
	c, _, _ := standard(t)
	abc := []string{"a", "b", "c"}
	m := c.machines[0]
	c.applyAs("b", &Checkpoint{})
	first := m.Index()
	c.apply(&Mark{Replica: "a", Index: first, Digest: Digest{1}})
	if f := m.CompactionFloor(abc); f != 0 {
		t.Errorf("floor %d after one mark of three, want 0", f)
	}
	eff := c.applyAs("b", &Mark{Replica: "b", Index: first, Digest: Digest{1}})
	if len(eff.Verdicts) != 1 || eff.Verdicts[0].Judge("a", abc) != StandingMajority {
		t.Errorf("verdicts %+v", eff.Verdicts)
	}
	if f := m.CompactionFloor(abc); f != first {
		t.Errorf("floor %d after two marks of three, want %d", f, first)
	}
	// A differing replica's checkpoint is not one that the others could be restored from.
	second := m.Index()
	c.applyAs("c", &Mark{Replica: "c", Index: second, Digest: Digest{9}})
	c.applyAs("b", &Mark{Replica: "b", Index: second, Digest: Digest{2}})
	if f := m.CompactionFloor(abc); f != first {
		t.Errorf("floor %d while index %d is in dispute, want %d", f, second, first)
	}
	c.apply(&Mark{Replica: "a", Index: second, Digest: Digest{2}})
	if f := m.CompactionFloor(abc); f != second {
		t.Errorf("floor %d, want %d", f, second)
	}
	for what, cmd := range map[string]*Mark{"for another": {Replica: "b", Index: first}, "of the future": {Replica: "a", Index: 1 << 40}} {
		if r := c.apply(cmd).Results[0]; r.Err == "" {
			t.Errorf("a mark %s was taken", what)
		}
	}
	for range 2 * keepMarks {
		c.apply(&Mark{Replica: "a", Index: m.Index()})
	}
	if n := len(m.Verdicts()); n != keepMarks {
		t.Errorf("marks of %d indexes kept, want %d", n, keepMarks)
	}
}

func TestC6KeyIsCheckedAgain(t *testing.T) {
	c, id, v := standard(t)
	wire := updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9")
	inFlight := func(key string, version uint64) Result { return c.update(c.signed(key, version, wire)) }

	badKey := answerWant{rcode: notAuth, tsig: tsigBadKey}
	checkAnswer(t, "unknown key", inFlight("nobody.", 1), badKey)
	checkAnswer(t, "unknown version", inFlight("k.", v+1), badKey)

	w := v + 1
	c.must(&PutKey{Name: mustName("K."), Algorithm: "hmac-sha256", Version: w, Sealed: []byte("new"), Rotate: true})
	checkAnswer(t, "old secret during a rotation", inFlight("k.", v), answerWant{serial: 2})
	checkAnswer(t, "new secret during a rotation", inFlight("k.", w), answerWant{serial: 2})
	if r := c.apply(&PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: w + 1, Sealed: []byte("third"), Rotate: true}).Results[0]; r.Err == "" {
		t.Error("three valid secrets")
	} else if r.Taken {
		t.Errorf("the number of a third secret is not what is wrong with it: %+v", r)
	}
	if r := c.apply(&DeleteKey{Name: mustName("k."), Version: w}).Results[0]; r.Err == "" {
		t.Error("the active secret was revoked without another")
	}
	c.must(&DeleteKey{Name: mustName("k."), Version: v})
	checkAnswer(t, "revoked secret", inFlight("k.", v), badKey)
	checkAnswer(t, "secret that stayed", inFlight("k.", w), answerWant{serial: 2})

	c.must(&DeleteKey{Name: mustName("k.")})
	if r := c.apply(&PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: w, Sealed: []byte("x")}).Results[0]; r.Err == "" || !r.Taken {
		t.Errorf("a version that was used before: %+v", r)
	}
	c.must(&PutKey{Name: mustName("k."), Algorithm: "hmac-sha256", Version: w + 1, Sealed: []byte("x")})
	checkAnswer(t, "signed with the deleted key of the same name", inFlight("k.", w), badKey)

	c.must(&PutKey{Name: mustName("short."), Algorithm: "hmac-sha256", Version: w + 2, Sealed: []byte("x"), NotAfterMS: c.timeMS + 1000})
	c.must(&PutZone{Zone: id, Settings: ZoneSettings{AllowUpdate: "key short.;"}})
	checkAnswer(t, "within its validity", inFlight("short.", w+2), answerWant{serial: 2})
	c.tick(1001)
	checkAnswer(t, "after its validity", inFlight("short.", w+2), badKey)
}

func TestC6PolicyIsCheckedInTheLog(t *testing.T) {
	c, id, v := standard(t)
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	c.must(&PutZone{Zone: id, Settings: ZoneSettings{UpdatePolicy: "grant other. zonesub ANY;"}})
	checkAnswer(t, "granted when it was received, not when it is applied", c.update(u), answerWant{rcode: rcodeRefused, serial: 1})
}

func TestC7LogTimeNeverFalls(t *testing.T) {
	c, _, v := standard(t)
	m := c.machines[0]
	c.tick(60_000)
	c.apply()
	c.timeMS -= 59_000
	eff := c.apply()
	if eff.TimeMS != startMS+60_000 || m.TimeMS() != startMS+60_000 {
		t.Errorf("log time %d and %d, want %d", eff.TimeMS, m.TimeMS(), int64(startMS+60_000))
	}
	// A slow clock must not bring a deadline back.
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	u.DeadlineMS = c.timeMS + 4000
	checkAnswer(t, "past its deadline by log time", c.update(u), answerWant{expired: true})
}

func TestC8UnknownVersionHalts(t *testing.T) {
	c, id, _ := standard(t)
	m := c.machines[0]
	digest := m.Snapshot().Digest()
	newer := EncodeEntry(Entry{Header: Header{Version: 2, Replica: "b", Epoch: 1, Seq: 1, TimeMS: c.timeMS}})
	if _, err := m.Apply(c.index+1, newer); !errors.Is(err, ErrVersion) {
		t.Fatalf("entry of version 2: %v, want ErrVersion", err)
	}
	good := EncodeEntry(Entry{Header: Header{Replica: "b", Epoch: 1, Seq: 1, TimeMS: c.timeMS}})
	if _, err := m.Apply(c.index+2, good); !errors.Is(err, ErrVersion) {
		t.Errorf("an entry after it: %v, want the same error: it must not be skipped", err)
	}
	if m.Halted() == nil || m.Snapshot().Digest() != digest {
		t.Error("the state is not that of the entry before")
	}
	if _, ok := m.Zone(id); !ok {
		t.Error("the state is not readable any more")
	}
}

func TestC8Activation(t *testing.T) {
	old, new_ := New(), New()
	new_.maxVersion = 2
	c := newCluster(t, 0)
	c.machines = []*Machine{new_, old}
	activate := &Activate{Version: 2, Members: []string{"a", "b"}}

	v2 := func() []byte {
		return EncodeEntry(Entry{Header: Header{Version: 2, Replica: "z", Epoch: 1, Seq: 1, TimeMS: c.timeMS}})
	}
	early := New()
	early.maxVersion = 2
	if _, err := early.Apply(1, v2()); !errors.Is(err, ErrVersion) {
		t.Errorf("an entry of a version that is known but not activated: %v, want ErrVersion", err)
	}

	c.applyAs("a", &Support{Version: 2})
	c.applyAs("b", &Support{Version: 1})
	if r := c.apply(activate).Results[0]; !strings.Contains(r.Err, `"b" supports version 1`) {
		t.Errorf("activated without b's support: %+v", r)
	}
	c.applyAs("b", &Support{Version: 2})
	if r := c.apply(activate, &Checkpoint{}).Results[0]; !strings.Contains(r.Err, "alone") {
		t.Errorf("activated in company: %+v", r)
	}
	if r := c.apply(&Activate{Version: 2}).Results[0]; r.Err == "" {
		t.Error("activated without members")
	}

	c.machines = []*Machine{new_}
	if eff := c.apply(activate); eff.Activated != 2 || new_.Version() != 2 {
		t.Errorf("not activated: %+v", eff)
	}
	last := c.log[len(c.log)-1]
	digest := old.Snapshot().Digest()
	if _, err := old.Apply(last.index, last.data); !errors.Is(err, ErrVersion) {
		t.Errorf("the old program went on: %v", err)
	}
	if old.Snapshot().Digest() != digest {
		t.Error("the old program changed its state before it stopped")
	}
	if _, err := new_.Apply(c.index+1, v2()); err != nil {
		t.Errorf("entry of the activated version: %v", err)
	}
	cp := checkpointOf(t, new_)
	if _, err := Restore(strings.NewReader(string(cp))); !errors.Is(err, ErrVersion) {
		t.Errorf("the old program took a checkpoint of version 2: %v", err)
	}
	if m, err := restore(strings.NewReader(string(cp)), 2); err != nil || m.Version() != 2 {
		t.Errorf("restored: %v", err)
	}
}

func TestEntriesMustFollow(t *testing.T) {
	for name, tt := range map[string]struct {
		index uint64
		h     Header
		want  error
	}{
		"gap":           {100, Header{Replica: "a", Epoch: 1, Seq: 3}, ErrSequence},
		"doubled":       {100, Header{Replica: "a", Epoch: 1, Seq: 1}, ErrSequence},
		"epoch fell":    {100, Header{Replica: "a", Epoch: 0, Seq: 2}, ErrSequence},
		"index fell":    {2, Header{Replica: "a", Epoch: 1, Seq: 2}, ErrSequence},
		"new replica":   {100, Header{Replica: "b", Epoch: 1, Seq: 2}, ErrSequence},
		"next":          {100, Header{Replica: "a", Epoch: 1, Seq: 2}, nil},
		"epoch rose":    {100, Header{Replica: "a", Epoch: 5, Seq: 2}, nil},
		"first of b":    {100, Header{Replica: "b", Epoch: 1, Seq: 1}, nil},
		"replica of no": {100, Header{Replica: "", Epoch: 1, Seq: 1}, nil},
	} {
		c := newCluster(t, 1)
		c.apply()
		if _, err := c.machines[0].Apply(tt.index, EncodeEntry(Entry{Header: tt.h})); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// A request that hits a mistake in the evaluation must not stop the cluster: it is in the log for ever.
func TestPanicIsAnswered(t *testing.T) {
	c, id, v := standard(t)
	m := c.machines[0]
	good := m.slots[id].cur.conf
	m.slots[id].cur.conf = &ZoneConfig{ID: id} // no lists: the evaluation runs into a nil pointer
	u := c.signed("k.", v, updateWire(t, "example.test", "add a.example.test. 60 A 192.0.2.9"))
	eff := c.apply(u)
	checkAnswer(t, "faulty", eff.Results[0], answerWant{rcode: rcodeServFail})
	if len(eff.Panics) != 1 || !strings.Contains(eff.Panics[0], "nil pointer") {
		t.Errorf("panics %q, want the one that happened", eff.Panics)
	}
	m.slots[id].cur.conf = good
	checkAnswer(t, "the same again", c.update(u), answerWant{rcode: rcodeServFail, duplicate: true})
	checkAnswer(t, "the next", c.update(c.signed("k.", v, u.Wire)), answerWant{serial: 2})
}

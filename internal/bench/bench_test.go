package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

func testKey(t testing.TB) tsig.Key {
	t.Helper()
	owner, err := zone.ParseName(benchKeyName)
	if err != nil {
		t.Fatal(err)
	}
	k, err := tsig.NewKey(tsig.Key{Name: owner, Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testTemplate(t testing.TB) template {
	t.Helper()
	origin, err := zone.ParseName("bench0.test.")
	if err != nil {
		t.Fatal(err)
	}
	return newTemplate(origin)
}

func TestTemplateIsTheUpdateThatItSays(t *testing.T) {
	u := update{cell: 0xa1, worker: 0xb2c, seq: 0x010203}
	b := testTemplate(t).build(nil, 4711, u, testKey(t), time.Now())
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if m.Id != 4711 || m.Opcode != dns.OpcodeUpdate || m.Question[0].Name != "bench0.test." || m.Question[0].Qtype != dns.TypeSOA {
		t.Errorf("header and zone section: %v", m)
	}
	const want = "ca1-wb2c-s010203.bench0.test.\t300\tIN\tA\t10.1.2.3"
	if len(m.Ns) != 1 || m.Ns[0].String() != want {
		t.Errorf("update section %v, want %s", m.Ns, want)
	}
	if m.IsTsig() == nil {
		t.Error("not signed")
	}
	got, ok := parseLabel("ca1-wb2c-s010203")
	if !ok || got != u {
		t.Errorf("parseLabel gives %+v, want %+v", got, u)
	}
	for _, s := range []string{"ns", "ca1-wb2c-s01020", "xa1-wb2c-s010203", "ca1-wb2c-s01020g"} {
		if _, ok := parseLabel(s); ok {
			t.Errorf("%q was taken for one of ours", s)
		}
	}
}

// A run against a real named: rates are plausible, and the check at the end has
// teeth in both directions.
func TestRunAgainstNamed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Targets = []string{TargetNamedTmpfs}
	cfg.Memory = "/dev/shm"
	cfg.Clients, cfg.Zones = []int{1, 8}, []int{2}
	cfg.Rounds, cfg.Warmup, cfg.Duration = 1, 10*time.Millisecond, 100*time.Millisecond
	cfg.JSON = filepath.Join(t.TempDir(), "results.json")
	var out bytes.Buffer
	cfg.Out = &out
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Measurements) != 4 {
		t.Fatalf("%d measurements, want 4", len(r.Measurements))
	}
	for _, m := range r.Measurements {
		if m.Acknowledged == 0 || m.UpdatesPerSecond == 0 || m.P50 <= 0 || m.P99 < m.P50 || m.Refused+m.Unanswered > 0 {
			t.Errorf("%+v", m)
		}
	}
	if !strings.Contains(out.String(), "exactly the acknowledged records") {
		t.Errorf("the table:\n%s", out.String())
	}
	b, err := os.ReadFile(cfg.JSON)
	if err != nil || json.Unmarshal(b, new(Results)) != nil {
		t.Errorf("the JSON file: %v", err)
	}
}

func TestCheckFindsWhatIsMissingAndWhatShouldNotBeThere(t *testing.T) {
	s, err := newServer(TargetNamedTmpfs, "/dev/shm", prepareNamed("named"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	zones := []string{"bench0.test."}
	if err := s.start(t.Context(), zones); err != nil {
		t.Fatal(err)
	}
	w := &worker{transport: "tcp", addr: s.addr, templates: []template{testTemplate(t)}, key: s.tsig, in: make([]byte, maxMessage)}
	defer w.disconnect()
	for seq := range 3 {
		o, err := w.send(seq, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		w.outcomes = append(w.outcomes, o)
	}
	loads := []load{{workers: []*worker{w}}}
	if err := check(t.Context(), s, zones, loads); err != nil {
		t.Errorf("the truth: %v", err)
	}
	w.outcomes[1] = refused
	if err := check(t.Context(), s, zones, loads); err == nil || !strings.Contains(err.Error(), "was refused and is there") {
		t.Errorf("a refused record is there: %v", err)
	}
	w.outcomes[1] = unknown
	if err := check(t.Context(), s, zones, loads); err != nil {
		t.Errorf("an unanswered update may be there: %v", err)
	}
	w.outcomes[1] = acknowledged
	w.outcomes = append(w.outcomes, acknowledged)
	if err := check(t.Context(), s, zones, loads); err == nil || !strings.Contains(err.Error(), "3 of 4") {
		t.Errorf("an acknowledged record is missing: %v", err)
	}
}

func TestBehind(t *testing.T) {
	replica := func(name string, serial, published uint32) adminapi.ReplicaStatus {
		return adminapi.ReplicaStatus{Name: name, Ready: true, Reachable: true,
			Zones: []adminapi.ZoneStatus{{Name: "z.", Serial: serial, PublishedSerial: published}}}
	}
	for _, tc := range []struct {
		what string
		s    adminapi.Status
		want string
	}{
		{"equal", adminapi.Status{Replicas: []adminapi.ReplicaStatus{replica("a", 7, 7), replica("b", 7, 7)}}, ""},
		{"not published", adminapi.Status{Replicas: []adminapi.ReplicaStatus{replica("a", 7, 7), replica("b", 7, 6)}}, "b's named has serial 6"},
		{"not applied", adminapi.Status{Replicas: []adminapi.ReplicaStatus{replica("a", 7, 7), replica("b", 6, 6)}}, "b has serial 6"},
		{"gone", adminapi.Status{Replicas: []adminapi.ReplicaStatus{{Name: "a"}}}, "a is not ready"},
	} {
		if got := behind(&tc.s); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

// The reader is checked with a profile of this very process, busy in zone.
func TestCostByComponent(t *testing.T) {
	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		t.Fatal(err)
	}
	tpl, k := testTemplate(t), testKey(t)
	var buf []byte
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
		buf = tpl.build(buf, 1, update{}, k, start)
	}
	pprof.StopCPUProfile()
	cost, err := costByComponent(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, v := range cost {
		sum += v
	}
	if sum == 0 || cost["endpoint"] != 0 {
		t.Errorf("cost %v: want some, and none in components that did not run", cost)
	}
	got := componentOf([]string{"crypto/sha256.block", "github.com/zonekeeper/zonekeeper/internal/tsig.Verify", "github.com/zonekeeper/zonekeeper/internal/endpoint.(*Server).serve"})
	if got != "endpoint" {
		t.Errorf("a helper's cost counts for %q, want its caller", got)
	}
	if _, err := costByComponent([]byte("no profile")); err == nil {
		t.Error("nonsense was accepted")
	}
}

func TestSummaryIsTheMedianOfRounds(t *testing.T) {
	r := &Results{}
	c := Cell{Zones: 1, Transport: "udp", Clients: 64}
	for i, rate := range []float64{300, 100, 200} {
		r.Measurements = append(r.Measurements, Measurement{Target: "x", Round: i, Cell: c, UpdatesPerSecond: rate, PublishLag: rate, CPU: map[string]float64{"server": rate}})
	}
	s, ok := r.summarize("x", c)
	if !ok || s.rate != 200 || s.low != 100 || s.high != 300 || s.cpu["server"] != 200 || s.lag != 300 {
		t.Errorf("got %+v", s)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"target":    func(c *Config) { c.Targets = []string{"nsd"} },
		"clients":   func(c *Config) { c.Clients = []int{0} },
		"zones":     func(c *Config) { c.Zones = []int{1000} },
		"transport": func(c *Config) { c.Transports = []string{"dot"} },
		"rounds":    func(c *Config) { c.Rounds = 0 },
		"nothing":   func(c *Config) { c.Targets = nil },
	} {
		c := DefaultConfig()
		edit(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	tpl, k := testTemplate(b), testKey(b)
	now := time.Now()
	var buf []byte
	b.ReportAllocs()
	for i := range b.N {
		buf = tpl.build(buf, uint16(i), update{1, 2, i & 0xffffff}, k, now)
	}
}

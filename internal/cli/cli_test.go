package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/clientconf"
	"github.com/zonekeeper/zonekeeper/internal/devcluster"
	"github.com/zonekeeper/zonekeeper/internal/primary"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// result of one command.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	var out, errb bytes.Buffer
	p := Program{
		Version: "v1.2.3", Getenv: func(k string) string { return env[k] },
		In: strings.NewReader(stdin), Out: &out, Err: &errb,
		RunPrimary: func(context.Context, primary.Config, string, *slog.Logger) error {
			return errors.New("the primary broke")
		},
	}
	code := p.Run(t.Context(), args)
	return result{code, out.String(), errb.String()}
}

// admin is a primary's admin API with canned answers.
type admin struct {
	*http.ServeMux
	url string
}

func newAdmin(t *testing.T) admin {
	t.Helper()
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return admin{mux, srv.URL}
}

func (a admin) answer(pattern string, v any) {
	a.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		if e, ok := v.(adminapi.Error); ok {
			w.WriteHeader(adminapi.StatusOf(e.Code))
		}
		_ = json.NewEncoder(w).Encode(v)
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is different (go test ./internal/cli -rewrite):\n%s", path, got)
	}
}

func TestMistakesInTheCommandExitWith2(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":    {[]string{"frobnicate"}, `unknown command "frobnicate"`},
		"unknown subcommand": {[]string{"zone", "frobnicate"}, `unknown command "frobnicate" for zonekeeper zone`},
		"unknown flag":       {[]string{"status", "--frob"}, "unknown flag: --frob"},
		"missing argument":   {[]string{"zone", "add"}, "missing argument: NAME"},
		"extra argument":     {[]string{"status", "x"}, `unexpected argument "x"`},
		"format":             {[]string{"status", "-o", "xml"}, "use table or json"},
		"no cluster":         {[]string{"status"}, "--admin URL or --dir DIR"},
		"admin is no URL":    {[]string{"status", "--admin", "ftp://x"}, "is not a URL"},
		"half of TLS":        {[]string{"status", "--admin", "x:1", "--tls-ca", "f"}, "go together"},
		"delete unconfirmed": {[]string{"zone", "delete", "example.org", "--admin", "x:1"}, "--confirm example.org"},
		"wrong confirmation": {[]string{"key", "delete", "a", "--confirm", "b", "--admin", "x:1"}, "--confirm a"},
		"grant and policy":   {[]string{"zone", "add", "z", "--grant", "k", "--allow-query", "any;", "--admin", "x:1"}, "--grant stands for"},
		"file and transfer":  {[]string{"zone", "import", "z", "f", "--from-axfr", "x", "--admin", "x:1"}, "not both"},
		"export format":      {[]string{"key", "export", "k", "--format", "toml", "--admin", "x:1"}, "nsupdate, bind, knsupdate, dnspython, kea, certbot, lego, cert-manager, external-dns, gardener, terraform"},
		"even primaries":     {[]string{"dev", "--primaries", "2", "--dir", "/nowhere"}, "use 1, 3 or 5"},
		"secondaries":        {[]string{"dev", "--secondaries", "9", "--dir", "/nowhere"}, "--secondaries 9"},
		"listen":             {[]string{"dev", "--listen", "localhost", "--dir", "/nowhere"}, "--listen"},
		"dev start where":    {[]string{"dev", "start", "primary-0"}, "give --dir DIR"},
		"no configuration":   {[]string{"primary"}, "--config is missing"},
		"unknown topic":      {[]string{"help", "zone", "frobnicate"}, `unknown command "zone frobnicate"`},
		"empty name":         {[]string{"zone", "delete", "", "--confirm", "", "--admin", "x:1"}, "NAME is empty"},
		"root unconfirmed":   {[]string{"zone", "delete", ".", "--admin", "x:1"}, "--confirm ."},
		"no time":            {[]string{"status", "--timeout", "0", "--admin", "x:1"}, "--timeout 0s"},
		"set nothing":        {[]string{"zone", "set", "z", "--admin", "x:1"}, "nothing to change"},
		"key, no transfer":   {[]string{"zone", "import", "z", "f", "--key", "k:czE=", "--admin", "x:1"}, "--from-axfr"},
		"half a key":         {[]string{"zone", "import", "z", "--from-axfr", "x", "--key", "k", "--admin", "x:1"}, "[algorithm:]name:secret"},
		"key not base64":     {[]string{"zone", "import", "z", "--from-axfr", "x", "--key", "k:?", "--admin", "x:1"}, "not base64"},
		"key algorithm":      {[]string{"zone", "import", "z", "--from-axfr", "x", "--key", "rot13:k:czE=", "--admin", "x:1"}, "hmac-sha256"},
		"empty secret":       {[]string{"key", "add", "k", "--secret-file", "-", "--admin", "x:1"}, "it is empty"},
		"export port":        {[]string{"key", "export", "k", "--server", "192.0.2.1:99999", "--admin", "x:1"}, "1 to 65535"},
		"export host":        {[]string{"key", "export", "k", "--server", "a b", "--admin", "x:1"}, "neither an address nor a host name"},
		"export zone":        {[]string{"key", "export", "k", "--zone", "a..b", "--admin", "x:1"}, `--zone "a..b"`},
		"no named":           {[]string{"dev", "--named", "/nowhere/named", "--dir", "/nowhere"}, "install BIND"},
		"bench primaries":    {[]string{"bench", "--primaries", "2"}, "use 1, 3 or 5"},
		"bench memory":       {[]string{"bench", "--memory", "/proc"}, "not on a tmpfs"},
		"bench named":        {[]string{"bench", "--named", "/nowhere/named"}, "install BIND"},
		"bench target":       {[]string{"bench", "--targets", "nsd"}, `target "nsd"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil, "", tc.args...)
			if r.code != ExitUsage || !strings.Contains(r.err, tc.want) || r.out != "" {
				t.Errorf("exit code %d, stderr %q, stdout %q; want 2 and %q", r.code, r.err, r.out, tc.want)
			}
		})
	}
}

func status(healthy bool) adminapi.Status {
	zone := func(serial uint32) []adminapi.ZoneStatus {
		return []adminapi.ZoneStatus{{Name: "example.test.", Serial: serial, Records: 4, Digest: strings.Repeat("ab", 32), PublishedSerial: serial, State: "serving"}}
	}
	s := adminapi.Status{
		Healthy: healthy, Summary: "healthy: 3 of 3 primaries ready, 1 zone", Replica: "primary-0", Leader: "primary-0",
		Replicas: []adminapi.ReplicaStatus{
			{Name: "primary-0", Ready: true, Reachable: true, Leader: true, LogIndex: 9, AppliedIndex: 9, CheckpointIndex: 5,
				Named: adminapi.NamedStatus{Running: true, Version: "9.20.23"}, DNS: []string{"127.0.0.1:5310"}, Zones: zone(2)},
			{Name: "primary-1", Ready: true, Reachable: true, LogIndex: 9, AppliedIndex: 9, PublishLagMS: 3,
				Named: adminapi.NamedStatus{Running: true, Version: "9.18.49"}, DNS: []string{"127.0.0.1:5320"}, Zones: zone(2)},
		},
	}
	if !healthy {
		s.Summary = "degraded: primary-1 does not answer"
		s.Replicas[1] = adminapi.ReplicaStatus{Name: "primary-1", Reason: "connection refused"}
	}
	return s
}

func TestStatus(t *testing.T) {
	for name, healthy := range map[string]bool{"healthy": true, "degraded": false} {
		a := newAdmin(t)
		a.answer("GET "+adminapi.PathStatus, status(healthy))
		r := run(t, map[string]string{envAdmin: a.url}, "", "status")
		if want := map[bool]int{true: ExitOK, false: ExitFailed}[healthy]; r.code != want || r.err != "" {
			t.Errorf("%s: exit code %d, stderr %q", name, r.code, r.err)
		}
		golden(t, "status-"+name+".txt", r.out)
		r = run(t, nil, "", "status", "--admin", a.url, "-o", "json")
		var s adminapi.Status
		if err := json.Unmarshal([]byte(r.out), &s); err != nil || s.Healthy != healthy {
			t.Errorf("-o json: %v, %s", err, r.out)
		}
	}
}

func TestVerify(t *testing.T) {
	a := newAdmin(t)
	report := adminapi.VerifyReport{Zones: []adminapi.VerifyZone{
		{Name: "example.test.", OK: true, Copies: []adminapi.VerifyCopy{{Server: "primary-0", Serial: 2, Records: 4, Digest: "aa"}, {Server: "primary-1", Serial: 2, Records: 4, Digest: "aa"}}},
		{Name: "broken.test.", Copies: []adminapi.VerifyCopy{{Server: "primary-0", Serial: 2, Records: 4, Digest: "aa"}, {Server: "primary-1", Serial: 2, Records: 3, Digest: "bb"}},
			Differences: []string{"primary-1: - www.broken.test. 300 IN A 192.0.2.1"}},
	}}
	a.answer("POST "+adminapi.PathVerify, report)
	r := run(t, nil, "", "verify", "--admin", a.url)
	if r.code != ExitFailed {
		t.Errorf("exit code %d", r.code)
	}
	golden(t, "verify-differs.txt", r.out)
	report.Zones[1] = adminapi.VerifyZone{Name: "broken.test.", Copies: []adminapi.VerifyCopy{{Server: "primary-0", Serial: 2, Records: 4, Digest: "aa"}, {Server: "primary-1", Error: "connection refused"}}}
	b := newAdmin(t)
	b.answer("POST "+adminapi.PathVerify, report)
	if r := run(t, nil, "", "verify", "--admin", b.url); r.code != ExitFailed || !strings.Contains(r.out, "\n1 of 2 zones could not be compared everywhere\n") {
		t.Errorf("exit code %d:\n%s", r.code, r.out)
	}
}

// What a command has done is JSON for programs, as every other answer.
func TestOutcomesAreJSONToo(t *testing.T) {
	a := newAdmin(t)
	for _, path := range []string{adminapi.PathZone, adminapi.PathKey, adminapi.PathMember} {
		a.HandleFunc("DELETE "+path, func(http.ResponseWriter, *http.Request) {})
	}
	for _, tc := range []struct {
		args         []string
		text, result string
	}{
		{[]string{"zone", "delete", "A.test", "--confirm", "a.test."}, "zone A.test. is deleted on all replicas\n", "deleted"},
		{[]string{"key", "delete", "k", "--confirm", "K"}, "key k. is deleted on all replicas\n", "deleted"},
		{[]string{"member", "remove", "primary-2"}, "primary-2 left the quorum\n", "removed"},
	} {
		args := append(tc.args, "--admin", a.url)
		if r := run(t, nil, "", args...); r.code != ExitOK || r.out != tc.text {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, r.code, r.out, r.err)
		}
		var got outcome
		r := run(t, nil, "", append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Name == "" || got.Result != tc.result {
			t.Errorf("%v -o json: %v, %s", args, err, r.out)
		}
	}
}

// A late answer to a question is no reason to fear for the data.
func TestTimeIsUp(t *testing.T) {
	a := newAdmin(t)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	a.HandleFunc("GET "+adminapi.PathZones, hang)
	a.HandleFunc("POST "+adminapi.PathKeyRetire, hang)
	for want, args := range map[string][]string{
		"raise --timeout":          {"zone", "list"},
		"may or may not have happ": {"key", "retire", "k"},
	} {
		if r := run(t, nil, "", append(args, "--timeout", "20ms", "--admin", a.url)...); r.code != ExitFailed || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit code %d, stderr %q", args, r.code, r.err)
		}
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var errb bytes.Buffer
			p := Program{Err: &errb, Terminal: terminal}
			stop := p.progress(func() string { return "working" })
			time.Sleep(2*progressEvery + progressEvery/2) // of the bubble's clock
			stop()
			want := ""
			if terminal {
				want = wipe + "working, 1s" + wipe + "working, 2s" + wipe
			}
			if errb.String() != want {
				t.Errorf("terminal %v: %q, want %q", terminal, errb.String(), want)
			}
		})
	}
}

func TestErrorsOfTheAPI(t *testing.T) {
	for name, tc := range map[string]struct {
		e    adminapi.Error
		code int
	}{
		"invalid":     {adminapi.Error{Code: adminapi.CodeInvalid, Message: "bad policy", Remedy: "write grant"}, ExitUsage},
		"conflict":    {adminapi.Error{Code: adminapi.CodeConflict, Message: "zone exists"}, ExitFailed},
		"unavailable": {adminapi.Error{Code: adminapi.CodeUnavailable, Message: "no quorum"}, ExitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdmin(t)
			a.answer("POST "+adminapi.PathZones, tc.e)
			r := run(t, nil, "", "zone", "add", "example.org", "--admin", a.url)
			if r.code != tc.code || !strings.Contains(r.err, tc.e.Message) || !strings.Contains(r.err, tc.e.Remedy) {
				t.Errorf("exit code %d, stderr %q", r.code, r.err)
			}
		})
	}
}

func TestZoneAddSendsWhatItWasTold(t *testing.T) {
	a := newAdmin(t)
	var got adminapi.AddZone
	a.HandleFunc("POST "+adminapi.PathZones, func(w http.ResponseWriter, r *http.Request) {
		got = adminapi.AddZone{} // decoding leaves what is not there
		_ = json.NewDecoder(r.Body).Decode(&got)
		_ = json.NewEncoder(w).Encode(adminapi.Zone{Name: got.Name, Settings: got.Settings, Serial: 1, Records: 3})
	})
	r := run(t, nil, "", "zone", "add", "example.org", "--grant", "k", "--also-notify", "192.0.2.1:53,192.0.2.2:53", "--ns", "dns1.example.org", "--address", "192.0.2.53", "--admin", a.url)
	if r.code != ExitOK {
		t.Fatal(r)
	}
	if got.Name != "example.org." || got.NS != "dns1.example.org" || fmt.Sprint(got.Addresses) != "[192.0.2.53]" ||
		got.Settings.UpdatePolicy != "grant k. zonesub ANY;" || got.Settings.AllowTransfer != `key "k.";` || len(got.Settings.AlsoNotify) != 2 {
		t.Errorf("sent %+v", got)
	}
	golden(t, "zone-add.txt", r.out)

	a.answer("GET "+adminapi.PathKey, adminapi.Error{Code: adminapi.CodeNotFound, Message: "there is no key"})
	if r := run(t, nil, "", "zone", "add", "a.test", "--grant", "typo", "--mailbox", "host.master@a.test", "--admin", a.url); !strings.Contains(r.err, "there is no key typo yet") {
		t.Errorf("stderr %q", r.err)
	}
	if want := `host\.master.a.test`; got.Mailbox != want {
		t.Errorf("mailbox %q, want %q", got.Mailbox, want)
	}
	if r := run(t, nil, "", "zone", "add", "a.test", "--admin", a.url); r.code != ExitOK || !strings.Contains(r.err, "nobody may update a.test.") {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
}

func TestZoneSetKeepsWhatIsNotGiven(t *testing.T) {
	a := newAdmin(t)
	old := adminapi.ZoneSettings{UpdatePolicy: "grant a zonesub ANY;", AllowQuery: "any;", AllowTransfer: "none;", AlsoNotify: []string{"192.0.2.1:53"}}
	a.answer("GET "+adminapi.PathZone, adminapi.Zone{Name: "example.org.", Settings: old})
	var got adminapi.ZoneSettings
	a.HandleFunc("PUT "+adminapi.PathZone, func(w http.ResponseWriter, r *http.Request) {
		got = adminapi.ZoneSettings{} // decoding leaves what is not there
		_ = json.NewDecoder(r.Body).Decode(&got)
		_ = json.NewEncoder(w).Encode(adminapi.Zone{Name: "example.org.", Settings: got})
	})
	for _, tc := range []struct {
		args []string
		edit func(*adminapi.ZoneSettings)
	}{
		{[]string{"--allow-transfer", "key b;"}, func(s *adminapi.ZoneSettings) { s.AllowTransfer = "key b;" }},
		{[]string{"--allow-update", "key b;"}, func(s *adminapi.ZoneSettings) { s.AllowUpdate, s.UpdatePolicy = "key b;", "" }},
		{[]string{"--max-zone-ttl", "3600"}, func(s *adminapi.ZoneSettings) { s.MaxZoneTTL = 3600 }},
		{[]string{"--local-reads"}, func(s *adminapi.ZoneSettings) { s.LocalReads = true }},
		{[]string{"--also-notify", ""}, func(s *adminapi.ZoneSettings) { s.AlsoNotify = nil }},
		{[]string{"--grant", "b"}, func(s *adminapi.ZoneSettings) {
			s.UpdatePolicy, s.AllowTransfer = "grant b. zonesub ANY;", `key "b.";`
		}},
	} {
		want := old
		tc.edit(&want)
		r := run(t, nil, "", append([]string{"zone", "set", "example.org", "--admin", a.url}, tc.args...)...)
		if r.code != ExitOK || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%v: sent %+v, want %+v (%s)", tc.args, got, want, r.err)
		}
	}
}

func TestZoneImportNamesTheLines(t *testing.T) {
	a := newAdmin(t)
	a.answer("POST "+adminapi.PathZoneImport, adminapi.Error{Code: adminapi.CodeInvalid, Message: "2 mistakes", Remedy: "nothing was imported",
		Lines: []adminapi.LineError{{Line: 2, Message: "no such type"}, {Line: 9, Message: "out of zone"}, {Message: "no SOA"}}})
	file := filepath.Join(t.TempDir(), "db.example")
	if err := os.WriteFile(file, []byte("zone text"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, nil, "", "zone", "import", "example.org", file, "--admin", a.url)
	if want := fmt.Sprintf("error: 2 mistakes\n  %[1]s:2: no such type\n  %[1]s:9: out of zone\n  %[1]s: no SOA\nnothing was imported\n", file); r.code != ExitUsage || r.err != want {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
	r = run(t, nil, "zone text", "zone", "import", "example.org", "--admin", a.url)
	if !strings.Contains(r.err, "standard input:2: no such type") {
		t.Errorf("stderr %q", r.err)
	}
	r = run(t, nil, "", "zone", "import", "example.org", "/nowhere/db", "--admin", a.url)
	if r.code != ExitFailed || !strings.Contains(r.err, "/nowhere/db") {
		t.Errorf("a file that is not there: exit code %d, stderr %q", r.code, r.err)
	}
}

// transferServer serves one zone by AXFR to a key, as a server of somebody else does.
func transferServer(t *testing.T, rrs ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, TsigSecret: map[string]string{"xfer.": "c2VjcmV0"}}
	srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.IsTsig() == nil || w.TsigStatus() != nil {
			m.Rcode = dns.RcodeRefused
			_ = w.WriteMsg(m)
			return
		}
		for _, s := range rrs {
			rr, err := dns.NewRR(s)
			if err != nil {
				t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		m.SetTsig("xfer.", dns.HmacSHA256, 300, time.Now().Unix())
		_ = w.WriteMsg(m)
	})
	ready := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(ready) }
	go func() { _ = srv.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() { _ = srv.Shutdown() })
	return l.Addr().String()
}

func TestZoneImportFromAnotherServer(t *testing.T) {
	const soa = "example.org. 300 IN SOA ns.example.org. host.example.org. 77 1 1 1 1"
	server := transferServer(t, soa, "example.org. 300 IN NS ns.example.org.", "odd.example.org. 300 IN TXT \"a;b\"", soa)
	a := newAdmin(t)
	var got string
	a.HandleFunc("POST "+adminapi.PathZoneImport, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if got == "" {
			_ = json.NewEncoder(w).Encode(adminapi.Zone{Name: "example.org.", Serial: 77})
		} else {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(adminapi.Error{Code: adminapi.CodeInvalid, Message: "refused", Lines: []adminapi.LineError{{Line: 3, Message: "I don't like it"}}})
		}
		got = string(b)
	})
	args := []string{"zone", "import", "example.org", "--from-axfr", server, "--key", "xfer:c2VjcmV0", "--admin", a.url}
	if r := run(t, nil, "", args...); r.code != ExitOK {
		t.Fatal(r)
	}
	if lines := strings.Split(strings.TrimSpace(got), "\n"); len(lines) != 3 || !strings.Contains(lines[0], "SOA") || !strings.Contains(lines[2], `"a;b"`) {
		t.Errorf("imported text:\n%s", got)
	}
	// Nobody has seen the lines of a transfer: the record itself is shown.
	if r := run(t, nil, "", args...); !strings.Contains(r.err, `odd.example.org. 300 IN TXT "a;b": I don't like it`) {
		t.Errorf("stderr %q", r.err)
	}
	args[6] = "xfer:bm90IHNlY3JldA=="
	if r := run(t, nil, "", args...); r.code != ExitFailed || !strings.Contains(r.err, "allow-transfer") {
		t.Errorf("with a wrong key: exit code %d, stderr %q", r.code, r.err)
	}
	args[6] = "nonsense"
	if r := run(t, nil, "", args...); r.code != ExitUsage || !strings.Contains(r.err, "[algorithm:]name:secret") {
		t.Errorf("with half a key: exit code %d, stderr %q", r.code, r.err)
	}
}

func TestKeyExport(t *testing.T) {
	a := newAdmin(t)
	a.HandleFunc("GET "+adminapi.PathKey, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue(adminapi.ParamSecret) != "true" {
			t.Error("the secret was not asked for")
		}
		_ = json.NewEncoder(w).Encode(adminapi.Key{Name: r.PathValue("name"), Versions: []adminapi.KeyVersion{
			{Version: 2, Algorithm: "hmac-sha512", Secret: "bmV3"}, {Version: 1, Algorithm: "hmac-sha256", Secret: "b2xk"},
		}})
	})
	for _, e := range clientconf.Formats() {
		r := run(t, nil, "", "key", "export", "dhcp.key", "--format", e, "--server", "192.0.2.53:5300", "--zone", "example.org", "--zone", "2.0.192.in-addr.arpa.", "--admin", a.url)
		if r.code != ExitOK {
			t.Errorf("%s: %s", e, r.err)
		}
		golden(t, "export-"+e+".txt", r.out)
	}
	for server, want := range map[string]string{
		"":                 "server SERVER-ADDRESS 53",
		"2001:db8::1":      "server 2001:db8::1 53",
		"[2001:db8::1]:54": "server 2001:db8::1 54",
		"dns.example.org":  "server dns.example.org 53",
	} {
		r := run(t, nil, "", "key", "export", "k", "--server", server, "--admin", a.url)
		if !strings.Contains(r.out, want+"\n") {
			t.Errorf("--server %q: %s", server, r.out)
		}
	}
}

// TestDetach: what the operator manages is refused with the remedy, and --detach asks to take it over; nothing else does.
func TestDetach(t *testing.T) {
	a := newAdmin(t)
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(adminapi.HeaderTakeOver) == "true" {
			_, _ = w.Write([]byte("{}"))
			return
		}
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(adminapi.Error{Code: adminapi.CodeManaged, Message: "managed", Remedy: "repeat this with --detach"})
	}
	for _, pattern := range []string{"DELETE " + adminapi.PathZone, "DELETE " + adminapi.PathKey, "PUT " + adminapi.PathZone,
		"POST " + adminapi.PathZoneImport, "POST " + adminapi.PathKeyRotate, "POST " + adminapi.PathKeyRetire, "PUT " + adminapi.PathKeyGuarantee} {
		a.HandleFunc(pattern, answer)
	}
	named := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"name":%q}`, r.PathValue("name"))
	}
	a.HandleFunc("GET "+adminapi.PathZone, named)
	a.HandleFunc("GET "+adminapi.PathKey, named)
	for _, args := range [][]string{
		{"zone", "set", "example.org", "--max-zone-ttl", "60"}, {"zone", "delete", "example.org", "--confirm", "example.org"},
		{"zone", "import", "example.org", "-", "--replace"}, {"key", "rotate", "k"}, {"key", "retire", "k"}, {"key", "delete", "k", "--confirm", "k"},
		{"key", "set", "k", "--wait-secondaries", "0"},
	} {
		args = append(args, "--admin", a.url)
		if r := run(t, nil, "$ORIGIN example.org.", args...); r.code != ExitFailed || !strings.Contains(r.err, "--detach") {
			t.Errorf("%q: code %d, %s", args, r.code, r.err)
		}
		if r := run(t, nil, "$ORIGIN example.org.", append(args, "--detach")...); r.code != ExitOK {
			t.Errorf("%q with --detach: code %d, %s", args, r.code, r.err)
		}
	}
}

func TestKeyAddReadsTheSecretFromAFileOnly(t *testing.T) {
	a := newAdmin(t)
	var got adminapi.AddKey
	a.HandleFunc("POST "+adminapi.PathKeys, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&got)
		_ = json.NewEncoder(w).Encode(adminapi.Key{Name: got.Name})
	})
	r := run(t, nil, "c2VjcmV0\n", "key", "add", "k", "--secret-file", "-", "--admin", a.url)
	if r.code != ExitOK || got.Secret != "c2VjcmV0" || got.Name != "k." {
		t.Errorf("sent %+v: %s", got, r.err)
	}
}

// A local cluster's file leads to its primaries, and to one that is ready.
func TestDirFindsAReadyPrimary(t *testing.T) {
	notReady, ready := newAdmin(t), newAdmin(t)
	notReady.answer("GET "+adminapi.PathReady, adminapi.Error{Code: adminapi.CodeUnavailable, Message: "catching up"})
	ready.HandleFunc("GET "+adminapi.PathReady, func(http.ResponseWriter, *http.Request) {})
	ready.answer("GET "+adminapi.PathZones, []adminapi.Zone{{Name: "from-the-ready-one."}})
	notReady.answer("GET "+adminapi.PathZones, []adminapi.Zone{{Name: "from-the-other."}})
	dir := t.TempDir()
	write := func(admins ...string) {
		var i devcluster.Info
		for _, a := range admins {
			i.Primaries = append(i.Primaries, devcluster.PrimaryInfo{Admin: a})
		}
		b, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, devcluster.InfoFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("http://127.0.0.1:1", notReady.url, ready.url)
	for _, env := range []map[string]string{{envDir: dir}, nil} {
		args := []string{"zone", "list"}
		if env == nil {
			args = append(args, "--dir", dir)
		}
		if r := run(t, env, "", args...); !strings.Contains(r.out, "from-the-ready-one.") {
			t.Errorf("stdout %q, stderr %q", r.out, r.err)
		}
	}
	write("http://127.0.0.1:1", notReady.url)
	if r := run(t, nil, "", "zone", "list", "--dir", dir); !strings.Contains(r.out, "from-the-other.") {
		t.Errorf("none is ready: stdout %q, stderr %q", r.out, r.err)
	}
	write("http://127.0.0.1:1", "http://127.0.0.1:1")
	if r := run(t, nil, "", "zone", "list", "--dir", dir); r.code != ExitFailed || !strings.Contains(r.err, "no primary answers") {
		t.Errorf("all are dead: exit code %d, stderr %q", r.code, r.err)
	}
	if r := run(t, nil, "", "zone", "list", "--dir", t.TempDir()); r.code != ExitFailed || !strings.Contains(r.err, "zonekeeper dev --dir") {
		t.Errorf("no cluster there: exit code %d, stderr %q", r.code, r.err)
	}
}

func TestPrimaryConfigurationErrorsExitWith2(t *testing.T) {
	file := filepath.Join(t.TempDir(), "primary.json")
	if err := os.WriteFile(file, []byte("{\n\"nmae\": \"x\"\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, nil, "", "primary", "--config", file)
	if r.code != ExitUsage || !strings.Contains(r.err, file+":2:") {
		t.Errorf("exit code %d, stderr %q", r.code, r.err)
	}
}

func TestIntroduceIsReadyToPaste(t *testing.T) {
	var b strings.Builder
	err := introduce(&b, "/tmp/dev", devcluster.Info{
		Endpoint: "[::1]:5300", Zones: []string{"example.test"}, Primaries: make([]devcluster.PrimaryInfo, 3),
		Key: devcluster.KeyInfo{Name: "dev-key", Algorithm: "hmac-sha256", Secret: "c2VjcmV0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nsupdate -y hmac-sha256:dev-key:c2VjcmV0 <<END\nserver ::1 5300\nzone example.test\n", "dig @::1 -p 5300 www.example.test A", "verify --dir /tmp/dev"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if r := run(t, nil, "", args...); r.out != "zonekeeper v1.2.3\n" {
			t.Errorf("%v: got %q", args, r.out)
		}
	}
	if r := run(t, nil, "", "version", "-o", "json"); r.out != "{\n  \"version\": \"v1.2.3\"\n}\n" {
		t.Errorf("got %q", r.out)
	}
}

package cli

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

func TestSecondaryRegistry(t *testing.T) {
	a := newAdmin(t)
	var asked []string
	record := func(pattern string) {
		a.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			var s adminapi.Secondary
			_ = json.NewDecoder(r.Body).Decode(&s)
			b, _ := json.Marshal(s)
			asked = append(asked, r.Method+" "+r.PathValue("name")+" "+string(b))
			_, _ = w.Write([]byte("{}\n"))
		})
	}
	record("PUT " + adminapi.PathSecondary)
	record("DELETE " + adminapi.PathSecondary)
	a.answer("GET "+adminapi.PathSecondaries, []adminapi.Secondary{
		{Name: "ns2", Key: "k.", Notify: []string{"192.0.2.2:53", "[2001:db8::1]:53"}, Foreign: true}, {Name: "secondary-0", Key: "secondary-0."},
		{Name: "secondary-1", Key: "secondary-1.", Connected: true},
		{Name: "secondary-2", Key: "secondary-2.", Connected: true, Status: &adminapi.SecondaryStatus{Ready: true}},
		{Name: "secondary-3", Key: "secondary-3.", Connected: true, Status: &adminapi.SecondaryStatus{Reason: "2 zones are not served"}},
	})
	for _, tc := range []struct {
		args []string
		out  string
	}{
		{[]string{"add", "secondary-0"}, "secondary secondary-0 is registered with key secondary-0.\n"},
		{[]string{"add", "ns2", "--key", "k", "--foreign", "--notify", "192.0.2.2:53,[2001:db8::1]:53"}, "secondary ns2 is registered with key k.\n"},
		{[]string{"remove", "ns2"}, "secondary ns2 is not registered any more\n"},
		{[]string{"list"}, `SECONDARY    KEY           STATE                              NOTIFY
ns2          k.            foreign                            192.0.2.2:53 [2001:db8::1]:53
secondary-0  secondary-0.  not connected                      -
secondary-1  secondary-1.  connected                          -
secondary-2  secondary-2.  ready                              -
secondary-3  secondary-3.  not ready: 2 zones are not served  -
`},
	} {
		r := run(t, nil, "", append(append([]string{"secondary"}, tc.args...), "--admin", a.url)...)
		if r.code != ExitOK || r.out != tc.out {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", tc.args, r.code, r.out, r.err)
		}
	}
	want := []string{
		`PUT secondary-0 {"name":"secondary-0","key":"secondary-0.","connected":false}`,
		`PUT ns2 {"name":"ns2","key":"k.","notify":["192.0.2.2:53","[2001:db8::1]:53"],"foreign":true,"connected":false}`,
		`DELETE ns2 {"name":"","key":"","connected":false}`,
	}
	if !slices.Equal(asked, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}

func TestCatalog(t *testing.T) {
	a := newAdmin(t)
	catalog := adminapi.Catalog{Name: "catalog.test.", Serial: 12, Confirmed: 9, Members: 3}
	a.answer("GET "+adminapi.PathCatalog, catalog)
	a.answer("PUT "+adminapi.PathCatalog, catalog)
	var confirmed adminapi.ConfirmCatalog
	a.HandleFunc("POST "+adminapi.PathCatalogConfirm, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&confirmed)
		_, _ = w.Write([]byte("{}\n"))
	})
	const shown = "catalog    catalog.test.\nserial     12\nmembers    3\nconfirmed  9\n"
	for _, tc := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"show"}, ExitOK, shown},
		{[]string{"create", "catalog.test"}, ExitOK, shown},
		{[]string{"confirm", "--serial", "12"}, ExitOK, "the catalog is confirmed up to serial 12\n"},
		{[]string{"confirm"}, ExitUsage, "which version? give --serial N"},
	} {
		r := run(t, nil, "", append(append([]string{"catalog"}, tc.args...), "--admin", a.url)...)
		if r.code != tc.code || !strings.Contains(r.out+r.err, tc.text) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", tc.args, r.code, r.out, r.err)
		}
	}
	if confirmed.Serial != 12 {
		t.Errorf("confirmed %+v", confirmed)
	}
}

// What is not given of a guarantee stays, and 0 secondaries end it; zones and keys alike.
func TestGuaranteeFlags(t *testing.T) {
	a := newAdmin(t)
	old := &adminapi.Guarantee{Secondaries: 1, LimitMS: 3000}
	var now *adminapi.Guarantee
	var got string
	a.HandleFunc("GET "+adminapi.PathZone, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(adminapi.Zone{Name: "example.org.", Settings: adminapi.ZoneSettings{Guarantee: now}})
	})
	a.HandleFunc("PUT "+adminapi.PathZone, func(w http.ResponseWriter, r *http.Request) {
		var s adminapi.ZoneSettings
		_ = json.NewDecoder(r.Body).Decode(&s)
		b, _ := json.Marshal(s.Guarantee)
		got = string(b)
		_ = json.NewEncoder(w).Encode(adminapi.Zone{Name: "example.org.", Settings: s})
	})
	a.HandleFunc("GET "+adminapi.PathKey, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(adminapi.Key{Name: "k.", Guarantee: now})
	})
	a.HandleFunc("PUT "+adminapi.PathKeyGuarantee, func(w http.ResponseWriter, r *http.Request) {
		var g adminapi.Guarantee
		_ = json.NewDecoder(r.Body).Decode(&g)
		b, _ := json.Marshal(&g)
		if got = string(b); g == (adminapi.Guarantee{}) {
			got = "null"
		}
		_, _ = w.Write([]byte("{}\n"))
	})
	for _, tc := range []struct {
		old  *adminapi.Guarantee
		args []string
		want string
		text string // in a zone's answer
	}{
		{nil, []string{"--wait-secondaries", "2"}, `{"secondaries":2}`, "waits for  2 secondaries\n"},
		{old, []string{"--wait-secondaries", "2"}, `{"secondaries":2,"limit_ms":3000}`, "waits for  2 secondaries, at most 3s\n"},
		{old, []string{"--wait-limit", "500ms"}, `{"secondaries":1,"limit_ms":500}`, "waits for  1 secondary, at most 500ms\n"},
		{old, []string{"--wait-limit", "1us"}, `{"secondaries":1,"limit_ms":1}`, "at most 1ms\n"},
		{old, []string{"--wait-secondaries", "0"}, "null", "zone     example.org.\n"},
		{nil, []string{"--wait-limit", "1s"}, `{"secondaries":0,"limit_ms":1000}`, ""}, // the primary says what is wrong with it
	} {
		now = tc.old
		for _, what := range []string{"zone", "key"} {
			got = ""
			r := run(t, nil, "", append([]string{what, "set", map[string]string{"zone": "example.org", "key": "k"}[what], "--admin", a.url}, tc.args...)...)
			if r.code != ExitOK || got != tc.want || what == "zone" && !strings.Contains(r.out, tc.text) {
				t.Errorf("%s %v of %+v: exit code %d, sent %s, want %s; stdout %q, stderr %q", what, tc.args, tc.old, r.code, got, tc.want, r.out, r.err)
			}
		}
	}
	if r := run(t, nil, "", "key", "set", "k", "--admin", a.url); r.code != ExitUsage || !strings.Contains(r.err, "nothing to change") {
		t.Errorf("no flag: exit code %d, stderr %q", r.code, r.err)
	}
}

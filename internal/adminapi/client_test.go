package adminapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestClientFillsPathsAndReadsAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathZone, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(Zone{Name: r.PathValue("name"), Serial: 7})
	})
	mux.HandleFunc("POST "+PathZoneImport, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		var s ZoneSettings
		if err := json.Unmarshal([]byte(r.FormValue(ParamSettings)), &s); err != nil {
			t.Errorf("settings: %v", err)
		}
		if s.AllowTransfer != `key "k";` || r.FormValue(ParamStrip) != "true" || string(text) != "zone text" {
			t.Errorf("got settings %+v, query %s, body %q", s, r.URL.RawQuery, text)
		}
		w.WriteHeader(StatusOf(CodeInvalid))
		_ = json.NewEncoder(w).Encode(Error{Code: CodeInvalid, Message: "bad zone", Lines: []LineError{{Line: 3, Message: "no such type"}}})
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c, err := NewClient(strings.TrimPrefix(srv.URL, "http://"), nil)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 2317 delegations have a slash in the name; the root zone is a folder's name for HTTP.
	for _, name := range []string{"0/25.2.0.192.in-addr.arpa.", "."} {
		z, err := c.Zone(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if z.Name != name || z.Serial != 7 {
			t.Errorf("got %+v", z)
		}
	}
	_, err = c.ImportZone(t.Context(), "example.test.", strings.NewReader("zone text"),
		ImportOptions{StripDNSSEC: true, Settings: ZoneSettings{AllowTransfer: `key "k";`}})
	if !IsCode(err, CodeInvalid) || !strings.Contains(err.Error(), "line 3: no such type") {
		t.Errorf("got %v", err)
	}
}

func TestClientKeepsForeignErrors(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not ready: no quorum", http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	c, err := NewClient(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not ready: no quorum") {
		t.Errorf("got %v", err)
	}
}

func TestNewClientRefusesNonsense(t *testing.T) {
	for _, s := range []string{"ftp://x:1", "http://", "::", ""} {
		if _, err := NewClient(s, nil); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

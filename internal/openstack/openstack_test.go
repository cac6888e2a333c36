package openstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

func TestCredentials(t *testing.T) {
	const auth = "https://keystone.example/v3"
	clouds := func(auth string) map[string][]byte {
		return map[string][]byte{"clouds.yaml": []byte("clouds:\n  one:\n    region_name: R\n    auth: {" + auth + "}\n"), "cacert": []byte("pem")}
	}
	for _, tc := range []struct {
		name string
		data map[string][]byte
		want string // of the error
	}{
		{"gardener", map[string][]byte{"authURL": []byte(auth + "\n"), "domainName": []byte("d"), "tenantName": []byte("t"), "username": []byte("u"), "password": []byte("geheim")}, ""},
		{"gardener application", map[string][]byte{"authURL": []byte(auth), "domainName": []byte("d"), "tenantName": []byte("t"), "applicationCredentialID": []byte("i"), "applicationCredentialSecret": []byte("geheim")}, ""},
		{"clouds.yaml", clouds("auth_url: " + auth + ", username: u, password: geheim, project_name: p, domain_name: d"), ""},
		{"clouds.yaml application", clouds("auth_url: " + auth + ", application_credential_id: i, application_credential_secret: geheim"), ""},
		{"both", map[string][]byte{"authURL": []byte(auth), "username": []byte("u"), "password": []byte("geheim"), "applicationCredentialSecret": []byte("geheim")}, "keep one"},
		{"nothing", nil, "no auth URL"},
		{"no project", clouds("auth_url: " + auth + ", username: u, password: geheim"), "no project"},
		{"no YAML", map[string][]byte{"clouds.yaml": []byte("geheim: [")}, "is no YAML"},
		{"two clouds", map[string][]byte{"clouds.yaml": []byte("clouds: {a: {}, b: {}}")}, "has 2 clouds; leave one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := FromSecret(tc.data, "clouds.yaml")
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			var b strings.Builder
			slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c)
			if text := fmt.Sprintf("%v %+v %#v %s %v", c, c, c, b.String(), err); strings.Contains(text, "geheim") {
				t.Errorf("a secret is printed: %s", text)
			}
		})
	}
	a, b := Credentials{Password: "1"}, Credentials{Password: "2"}
	if a.digest() == b.digest() {
		t.Error("a rotated password is the same session")
	}
}

func TestFaults(t *testing.T) {
	neutron := func(code int, typ string) error {
		return gophercloud.ErrUnexpectedResponseCode{Actual: code, Body: fmt.Appendf(nil, `{"NeutronError":{"type":%q,"message":"words"}}`, typ), ResponseHeader: http.Header{"Retry-After": {"7"}}}
	}
	for _, tc := range []struct {
		err       error
		kind      FaultKind
		temporary bool
	}{
		{neutron(401, ""), Unauthorized, false}, {neutron(403, "PolicyNotAuthorized"), Forbidden, false}, {neutron(404, "PortNotFound"), NotFound, true},
		{neutron(409, "IpAddressAlreadyAllocated"), Conflict, true}, {neutron(409, "OverQuota"), QuotaExceeded, false}, {neutron(412, "RevisionNumberConstraintFailed"), Stale, true},
		{neutron(429, ""), Throttled, true}, {neutron(500, ""), ServerError, true}, {neutron(503, ""), ServerError, true}, {neutron(400, "AllowedAddressPairExhausted"), Invalid, false},
		{context.DeadlineExceeded, Timeout, true}, {errors.New("connection refused"), Unreachable, true},
		{&gophercloud.ErrUnableToReauthenticate{ErrReauth: neutron(401, "")}, Unauthorized, false},
		{&gophercloud.ErrUnableToReauthenticate{ErrReauth: neutron(503, "")}, Unreachable, true},
		{&gophercloud.ErrErrorAfterReauthentication{ErrOriginal: neutron(401, "")}, Unauthorized, false},
	} {
		var f *Fault
		err := fault("update port x", tc.err)
		if !errors.As(err, &f) || f.Kind != tc.kind || temporary(err) != tc.temporary || f.Remedy == "" || !strings.Contains(f.Error(), "update port x") {
			t.Errorf("%v: %v, want %s, temporary %v", tc.err, err, tc.kind, tc.temporary)
		}
		if f.Kind == Throttled && f.RetryAfter != 7*time.Second {
			t.Errorf("Retry-After %s", f.RetryAfter)
		}
	}
	if both := errors.Join(fault("a", neutron(412, "")), fault("b", neutron(403, ""))); temporary(both) {
		t.Error("one fault of two needs a person")
	}
	if fault("x", nil) != nil {
		t.Error("no error is a fault")
	}
}

// A Keystone that turns everybody away: the fault says what to do, and no password is in it.
func TestLoginRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":{"code":401,"title":"Unauthorized"}}`, http.StatusUnauthorized)
	}))
	defer srv.Close()
	s, err := NewSessions(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), Credentials{AuthURL: srv.URL + "/v3", Username: "u", Password: "geheim", Project: "p", UserDomain: "d", ProjectDomain: "d"})
	var f *Fault
	if !errors.As(err, &f) || f.Kind != Unauthorized || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "renew the credentials") {
		t.Errorf("%v", err)
	}
}

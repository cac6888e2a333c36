package openstack

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/zonekeeper/zonekeeper/internal/openstack"
	"github.com/zonekeeper/zonekeeper/internal/openstack/plan"
)

// proxy stands before Neutron and spoils the requests that match, as often as it is told.
type proxy struct {
	*httptest.Server
	mu     sync.Mutex
	method string
	path   string
	left   int
	hit    int
	answer func(w http.ResponseWriter)
	after  bool // the request reaches Neutron, and only its answer is spoilt
}

func newProxy(t *testing.T, to string) *proxy {
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	next := httputil.NewSingleHostReverseProxy(u)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		spoil := p.left > 0 && r.Method == p.method && strings.HasPrefix(r.URL.Path, p.path)
		if spoil {
			p.left--
			p.hit++
		}
		p.mu.Unlock()
		switch {
		case spoil && p.after:
			next.ServeHTTP(httptest.NewRecorder(), r)
			p.answer(w)
		case spoil:
			p.answer(w)
		default:
			next.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) spoil(method, path string, times int, after bool, answer func(http.ResponseWriter)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.method, p.path, p.left, p.hit, p.after, p.answer = method, path, times, 0, after, answer
}

func status(code int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"NeutronError":{"type":"Injected","message":"injected","detail":""}}`))
	}
}

func quota(w http.ResponseWriter) {
	w.WriteHeader(http.StatusConflict)
	_, _ = w.Write([]byte(`{"NeutronError":{"type":"OverQuota","message":"Quota exceeded for resources: ['port'].","detail":""}}`))
}

func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// Each fault is injected before the real API. What may pass is got over in the same call; what needs a person is said, and the next call
// goes on from there.
func TestFaults(t *testing.T) {
	c, run := newCloud(t, "10.253.0.0/16")
	if !run {
		return
	}
	p := newProxy(t, c.neutron)
	nodes := []plan.Node{c.worker(1), c.worker(2)}
	d := plan.Desired{Owner: plan.Owner{Cluster: "shoot--p--s", Name: "dns/faults"}, VIPs: []plan.VIP{{Address: addr("10.253.0.53")}}, Security: &plan.Security{}, Nodes: nodes}
	s := c.sessionAt(p.URL)
	before := c.inventory()
	for _, tc := range []struct {
		name, method, path string
		times              int
		after              bool
		answer             func(http.ResponseWriter)
		want               openstack.FaultKind // "": got over in the same call
	}{
		{"token expired", "POST", "/v2.0/ports", 1, false, status(401), ""},
		{"401 for ever", "POST", "/v2.0/ports", 100, false, status(401), openstack.Unauthorized},
		{"403", "PUT", "/v2.0/ports/", 100, false, status(403), openstack.Forbidden},
		{"404", "PUT", "/v2.0/ports/", 1, false, status(404), ""},
		{"409", "POST", "/v2.0/ports", 1, false, status(409), ""},
		{"412", "PUT", "/v2.0/ports/", 2, false, status(412), ""},
		{"429, Retry-After 1", "GET", "/v2.0/ports", 1, false, status(429, "Retry-After", "1"), ""},
		{"429, Retry-After 1 h", "GET", "/v2.0/ports", 1, false, status(429, "Retry-After", "3600"), openstack.Throttled},
		{"500 on reading", "GET", "/v2.0/security-groups", 3, false, status(500), ""},
		{"503 on writing", "POST", "/v2.0/security-groups", 1, false, status(503), ""},
		{"500, but it happened", "POST", "/v2.0/ports", 1, true, status(500), ""},
		{"500, but the group is there", "POST", "/v2.0/security-groups", 1, true, status(500), ""},
		{"hung up", "PUT", "/v2.0/ports/", 1, false, hangUp, ""},
		{"hung up, but it happened", "PUT", "/v2.0/ports/", 1, true, hangUp, ""},
		{"500 for ever", "POST", "/v2.0/ports", 100, false, status(500), openstack.ServerError},
		{"quota", "POST", "/v2.0/ports", 1, false, quota, openstack.QuotaExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.spoil(tc.method, tc.path, tc.times, tc.after, tc.answer)
			st, err := s.Reconcile(t.Context(), d)
			var f *openstack.Fault
			if tc.want == "" && (err != nil || !st.Done()) || tc.want != "" && (!errors.As(err, &f) || f.Kind != tc.want) {
				t.Errorf("%v, want %q; %+v", err, tc.want, st.Problems)
			}
			if p.hit == 0 || p.hit > 10 {
				t.Errorf("%d requests were spoilt", p.hit)
			}
			t.Logf("%d spoilt, %d looks, %d steps: %v", p.hit, st.Looks, st.Steps, err)
			p.spoil("", "", 0, false, nil)
			if st, err := s.Reconcile(t.Context(), d); err != nil || !st.Done() {
				t.Errorf("afterwards: %v", err)
			}
			for _, n := range nodes {
				if got := c.pairs(n.ServerID); got != "10.253.0.53 100.96.0.0/11" {
					t.Errorf("%s: pairs %s", n.Name, got)
				}
			}
			if _, err := s.Delete(t.Context(), openstack.Ref{Owner: d.Owner}); err != nil {
				t.Fatal(err)
			}
			if after := c.inventory(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

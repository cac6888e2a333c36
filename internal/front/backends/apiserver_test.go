package backends

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// apiServer keeps EndpointSlices as the Kubernetes API describes it ("Kubernetes API Concepts"): every change has a version of its own; a
// list says the version it is of; a watch tells all that came after a version, in order, or that it is too old (410), which it says by status
// or in the stream; and it ends when its time is over, at the server's pleasure, or with the token.
type apiServer struct {
	t *testing.T

	mu       sync.Mutex
	version  int
	slices   map[string]string // words of sliceJSON by name
	versions map[string]int    // by name
	history  []change
	oldest   int // of what history still has
	token    string
	failing  bool // 503 to everything
	gone     int  // 410s so far, to alternate between the ways of saying it
	denied   int
	watches  int
	cut      chan struct{} // closed: all watches end
	news     chan struct{} // closed: look again
}

type change struct {
	version   int
	kind, obj string
}

func newAPIServer(t *testing.T) *apiServer {
	return &apiServer{t: t, version: 100, oldest: 100, slices: map[string]string{}, versions: map[string]int{}, token: "t0", cut: make(chan struct{}), news: make(chan struct{})}
}

// set gives a slice new words, "" deletes it.
func (a *apiServer) set(name, words string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.slices[name]
	if words == "" && !known {
		return
	}
	a.version++
	kind := "ADDED"
	switch {
	case words == "":
		kind, words = "DELETED", a.slices[name]
		delete(a.slices, name)
	case known:
		kind = "MODIFIED"
		a.slices[name] = words
	default:
		a.slices[name] = words
	}
	a.versions[name] = a.version
	a.history = append(a.history, change{a.version, kind, sliceJSON(name, strconv.Itoa(a.version), words)})
	a.wake()
}

func (a *apiServer) wake() {
	close(a.news)
	a.news = make(chan struct{})
}

func (a *apiServer) with(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// endWatches ends all of them.
func (a *apiServer) endWatches() {
	close(a.cut)
	a.cut = make(chan struct{})
}

// forget compacts: watches that are further back are told to start anew.
func (a *apiServer) forget() { a.history, a.oldest = nil, a.version }

// want is what the Service consists of.
func (a *apiServer) want() []Primary {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]slice{}
	for name, words := range a.slices {
		var s slice
		if err := json.Unmarshal([]byte(sliceJSON(name, "1", words)), &s); err != nil {
			a.t.Error(err)
		}
		all[name] = s
	}
	return sorted(primaries(all))
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	status := func(code int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, text, code)
	}
	a.mu.Lock()
	switch {
	case a.failing:
		a.mu.Unlock()
		status(http.StatusServiceUnavailable, "apiserver not ready")
	case r.Header.Get("Authorization") != "Bearer "+a.token:
		a.denied++
		a.mu.Unlock()
		status(http.StatusUnauthorized, "Unauthorized")
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/dns/endpointslices" || q.Get("labelSelector") != "kubernetes.io/service-name=primaries":
		a.mu.Unlock()
		a.t.Errorf("asked for %s", r.URL)
		status(http.StatusNotFound, "no such thing")
	case q.Get("watch") == "":
		var items []string
		for _, name := range slices.Sorted(maps.Keys(a.slices)) {
			items = append(items, sliceJSON(name, strconv.Itoa(a.versions[name]), a.slices[name]))
		}
		body := fmt.Sprintf(`{"kind":"EndpointSliceList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, a.version, strings.Join(items, ","))
		a.mu.Unlock()
		_, _ = w.Write([]byte(body))
	default:
		a.watches++
		from, err := strconv.Atoi(q.Get("resourceVersion"))
		seconds, err2 := strconv.Atoi(q.Get("timeoutSeconds"))
		if err != nil || err2 != nil {
			a.t.Errorf("a watch without a version or a time: %s", r.URL)
		}
		if from < a.oldest {
			a.gone++
			inStream := a.gone%2 == 0
			a.mu.Unlock()
			if inStream {
				_, _ = w.Write([]byte(`{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}` + "\n"))
			} else {
				status(http.StatusGone, "The resourceVersion for the provided watch is too old.")
			}
			return
		}
		a.watch(w, r, from, time.Duration(seconds)*time.Second)
	}
}

// watch is called with the mutex, and returns without it.
func (a *apiServer) watch(w http.ResponseWriter, r *http.Request, from int, within time.Duration) {
	over := time.NewTimer(within)
	defer over.Stop()
	cut := a.cut
	for {
		var text []string
		if from < a.oldest {
			text = append(text, `{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version"}}`)
		}
		for _, c := range a.history {
			if c.version > from {
				text = append(text, fmt.Sprintf(`{"type":%q,"object":%s}`, c.kind, c.obj))
			}
		}
		if len(text) == 0 { // what came since was of other Services
			text = append(text, fmt.Sprintf(`{"type":"BOOKMARK","object":{"kind":"EndpointSlice","metadata":{"resourceVersion":"%d"}}}`, a.version))
		}
		tooOld := from < a.oldest
		from = a.version
		news := a.news
		a.mu.Unlock()
		if _, err := w.Write([]byte(strings.Join(text, "\n") + "\n")); err != nil || tooOld {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-over.C:
			return
		case <-cut:
			return
		case <-news:
		}
		a.mu.Lock()
	}
}

// TestSlicesFollow: whatever the API server does, the list is in the end what it says, and never empty.
func TestSlicesFollow(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a := newAPIServer(t)
	srv := httptest.NewUnstartedServer(a)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	srv.StartTLS()
	defer srv.Close()
	cfg := DefaultSlicesConfig()
	cfg.API, cfg.Namespace, cfg.Service, cfg.Logger = srv.URL, "dns", "primaries", quiet()
	dir := t.TempDir()
	cfg.CAFile, cfg.TokenFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(cfg.CAFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Watch, cfg.RetryMin, cfg.RetryMax = time.Second, time.Millisecond, 5*time.Millisecond
	rotate := func(token string) {
		if err := os.WriteFile(cfg.TokenFile, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a.with(func() { a.token = token })
	}
	rotate("t0")
	s := Slices(cfg)
	lists := make(chan []Primary, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(l []Primary) { lists <- l }) }()

	var got []Primary
	for round := range 60 {
		for range 1 + random.IntN(4) {
			switch name := fmt.Sprintf("s%d", random.IntN(3)); random.IntN(12) {
			case 0:
				a.with(a.forget)
			case 1:
				a.with(a.endWatches)
			case 2:
				rotate(fmt.Sprintf("t%d", round+1))
				if random.IntN(2) == 0 {
					a.with(a.endWatches)
				}
			case 3:
				srv.CloseClientConnections()
			case 4:
				a.with(func() { a.failing = true; a.endWatches() })
			case 5:
				a.set(name, "")
			default:
				var words []string
				for i := range 3 {
					if random.IntN(3) > 0 {
						mark := []string{"", "", "!", "-"}[random.IntN(4)]
						words = append(words, fmt.Sprintf("%sprimary-%d=192.0.2.%d", mark, i, 1+random.IntN(4)))
					}
				}
				a.set(name, strings.Join(words, " "))
			}
		}
		a.with(func() { a.failing = false })
		want := a.want()
		for late := time.After(patience); ; {
			since, reason := s.Stale()
			if len(want) > 0 && since.IsZero() && slices.Equal(got, want) || len(want) == 0 && reason != nil && strings.Contains(reason.Error(), errEmpty.Error()) {
				break
			}
			look := time.NewTimer(time.Millisecond)
			select {
			case got = <-lists:
				if len(got) == 0 || !slices.IsSortedFunc(got, func(x, y Primary) int { return cmp.Compare(x.Name, y.Name) }) {
					t.Errorf("round %d: the list %v", round, got)
				}
			case <-look.C:
			case <-late:
				t.Fatalf("round %d: %v, stale %v %v; want %v", round, got, since, reason, want)
			}
			look.Stop()
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	a.with(func() {
		t.Logf("%d changes, %d watches, %d times 410, %d times 401", a.version-100, a.watches, a.gone, a.denied)
	})
}

package primary

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/adminapi"
)

// peerServer plays a peer's admin API.
func peerServer(t *testing.T, index, body string, ahead time.Duration) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathCheckpoint, func(w http.ResponseWriter, _ *http.Request) {
		if index == "" {
			writeError(w, &adminapi.Error{Code: adminapi.CodeNotFound, Message: "this replica has no checkpoint yet"})
			return
		}
		w.Header().Set(adminapi.HeaderIndex, index)
		_, _ = io.WriteString(w, body)
	})
	mux.HandleFunc("GET "+adminapi.PathClock, reply(func(*http.Request) (adminapi.Clock, error) {
		return adminapi.Clock{UnixMS: time.Now().Add(ahead).UnixMilli()}, nil
	}))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestCheckpointOfPeer(t *testing.T) {
	p, err := newPeers("self", map[string]string{
		"self": "http://127.0.0.1:1", "dead": "http://127.0.0.1:1",
		"none": peerServer(t, "", "", 0), "old": peerServer(t, "41", "old", 0), "right": peerServer(t, "42", "right", 0),
	}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Checkpoint(context.Background(), 42)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || string(b) != "right" {
		t.Errorf("read %q, %v", b, err)
	}
	_ = r.Close()
	_, err = p.Checkpoint(context.Background(), 43)
	if err == nil {
		t.Fatal("a checkpoint below what is needed was taken")
	}
	for _, name := range []string{"dead", "none", "old", "right"} { // each peer's own reason
		if !strings.Contains(err.Error(), name+":") {
			t.Errorf("%v\nsays nothing of %s", err, name)
		}
	}
}

// TestClockOff defends C7: the one clock that is off is told apart from those that are right.
func TestClockOff(t *testing.T) {
	for name, c := range map[string]struct {
		a, b, want time.Duration
	}{
		"all right":     {0, 0, 0},
		"a peer is off": {10 * time.Second, 0, 0},
		"ours is off":   {10 * time.Second, 10 * time.Second, -10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPeers("self", map[string]string{"a": peerServer(t, "", "", c.a), "b": peerServer(t, "", "", c.b)}, http.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			p.askClocks(context.Background())
			if !p.compared() {
				t.Error("nothing was compared")
			}
			if got := p.skew(); (got - c.want).Abs() > time.Second {
				t.Errorf("skew %v, want about %v", got, c.want)
			}
		})
	}
}

// TestClockIsNotFollowedUnseen defends C7: where nobody was asked, the machine's clock may have been set since.
func TestClockIsNotFollowedUnseen(t *testing.T) {
	for name, c := range map[string]struct {
		peers map[string]string
		want  bool
	}{
		"alone":      {map[string]string{"self": "http://127.0.0.1:1"}, true},
		"none heard": {map[string]string{"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:1"}, false},
		"one heard":  {map[string]string{"a": "http://127.0.0.1:1", "b": peerServer(t, "", "", 0)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPeers("self", c.peers, http.DefaultClient)
			if err != nil {
				t.Fatal(err)
			}
			p.askClocks(context.Background())
			if got := p.compared(); got != c.want {
				t.Errorf("compared: %v", got)
			}
		})
	}
}

// TestClockGoesOn: between two comparisons it runs as fast as the machine's.
func TestClockGoesOn(t *testing.T) {
	c := newClock()
	for range 3 {
		before, now, after := time.Now(), c.Now(), time.Now()
		if now.Before(before) || now.After(after) || now.Round(0).Sub(before.Round(0)).Abs() > time.Second {
			t.Errorf("%v is not between %v and %v", now, before, after)
		}
		c.follow()
	}
}

// TestPeersProgress (C9): a peer that has nothing published yet, or does not answer any more, has no say in the quorum's lag.
func TestPeersProgress(t *testing.T) {
	var published atomic.Pointer[adminapi.Publishing]
	published.Store(&adminapi.Publishing{Applied: 9, Published: 7, Bytes: 5})
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminapi.PathClock, reply(func(*http.Request) (adminapi.Clock, error) {
		return adminapi.Clock{UnixMS: time.Now().UnixMilli(), Publishing: published.Load()}, nil
	}))
	s := httptest.NewServer(mux)
	defer s.Close()
	p, err := newPeers("self", map[string]string{"a": s.URL, "starting": peerServer(t, "", "", 0), "dead": "http://127.0.0.1:1"}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	p.askClocks(t.Context())
	got := p.progress()
	if len(got) != 1 || got[0].Applied != 9 || got[0].Published != 7 || got[0].Bytes != 5 || time.Since(got[0].At) > time.Minute {
		t.Errorf("progress %+v", got)
	}
	published.Store(nil)
	p.askClocks(t.Context())
	if got := p.progress(); len(got) != 0 {
		t.Errorf("progress %+v of peers that publish nothing", got)
	}
	published.Store(&adminapi.Publishing{})
	p.askClocks(t.Context())
	s.Close()
	p.askClocks(t.Context())
	if got := p.progress(); len(got) != 0 {
		t.Errorf("progress %+v of peers that don't answer", got)
	}
}

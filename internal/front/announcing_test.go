package front

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
)

// TestAnnouncement: what others are told is what this node knows of itself, and every pass of steering is news.
func TestAnnouncement(t *testing.T) {
	cfg, _ := testConfig(t)
	f, _ := faked(t, cfg)
	if s := f.announcement(); s.VRRP != "fault" || s.Ready || !strings.Contains(s.Message, "haproxy: it has not started yet") {
		t.Errorf("at the start: %+v", s)
	}
	f.whole(faultHAProxy, faultRelay, faultConflict, faultUnheard)
	at := time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC)
	f.mu.Lock()
	f.m.moved(keepalived.Master, at)
	f.m.score = 2
	f.mu.Unlock()
	if s := f.announcement(); s.VRRP != "master" || !s.Ready || s.Score != 2 || s.Message != "" || !s.Since.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("as the holder: %+v", s)
	}
}

// TestNewAnnouncer: nobody is told unless a Lease is named, and who is no pod hears what is missing.
func TestNewAnnouncer(t *testing.T) {
	cfg, _ := testConfig(t)
	if a, err := newAnnouncer(cfg, slog.New(slog.DiscardHandler)); a != nil || err != nil {
		t.Errorf("without a Lease: %v, %v", a, err)
	}
	cfg.Announce.Lease, cfg.Announce.Namespace = "l", "n"
	if _, err := newAnnouncer(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "this is no pod") {
		t.Errorf("outside of a pod: %v", err)
	}
	cfg.Primaries.EndpointSlices = SlicesConfig{API: "https://192.0.2.1", CA: "ca", TokenFile: "token"}
	if a, err := newAnnouncer(cfg, slog.New(slog.DiscardHandler)); a == nil || err != nil {
		t.Errorf("with an API server: %v, %v", a, err)
	}
}

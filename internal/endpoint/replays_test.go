package endpoint

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zonekeeper/zonekeeper/internal/proxyproto"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// TestReplays: nothing is forgotten while it can verify, and what there is no room for is not done.
func TestReplays(t *testing.T) {
	r := newReplays(2)
	begin := time.Unix(1_000_000, 0)
	for _, tc := range []struct {
		at    time.Duration
		proof byte
		want  error
	}{
		{0, 1, nil},
		{0, 1, errReplay},
		{replayTime - 1, 2, nil},
		{replayTime - 1, 3, errNoRoom},
		{replayTime - 1, 1, errReplay},
		{replayTime, 2, errReplay},
		{replayTime, 3, nil},
		{2*replayTime - 2, 2, errReplay},
		{2 * replayTime, 2, nil}, // it can't verify any more
		{2 * replayTime, 3, errReplay},
		{9 * replayTime, 3, nil},
		{9 * replayTime, 2, nil},
	} {
		if err := r.take(begin.Add(tc.at), proxyproto.Proof{tc.proof}); !errors.Is(err, tc.want) {
			t.Errorf("%d after %v: %v, want %v", tc.proof, tc.at, err, tc.want)
		}
	}
}

// TestReplayedDatagram: an unsigned update that a front's proof admits is done once for each datagram that a front has made. A
// recorded one that comes again is not, whatever port it comes from; what a client sends again, behind a new proof, is.
func TestReplayedDatagram(t *testing.T) {
	w := addressWorld(t)
	reg, said := prometheus.NewRegistry(), new(logged)
	s := w.start(func(c *Config) {
		c.ProxyFrom, c.ProxyKeys, c.Registerer, c.Logger = loopback, proxyproto.Fixed(proxyKey), reg, slog.New(slog.NewTextHandler(said, nil))
	})
	fronted := func(msg []byte, age time.Duration) []byte {
		return append(proxyproto.Append(nil, clientAddr, serverAddr, true, proxyKey, time.Now().Add(-age), msg), msg...)
	}
	plain := updateMsg(t, "example.test.", "h.example.test.")
	first := fronted(plain, 2*time.Second)
	done := func(what string, want int) {
		t.Helper()
		if n := len(w.updates()); n != want {
			t.Errorf("%s: %d updates were proposed, want %d", what, n, want)
		}
	}
	if rcode := rcodeOf(udpAsk(t, s.Addrs()[0], first)); rcode != 0 {
		t.Fatalf("RCODE %d", rcode)
	}
	for range 4 { // each from another port, which may be another socket's
		if reply, err := udpTry(s.Addrs()[0], first, 100*time.Millisecond); err == nil {
			t.Errorf("a recorded datagram is answered with RCODE %d", rcodeOf(reply))
		}
	}
	done("recorded", 1)
	if n := counter(t, reg, "drops_total", dropReplay); n != 4 {
		t.Errorf("%v are counted", n)
	}
	if !said.has("level=WARN", "recorded and sent again", "client="+clientAddr.String(), "front=127.0.0.1:") {
		t.Errorf("the log does not say so: %s", said)
	}
	// The client sends the same octets again: the front sends them under another ID, or at another time.
	if rcode := rcodeOf(udpAsk(t, s.Addrs()[0], fronted(plain, time.Second))); rcode != 0 {
		t.Errorf("a second later: RCODE %d", rcode)
	}
	plain[1]++
	if rcode := rcodeOf(udpAsk(t, s.Addrs()[0], fronted(plain, 2*time.Second))); rcode != 0 {
		t.Errorf("under another ID: RCODE %d", rcode)
	}
	done("sent again", 3)
	// A signed one has its identity in the log (I4): it is answered, as often as it comes.
	signed := fronted(tsig.SignRequest(updateMsg(t, "example.test.", "h.example.test."), testKey(t, "key.", tsig.HMACSHA256), time.Now()), 0)
	for range 2 {
		if rcode := rcodeOf(udpAsk(t, s.Addrs()[0], signed)); rcode != 0 {
			t.Errorf("signed: RCODE %d", rcode)
		}
	}
	s.replays.mu.Lock()
	s.replays.room = 0
	s.replays.mu.Unlock()
	if rcode := rcodeOf(udpAsk(t, s.Addrs()[0], fronted(plain, 0))); rcode != rcodeServFail {
		t.Errorf("without room: RCODE %d", rcode)
	}
	done("without room", 5)
}

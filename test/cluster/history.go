package cluster

import (
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// forever is the return of an operation whose outcome nobody knows.
const forever = math.MaxInt64

// history is what the clients did and saw. It is safe for concurrent use.
type history struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	count map[key]int
}

func newHistory() *history { return &history{began: time.Now(), count: map[key]int{}} }

// now is the time of calls and returns, in nanoseconds of the monotonic clock.
func (h *history) now() int64 { return int64(time.Since(h.began)) }

// note records an operation that has ended.
func (h *history) note(client int, in input, call int64, out output) {
	op := porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: h.now()}
	if out.unknown {
		if in.kind == read {
			return // it says nothing
		}
		op.Return = forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// begin counts operations on a key: the search for a linearization grows with them.
func (h *history) begin(k key) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count[k]++
	return h.count[k]
}

// keys lists the RRsets that were touched.
func (h *history) keys() []key {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]key, 0, len(h.count))
	for k := range h.count {
		out = append(out, k)
	}
	return out
}

// checkTime bounds the search; a history of this size takes a second.
const checkTime = 2 * time.Minute

// check fails the test unless the history is linearizable, and leaves a picture of it for the browser.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(model(), h.ops, checkTime)
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(output).unknown {
			unknown++
		}
	}
	t.Logf("history: %d operations on %d RRsets, %d of unknown outcome: %s", len(h.ops), len(h.count), unknown, result)
	if result == porcupine.Ok {
		return
	}
	dir, err := artifacts()
	if err != nil {
		t.Errorf("the history is not linearizable (%s), and there is no place for it: %v", result, err)
		return
	}
	path := filepath.Join(dir, "history.html")
	if err := porcupine.VisualizePath(model(), info, path); err != nil {
		t.Error(err)
	}
	t.Errorf("the history is not linearizable (%s): open %s", result, path)
}

// artifacts is a directory that outlives the test: ZONEKEEPER_ARTIFACTS, or a new one.
func artifacts() (string, error) {
	if dir := os.Getenv("ZONEKEEPER_ARTIFACTS"); dir != "" {
		return dir, os.MkdirAll(dir, 0o755)
	}
	return os.MkdirTemp("", "zonekeeper-history-")
}

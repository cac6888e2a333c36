package named

import (
	"log/slog"
	"strings"
	"time"
)

// transferLinesPerSecond bounds what is passed on of the categories that anybody can fill.
const transferLinesPerSecond = 10

// transferLog picks the lines about transfers, NOTIFYs and signatures that people should see. It is for one goroutine.
type transferLog struct {
	second  time.Time // when the present second began
	passed  int       // lines in it
	dropped int       // lines that were too many
}

// judge returns the level for a line of those categories, and how many were dropped before it.
func (t *transferLog) judge(level slog.Level, msg string, now time.Time) (_ slog.Level, dropped int) {
	refused := strings.Contains(msg, ": refused notify from ")
	if !refused && !strings.Contains(msg, ": failed ") && level < slog.LevelWarn {
		return slog.LevelDebug, 0
	}
	if now.Sub(t.second) >= time.Second {
		t.second, t.passed = now, 0
	}
	if t.passed >= transferLinesPerSecond {
		t.dropped++
		return slog.LevelDebug, 0
	}
	t.passed++
	dropped, t.dropped = t.dropped, 0
	return slog.LevelWarn, dropped
}

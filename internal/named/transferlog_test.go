package named

import (
	"log/slog"
	"testing"
	"time"
)

func TestTransferLog(t *testing.T) {
	var l transferLog
	now := time.Unix(1, 0)
	for line, want := range map[string]slog.Level{
		"zone a.test/IN: Transfer started.":                                                         slog.LevelDebug,
		"transfer of 'a.test/IN' from 127.0.0.54#5300: Transfer status: success":                    slog.LevelDebug,
		"zone a.test/IN: notify from 127.0.0.54#1234: zone is up to date":                           slog.LevelDebug,
		"zone a.test/IN: refused notify from non-primary: 192.0.2.1#5353":                           slog.LevelWarn,
		"transfer of 'a.test/IN' from 127.0.0.54#5300: failed while receiving responses: REFUSED":   slog.LevelWarn,
		"transfer of 'a.test/IN' from 127.0.0.54#5300: failed to connect: connection refused":       slog.LevelWarn,
		"transfer of 'failed.test/IN' from 127.0.0.54#5300: connected using 127.0.0.54#5300 TSIG k": slog.LevelDebug,
	} {
		if got, _ := l.judge(slog.LevelDebug, line, now); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
	const refused = "zone a.test/IN: refused notify from non-primary: 192.0.2.1#5353"
	l = transferLog{}
	passed := 0
	for range 100 {
		if level, _ := l.judge(slog.LevelDebug, refused, now); level == slog.LevelWarn {
			passed++
		}
	}
	if passed != transferLinesPerSecond {
		t.Errorf("%d of 100 lines of one second were passed on, want %d", passed, transferLinesPerSecond)
	}
	if level, dropped := l.judge(slog.LevelDebug, refused, now.Add(time.Second)); level != slog.LevelWarn || dropped != 100-passed {
		t.Errorf("in the next second: %v, %d dropped before", level, dropped)
	}
}

package checks

import (
	"testing"
	"time"
)

func TestScore(t *testing.T) {
	for name, tc := range map[string]struct {
		states map[string]State
		want   int
	}{
		"no primary":       {nil, 0},
		"all down":         {map[string]State{"a": Down, "b": Down}, 0},
		"one only answers": {map[string]State{"a": Down, "b": Alive}, 1},
		"one is ready":     {map[string]State{"a": Alive, "b": Ready, "c": Down}, 2},
	} {
		if got := Score(tc.states); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// TestDamper: each line is one call; times are milliseconds.
func TestDamper(t *testing.T) {
	type call struct {
		at     int
		score  int
		holder bool
		out    int
		again  int
	}
	for name, calls := range map[string][]call{
		"another node rises late": {
			{0, 2, false, 0, 1000}, {999, 2, false, 0, 1}, {1000, 2, false, 2, 0}, {5000, 2, false, 2, 0},
		},
		"another node falls at once": {
			{0, 2, false, 0, 1000}, {1000, 2, false, 2, 0}, {1500, 0, false, 0, 0},
		},
		"the holder rises at once, and falls late": {
			{0, 2, true, 2, 0}, {100, 0, true, 2, 100}, {199, 0, true, 2, 1}, {200, 0, true, 0, 0}, {201, 1, true, 1, 0},
		},
		"a short gap is none at the holder": {
			{0, 2, true, 2, 0}, {100, 0, true, 2, 100}, {150, 2, true, 2, 0}, {180, 0, true, 2, 100}, {250, 0, true, 2, 30}, {280, 0, true, 0, 0},
		},
		"a short good time is none at another node": {
			{0, 2, false, 0, 1000}, {900, 0, false, 0, 0}, {1000, 2, false, 0, 1000}, {2000, 2, false, 2, 0},
		},
		"what rose further counts from there": {
			{0, 1, false, 0, 1000}, {500, 2, false, 0, 500}, {1000, 2, false, 1, 500}, {1500, 2, false, 2, 0},
		},
		"what fell further fell first": {
			{0, 2, true, 2, 0}, {100, 1, true, 2, 100}, {150, 0, true, 2, 50}, {200, 0, true, 1, 50}, {250, 0, true, 0, 0},
		},
		"who becomes the holder rises at once": {
			{0, 2, false, 0, 1000}, {100, 2, true, 2, 0},
		},
		"who is the holder no more falls at once": {
			{0, 2, true, 2, 0}, {100, 0, true, 2, 100}, {150, 0, false, 0, 0},
		},
		"a late call": {
			{0, 2, false, 0, 1000}, {9000, 2, false, 2, 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDamper()
			start := time.Unix(1_000_000, 0)
			for i, c := range calls {
				out, again := d.Next(start.Add(time.Duration(c.at)*time.Millisecond), c.score, c.holder)
				if out != c.out || again != time.Duration(c.again)*time.Millisecond {
					t.Errorf("call %d %+v: %d, again after %s", i, c, out, again)
				}
			}
		})
	}
}

package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// A stream is read line by line as it arrives, wherever the network cuts it, and its end is always an error.
func TestChangesReadsLines(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathChanges, func(w http.ResponseWriter, r *http.Request) {
		f := http.NewResponseController(w)
		for _, part := range []string{`{"ready":true,"zo`, "nes\":[{\"z\":\"a.\",\"s\":7}]}\n{\"gone\":[\"b.\"]", "}\n", "{\"complete\":true}\n"} {
			_, _ = w.Write([]byte(part))
			_ = f.Flush()
		}
		if r.PathValue("name") == "silent" {
			<-r.Context().Done()
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c, err := NewClient(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	for _, tc := range []struct {
		name, want string
		fn         func(Changes) error
	}{
		{"ends", "ended the stream", func(Changes) error { return nil }},
		{"silent", "no line within 600ms", func(Changes) error { return nil }},
		{"stops", "enough", func(c Changes) error {
			if c.Complete {
				return stop
			}
			return nil
		}},
	} {
		var got []Changes
		err := c.Changes(t.Context(), tc.name, func(c Changes) error {
			got = append(got, c)
			return tc.fn(c)
		})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want %q", tc.name, err, tc.want)
		}
		want := []Changes{{Ready: true, Zones: []ZoneSerial{{"a.", 7}}}, {Gone: []string{"b."}}, {Complete: true}}
		if g, w := asJSON(t, got), asJSON(t, want); g != w {
			t.Errorf("%s: got  %s\nwant %s", tc.name, g, w)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Changes(ctx, "silent", func(c Changes) error {
		if c.Complete {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: got %v", err)
	}
}

// A line without an end does not fill the memory.
func TestLinesAreBounded(t *testing.T) {
	l := lines{each: func([]byte) error { return nil }}
	var err error
	for range maxLine/1024 + 1 {
		if _, err = l.Write(slices.Repeat([]byte{'x'}, 1024)); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

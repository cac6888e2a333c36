package proxyproto

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oldKey = []byte("the key that is in use today")
	newKey = []byte("the key that comes after it")
)

// text is what a file of keys holds.
func text(keys ...[]byte) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k) + "\n")
	}
	return b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for text, want := range map[string]string{
		text(oldKey):         "",
		text(oldKey, newKey): "",
		"\n" + text(oldKey) + "\n" + text(newKey): "",
		text(oldKey, newKey, key):                 "3 keys, from 1 to 2",
		"":                                        "0 keys, from 1 to 2",
		"?":                                       "not base64",
		text(oldKey) + "QUJD\n":                   "a key of 3 octets, at least 16",
	} {
		write(t, path, text)
		keys, err := ReadKeys(path)
		switch {
		case want == "" && (err != nil || !bytes.Equal(keys.first(), oldKey)):
			t.Errorf("%q: %v, %v", text, keys, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "head -c 32")):
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := ReadKeys(path + "x"); err == nil || !strings.Contains(err.Error(), "head -c 32") {
		t.Errorf("no file: %v", err)
	}
}

// TestTwoKeys: what either has proven is proven; what neither has is refused; the first one proves.
func TestTwoKeys(t *testing.T) {
	now, payload := time.Unix(1_000_000, 0), []byte("a message")
	w := NewWriter(nil)
	for _, tc := range []struct {
		sign, verify Keys
		proven       bool
	}{
		{Keys{oldKey}, Keys{oldKey, newKey}, true},
		{Keys{oldKey, newKey}, Keys{oldKey}, true},
		{Keys{newKey, oldKey}, Keys{oldKey, newKey}, true},
		{Keys{newKey, oldKey}, Keys{newKey}, true},
		{Keys{newKey, oldKey}, Keys{oldKey}, false},
		{Keys{oldKey}, Keys{newKey}, false},
	} {
		w.Use(tc.sign)
		p, err := Parse(append(w.Append(nil, clientAddr, serverAddr, true, now, payload), payload...), nil, tc.verify, now)
		if p.Proven != tc.proven || (err == nil) != tc.proven {
			t.Errorf("by %v, verified with %v: %+v, %v", tc.sign, tc.verify, p, err)
		}
	}
	w.Use(nil)
	if p, err := Parse(w.Append(nil, clientAddr, serverAddr, true, now, payload), payload, Keys{oldKey}, now); err != nil || p.Proven {
		t.Errorf("without a key: %+v, %v", p, err)
	}
}

// TestKeyFile: another file is used, in whatever way it comes to its place; what is no file of keys changes nothing.
func TestKeyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := func(name string) string { return filepath.Join(dir, name) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// As Kubernetes mounts a Secret: key -> ..data/key, ..data -> ..one.
		must(os.Mkdir(file("..one"), 0o700))
		write(t, file("..one/key"), text(oldKey))
		must(os.Symlink("..one", file("..data")))
		must(os.Symlink("..data/key", file("key")))

		var said bytes.Buffer
		f, err := OpenKeys(file("key"), slog.New(slog.NewTextHandler(&said, nil)))
		must(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Watch(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		expect := func(what string, want Keys, lines ...string) {
			t.Helper()
			time.Sleep(2*readAgain + readAgain/2) // the bubble's clock
			synctest.Wait()
			if !f.Keys().equal(want) {
				t.Errorf("%s: %v, want %v", what, f.Keys(), want)
			}
			got := said.String()
			said.Reset()
			for _, l := range lines {
				if strings.Count(got, l) != 1 {
					t.Errorf("%s: logged not once: %s: %s", what, l, got)
				}
			}
			if strings.Count(got, "\n") != len(lines) || bytes.Contains([]byte(got), []byte(base64.StdEncoding.EncodeToString(newKey))) {
				t.Errorf("%s: logged: %s", what, got)
			}
		}
		expect("at first", Keys{oldKey}, Keys{oldKey}.String())
		expect("nothing new", Keys{oldKey})

		must(os.Mkdir(file("..two"), 0o700))
		write(t, file("..two/key"), text(oldKey, newKey))
		must(os.Symlink("..two", file("..data_tmp")))
		must(os.Rename(file("..data_tmp"), file("..data")))
		expect("Kubernetes has swapped ..data", Keys{oldKey, newKey}, "the PROXY keys are replaced")

		st, err := os.Stat(file("key"))
		must(err)
		write(t, file("key"), text(newKey, oldKey))
		must(os.Chtimes(file("key"), st.ModTime(), st.ModTime()))
		expect("of the same size and time", Keys{newKey, oldKey}, Keys{newKey, oldKey}.String())

		write(t, file("key"), text(newKey, oldKey)[:20])
		expect("half a file", Keys{newKey, oldKey}, "the PROXY keys are not replaced")
		must(os.Remove(file("key")))
		expect("no file", Keys{newKey, oldKey}, "head -c 32")

		write(t, file("key.new"), text(newKey))
		must(os.Rename(file("key.new"), file("key")))
		expect("renamed", Keys{newKey}, "the PROXY keys are replaced")
	})
	if (*KeyFile)(nil).Keys() != nil {
		t.Error("a node without a file has keys")
	}
	(*KeyFile)(nil).Watch(t.Context()) // returns
}

// TestKeysAreNotLogged: in neither format, on none of the ways in which a value comes into a log.
func TestKeysAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	keys := Keys{oldKey, newKey}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h)
		log.Info("PROXY keys", "keys", keys)
		log.Info("PROXY keys", slog.Any("keys", keys))
		log.With("keys", keys).Info("PROXY keys")
	}
	for _, key := range keys {
		if logged := out.String(); strings.Contains(logged, string(key)) || strings.Contains(logged, base64.StdEncoding.EncodeToString(key)) || !strings.Contains(logged, keys.String()) {
			t.Errorf("logged: %s", logged)
		}
	}
}

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample has a file of each kind, and a program of this machine with its libraries.
func sample(t *testing.T) *Root {
	t.Helper()
	r := NewRoot()
	r.Text("/etc/motd", "hello\n")
	r.Link("/usr/bin/true2", "true")
	if err := r.Installed("true"); err != nil {
		t.Fatal(err)
	}
	return r
}

// read gives what an archive has, by name: the content of files, the target of links.
func read(t *testing.T, b []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s has time %v, owner %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		if _, twice := out[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(content) + h.Linkname
	}
}

func TestWrite(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := Write(path, Config{Name: "localhost/sample:1", Entrypoint: []string{"/usr/bin/true"}, User: "10:10"}, sample(t)); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files give two images")
	}
	files := read(t, archives[0])
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal([]byte(files["index.json"]), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %v: %s", err, files["index.json"])
	}
	if name := index.Manifests[0].Annotations["io.containerd.image.name"]; name != "localhost/sample:1" {
		t.Errorf("its name is %q", name)
	}
	blob := func(d descriptor) string {
		b := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if have := describe(d.MediaType, []byte(b)); have.Digest != d.Digest || have.Size != d.Size {
			t.Errorf("%s is %s of %d octets, not %d", d.Digest, have.Digest, have.Size, d.Size)
		}
		return b
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal([]byte(blob(index.Manifests[0])), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("manifest: %v", err)
	}
	if config := blob(manifest.Config); !strings.Contains(config, manifest.Layers[0].Digest) || !strings.Contains(config, `"10:10"`) {
		t.Errorf("configuration: %s", config)
	}
	layer := read(t, []byte(blob(manifest.Layers[0])))
	for name, want := range map[string]string{"etc/motd": "hello\n", "usr/bin/true2": "true", "lib64": "usr/lib64", "tmp/": ""} {
		if have, there := layer[name]; !there || have != want {
			t.Errorf("%s: %q (%v), want %q", name, have, there, want)
		}
	}
	libraries := 0
	for name := range layer {
		if strings.HasPrefix(name, "usr/lib/lib") {
			libraries++
		}
	}
	if layer["usr/bin/true"] == "" || libraries == 0 {
		t.Errorf("%d octets of true, %d libraries", len(layer["usr/bin/true"]), libraries)
	}
}

func TestMissing(t *testing.T) {
	r := NewRoot()
	for what, err := range map[string]error{
		"run scripts/install-deps.sh": r.Installed("no-such-program"),
		"no such file":                r.Copy("/x", "/no/such/file"),
		"is no file":                  r.Copy("/x", "/etc"),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q: %v", what, err)
		}
	}
}

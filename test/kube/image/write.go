package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Config is what an image says beside its files.
type Config struct {
	// Name is its reference, registry/repository:tag.
	Name       string
	Entrypoint []string
	// User runs it, "uid:gid" or empty for root.
	User   string
	Labels map[string]string
}

// Media types of the OCI image specification, version 1.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Write writes the image as an OCI layout in one archive, which `ctr images import`, skopeo and podman take. The same files give the same
// octets: order, times and owners are fixed.
func Write(target string, c Config, r *Root) (err error) {
	layer, err := os.CreateTemp("", "layer-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	sum := sha256.New()
	if err := r.write(io.MultiWriter(layer, sum)); err != nil {
		return err
	}
	size, err := layer.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	layerDigest := digestOf(sum.Sum(nil))

	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": c.Entrypoint, "User": c.User, "Labels": c.Labels, "Env": []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerDigest}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": describe(typeConfig, config),
		"layers": []descriptor{{MediaType: typeLayer, Digest: layerDigest, Size: size}},
	})
	if err != nil {
		return err
	}
	entry := describe(typeManifest, manifest)
	entry.Annotations = map[string]string{"io.containerd.image.name": c.Name, "org.opencontainers.image.ref.name": c.Name[strings.LastIndexByte(c.Name, ':')+1:]}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{entry}})
	if err != nil {
		return err
	}

	part := target + ".new"
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()); _ = os.Remove(part) }()
	w := tar.NewWriter(out)
	put := func(name string, size int64, content io.Reader) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := io.Copy(w, content)
		return err
	}
	text := func(name string, b []byte) error { return put(name, int64(len(b)), strings.NewReader(string(b))) }
	blob := func(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }
	if err := errors.Join(
		text("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), text("index.json", index), text(blob(entry.Digest), manifest),
		text(blob(describe(typeConfig, config).Digest), config), put(blob(layerDigest), size, layer), w.Close()); err != nil {
		return fmt.Errorf("image: %s: %w", target, err)
	}
	return os.Rename(part, target)
}

// epoch is the time of everything: when a file was made says nothing about its content.
var epoch = time.Unix(0, 0)

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

func describe(kind string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	return descriptor{MediaType: kind, Digest: digestOf(sum[:]), Size: int64(len(content))}
}

// write writes the files as one layer.
func (r *Root) write(to io.Writer) error {
	all := maps.Clone(r.files)
	for name := range r.files {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, have := all[dir]; !have {
				all[dir] = file{mode: fs.ModeDir | 0o755}
			}
		}
	}
	w := tar.NewWriter(to)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := add(w, name, all[name]); err != nil {
			return fmt.Errorf("image: %s: %w", name, err)
		}
	}
	return w.Close()
}

func add(w *tar.Writer, name string, f file) error {
	h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(f.mode.Perm()), ModTime: epoch, Format: tar.FormatPAX}
	switch {
	case f.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		if f.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		return w.WriteHeader(h)
	case f.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		return w.WriteHeader(h)
	case f.source == "":
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.text))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(w, f.text)
		return err
	}
	in, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}

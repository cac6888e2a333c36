package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/zonekeeper/zonekeeper/internal/front/backends"
	"github.com/zonekeeper/zonekeeper/internal/front/haproxy"
	"github.com/zonekeeper/zonekeeper/internal/front/keepalived"
)

// File is a file that a front writes for one of its programs.
type File struct {
	Name string
	Text []byte
}

// Render gives the files that a front with this configuration would start with: HAProxy's, and in mode vip keepalived's. Nothing is
// started and nothing in cfg.Dir changes. Primaries that are found at run time are represented by one that is named "found-at-run-time".
func Render(cfg Config) ([]File, error) {
	temp, err := os.MkdirTemp("", "zonekeeper-front-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(temp) }() // what is left there is in a folder for that
	return render(cfg, temp, cfg.Dir)
}

// Check renders the configuration and has HAProxy and keepalived judge it. Errors name the file and carry the program's lines.
func Check(ctx context.Context, cfg Config) error {
	temp, err := os.MkdirTemp("", "zonekeeper-front-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // as above
	files, err := render(cfg, temp, temp)
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		path := filepath.Join(temp, file.Name)
		if err := os.WriteFile(path, file.Text, 0o600); err != nil {
			return err
		}
		switch file.Name {
		case haproxyFile:
			errs = append(errs, haproxy.Check(ctx, cfg.HAProxy.Path, path))
		case keepalivedFile:
			errs = append(errs, keepalived.Check(ctx, cfg.Keepalived.Path, path))
		}
	}
	return errors.Join(errs...)
}

// Names of the files in Config.Dir.
const (
	haproxyFile    = "haproxy.cfg"
	keepalivedFile = "keepalived.conf"
)

// render installs the certificate in temp; the files name dir.
func render(cfg Config, temp, dir string) ([]File, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	if _, err := openKeys(cfg.Primaries.ProxyKeyFile, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	t := cfg.Primaries.TLS
	id, err := haproxy.Install(temp, t.Cert, t.Key, t.CA)
	if err != nil {
		return nil, fmt.Errorf("primaries.tls: %w", err)
	}
	id.PEM, id.CA = filepath.Join(dir, filepath.Base(id.PEM)), filepath.Join(dir, filepath.Base(id.CA))
	list := []backends.Primary{{Name: "found-at-run-time", Addr: netip.AddrFrom4([4]byte{192, 0, 2, 1})}}
	if len(cfg.Primaries.Static) > 0 {
		list = list[:0]
		for i, p := range cfg.Primaries.Static {
			list = append(list, backends.Primary{Name: p.Name, Addr: set.primaries[i]})
		}
	}
	cfg.Dir = dir
	text, err := haproxy.Render(haproxyConfig(cfg, set, id, list))
	if err != nil {
		return nil, err
	}
	files := []File{{haproxyFile, text}}
	if cfg.Mode != ModeVIP {
		return files, nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program's own path: %w", err)
	}
	if text, err = keepalived.Render(keepalivedConfig(cfg, set, program)); err != nil {
		return nil, err
	}
	return append(files, File{keepalivedFile, text}), nil
}

package haproxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Install puts certificate and key into one file in dir, as HAProxy wants it, readable to this user only, and copies the CA
// beside it. Call it again when the files have changed: half a replacement (the key before the certificate) is an error, and what
// was installed before stays.
func Install(dir, certFile, keyFile, caFile string) (Identity, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return Identity{}, fmt.Errorf("haproxy: certificate: %w; name a PEM file that this program may read", err)
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return Identity{}, fmt.Errorf("haproxy: key: %w; name a PEM file that this program may read", err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return Identity{}, fmt.Errorf("haproxy: CA: %w; name a PEM file that this program may read", err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return Identity{}, fmt.Errorf("haproxy: certificate %s with key %s: %w; give PEM files that belong together", certFile, keyFile, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return Identity{}, fmt.Errorf("haproxy: CA %s: no PEM certificate is in it; give the certificate of the CA", caFile)
	}
	pem := bytes.Join([][]byte{bytes.TrimSpace(cert), bytes.TrimSpace(key), nil}, []byte("\n"))
	id := Identity{PEM: filepath.Join(dir, "front.pem"), CA: filepath.Join(dir, "primaries.pem")}
	if err := errors.Join(replaceFile(id.PEM, pem), replaceFile(id.CA, ca)); err != nil {
		return Identity{}, err
	}
	sum := sha256.New()
	for _, part := range [][]byte{pem, {0}, ca} {
		_, _ = sum.Write(part) // never fails (hash.Hash)
	}
	id.Sum = hex.EncodeToString(sum.Sum(nil)[:16])
	return id, nil
}

// replaceFile gives path new content at once: whoever opens it finds the old or the new.
func replaceFile(path string, content []byte) error {
	temp := path + ".new"
	// An older one may have another mode.
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("haproxy: %w; make the directory writable to this program", err)
	}
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return fmt.Errorf("haproxy: %w; make the directory writable to this program", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("haproxy: %w", err)
	}
	return nil
}

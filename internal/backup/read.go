package backup

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// maxManifest bounds the manifest in memory: a hundred thousand zones take some 60 MB.
const maxManifest = 256 << 20

// Visitor is handed the parts of a backup, in the order of the file. Functions that are nil are not called; an error ends the reading.
type Visitor struct {
	Manifest func(*Manifest) error
	// Secrets are encrypted: see OpenSecrets.
	Secrets func(sealed []byte) error
	// Zone is a zone whose records and digest are what the manifest says. The content is the function's own.
	Zone func(*Zone, *zone.Zone) error
	// Text is a zone's file as it is in the archive, instead of Zone where it returns true for wanted.
	Text func(*Zone, io.Reader) (wanted bool, err error)
}

// Read reads a whole backup and checks it. Only when it returns nil is what the visitor was handed proven to be what was written. Errors wrap
// ErrDamaged, ErrFormat, or are r's or the visitor's.
func Read(r io.Reader, v Visitor) (*Manifest, error) {
	sum := newSumReader(r)
	m, err := readArchive(sum, v)
	var stop *visitorError
	if err != nil && !errors.As(err, &stop) {
		// Damage shows as nonsense somewhere; that the checksum does not fit says why.
		if _, end := io.Copy(io.Discard, sum); end != nil {
			return nil, fmt.Errorf("%w (%w)", end, err)
		}
		return nil, err
	}
	if err != nil {
		return nil, stop.error
	}
	return m, nil
}

// visitorError is a visitor's.
type visitorError struct{ error }

func visited(err error) error {
	if err != nil {
		return &visitorError{err}
	}
	return nil
}

func readArchive(sum *sumReader, v Visitor) (*Manifest, error) {
	gz, err := gzip.NewReader(sum)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	t := tar.NewReader(gz)
	m, err := readManifest(t)
	if err == nil && v.Manifest != nil {
		err = visited(v.Manifest(m))
	}
	if err == nil && m.Secrets != nil {
		err = readSecrets(t, v)
	}
	if err != nil {
		return nil, err
	}
	for i := range m.Zones {
		if err := readZone(t, &m.Zones[i], v); err != nil {
			return nil, err
		}
	}
	if h, err := t.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("%w: file %s is not in the manifest", ErrFormat, h.Name)
		}
		return nil, err
	}
	// tar stops before the end; the checksum is behind it.
	if n, err := io.Copy(io.Discard, gz); err != nil || n > 1<<20 {
		return nil, fmt.Errorf("%w: %d octets behind the archive: %w", ErrFormat, n, err)
	}
	if _, err := io.Copy(io.Discard, sum); err != nil {
		return nil, err
	}
	return m, nil
}

// expect goes to the next file, which must have a name.
func expect(t *tar.Reader, name string, limit int64) error {
	h, err := t.Next()
	switch {
	case err != nil:
		return fmt.Errorf("%w: file %s is missing: %w", ErrFormat, name, err)
	case h.Name != name || h.Typeflag != tar.TypeReg:
		return fmt.Errorf("%w: file %q where %s belongs", ErrFormat, h.Name, name)
	case limit > 0 && h.Size > limit:
		return fmt.Errorf("%w: file %s of %d octets, the limit is %d", ErrFormat, name, h.Size, limit)
	}
	return nil
}

func readManifest(t *tar.Reader) (*Manifest, error) {
	if err := expect(t, manifestName, maxManifest); err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.NewDecoder(t).Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, manifestName, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

func readSecrets(t *tar.Reader, v Visitor) error {
	if err := expect(t, secretsName, maxSecrets); err != nil {
		return err
	}
	b, err := io.ReadAll(t)
	if err != nil {
		return fmt.Errorf("%s: %w", secretsName, err)
	}
	if v.Secrets == nil {
		return nil
	}
	return visited(v.Secrets(b))
}

func readZone(t *tar.Reader, z *Zone, v Visitor) error {
	if err := expect(t, z.File, 0); err != nil {
		return err
	}
	if v.Text != nil {
		if wanted, err := v.Text(z, t); wanted || err != nil {
			return visited(err)
		}
	}
	name, err := zone.ParseName(z.Name)
	if err != nil {
		return fmt.Errorf("%w: zone %q: %w", ErrFormat, z.Name, err)
	}
	content, err := zone.ReadZone(t, name, zone.ReadOptions{File: z.File})
	if err != nil {
		return fmt.Errorf("%w: zone %s: %w", ErrFormat, z.Name, err)
	}
	if d := content.Digest().String(); d != z.Digest || content.Records() != z.Records || content.Serial() != z.Serial {
		return fmt.Errorf("%w: zone %s has %d records with digest %s and serial %d; the manifest says %d, %s, %d", ErrFormat, z.Name,
			content.Records(), d, content.Serial(), z.Records, z.Digest, z.Serial)
	}
	if v.Zone == nil {
		return nil
	}
	return visited(v.Zone(z, content))
}

// Verify reads a whole backup and checks everything that can be checked without the key of its secrets.
func Verify(r io.Reader) (*Manifest, error) { return Read(r, Visitor{}) }

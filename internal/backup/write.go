package backup

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/zonekeeper/zonekeeper/internal/fsm"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Options say what a backup is made with.
type Options struct {
	Program, Replica, ClusterKeyID string
	Now                            time.Time
	// Recipients, when there are any, get the secrets, which Open opens.
	Recipients []string
	Open       func(name zone.Name, s *fsm.KeySecret) ([]byte, error)
}

// Write streams a backup of a snapshot. When it fails, what was written is not a backup, and every reader says so.
func Write(w io.Writer, s *fsm.Snapshot, o Options) (*Manifest, error) {
	c := s.Contents()
	m := &Manifest{
		Format: Format, FormatVersion: FormatVersion, Program: o.Program, Replica: o.Replica, ClusterKeyID: o.ClusterKeyID,
		Taken: o.Now.UTC().Truncate(time.Millisecond), LogTime: time.UnixMilli(c.TimeMS).UTC(), LogIndex: c.Index, StateVersion: c.Version,
		Limits: c.Limits, Zones: []Zone{}, Keys: []Key{},
	}
	recipients, err := ParseRecipients(o.Recipients)
	if err != nil {
		return nil, err
	}
	var secrets []Secret
	for _, k := range c.Keys {
		key, own, err := describeKey(k, c.TimeMS, len(recipients) > 0, o.Open)
		if err != nil {
			return nil, err
		}
		m.Keys = append(m.Keys, key)
		secrets = append(secrets, own...)
	}
	for _, x := range c.Secondaries {
		one := Secondary{Name: x.Name, Key: x.Key.String(), Foreign: x.Foreign, ManagedBy: x.ManagedBy}
		for _, a := range x.Notify {
			one.Notify = append(one.Notify, a.String())
		}
		m.Secondaries = append(m.Secondaries, one)
	}
	for _, d := range c.Deleted {
		m.DeletedZones = append(m.DeletedZones, Deleted{Name: d.Zone.Name.String(), Serial: d.Serial})
	}
	contents := m.addZones(s, c.Catalog)
	if len(recipients) > 0 {
		m.Secrets = &SecretsInfo{Recipients: o.Recipients}
	}

	a := newArchive(w, m.Taken)
	if err := a.json(manifestName, m); err != nil {
		return nil, err
	}
	if len(recipients) > 0 {
		if err := a.secrets(secrets, recipients); err != nil {
			return nil, err
		}
	}
	for i := range m.Zones {
		if err := a.zone(m.Zones[i].File, contents[i]); err != nil {
			return nil, err
		}
	}
	return m, a.close()
}

// addZones describes the zones and gives their contents.
func (m *Manifest) addZones(s *fsm.Snapshot, catalog fsm.ZoneID) (contents []*zone.Zone) {
	s.Zones(func(conf *fsm.ZoneConfig, z *zone.Zone) bool {
		name := conf.ID.Name.String()
		if conf.ID == catalog {
			m.Catalog = &Catalog{Name: name, Serial: z.Serial(), ManagedBy: conf.ManagedBy, Settings: settingsFrom(conf.Settings)}
			return true
		}
		m.Zones = append(m.Zones, Zone{
			Name: name, File: fileOf(conf.ID.Name, len(m.Zones)), Serial: z.Serial(), Records: z.Records(), Digest: z.Digest().String(),
			ManagedBy: conf.ManagedBy, Settings: settingsFrom(conf.Settings),
		})
		contents = append(contents, z)
		return true
	})
	return contents
}

// describeKey gives a key's valid secrets apart from the rest.
func describeKey(k *fsm.Key, nowMS int64, open bool, opener func(zone.Name, *fsm.KeySecret) ([]byte, error)) (Key, []Secret, error) {
	out := Key{Name: k.Name.String(), ManagedBy: k.ManagedBy, Guarantee: guaranteeFrom(k.Guarantee), Rate: Rate(k.Rate), Versions: []KeyVersion{}}
	var secrets []Secret
	for i := range k.Secrets {
		s := &k.Secrets[i]
		if !s.Valid(nowMS) {
			continue
		}
		v := KeyVersion{Version: s.Version, Algorithm: s.Algorithm, Created: time.UnixMilli(s.CreatedMS).UTC()}
		if s.NotAfterMS != 0 {
			v.NotAfter = time.UnixMilli(s.NotAfterMS).UTC()
		}
		out.Versions = append(out.Versions, v)
		if !open {
			continue
		}
		plain, err := opener(k.Name, s)
		if err != nil {
			return out, nil, fmt.Errorf("key %s: %w", k.Name, err)
		}
		secrets = append(secrets, Secret{Key: out.Name, Version: s.Version, Secret: plain})
	}
	return out, secrets, nil
}

// archive writes the members of the file.
type archive struct {
	out  *sumWriter
	gzip *gzip.Writer
	tar  *tar.Writer
	when time.Time
}

func newArchive(w io.Writer, when time.Time) *archive {
	a := &archive{out: &sumWriter{w: w, sum: sha256.New()}, when: when}
	a.gzip, _ = gzip.NewWriterLevel(a.out, gzip.BestSpeed) // the level is one that there is
	a.tar = tar.NewWriter(a.gzip)
	return a
}

// file begins a file of a size.
func (a *archive) file(name string, size int64, mode int64) error {
	err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, ModTime: a.when.Truncate(time.Second)})
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (a *archive) bytes(name string, b []byte) error {
	if err := a.file(name, int64(len(b)), 0o600); err != nil {
		return err
	}
	if _, err := a.tar.Write(b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (a *archive) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return a.bytes(name, append(b, '\n'))
}

func (a *archive) secrets(list []Secret, to []age.Recipient) error {
	b, err := sealSecrets(list, to)
	if err != nil {
		return err
	}
	return a.bytes(secretsName, b)
}

// zone writes a zone file. tar wants its size first, so the text is made twice: a second pass costs less than the memory of a large zone.
func (a *archive) zone(name string, z *zone.Zone) error {
	size := new(counter)
	if err := zone.WriteFile(size, z); err != nil {
		return err
	}
	if err := a.file(name, int64(*size), 0o600); err != nil {
		return err
	}
	return zone.WriteFile(a.tar, z)
}

func (a *archive) close() error {
	if err := a.tar.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	if err := a.gzip.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	if _, err := a.out.w.Write(trailer(a.out.sum.Sum(nil))); err != nil {
		return fmt.Errorf("write the checksum: %w", err)
	}
	return nil
}

// counter counts octets.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

package backup

import (
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// Rewrap copies a backup with its secrets encrypted to other recipients: after the loss of a key, or for another cluster's. What was written
// when it fails is no backup.
func Rewrap(w io.Writer, r io.Reader, ids []age.Identity, recipients []string) error {
	to, err := ParseRecipients(recipients)
	if err != nil {
		return err
	}
	var a *archive
	_, err = Read(r, Visitor{
		Manifest: func(m *Manifest) error {
			if m.Secrets == nil {
				return fmt.Errorf("the backup of %s has no secrets that could be encrypted to others", m.Taken)
			}
			fresh := *m
			fresh.Secrets = &SecretsInfo{Recipients: recipients}
			a = newArchive(w, m.Taken)
			return a.json(manifestName, &fresh)
		},
		Secrets: func(sealed []byte) error {
			list, err := OpenSecrets(sealed, ids)
			if err != nil {
				return err
			}
			return a.secrets(list, to)
		},
		Zone: func(z *Zone, content *zone.Zone) error { return a.zone(z.File, content) },
	})
	if err != nil {
		return err
	}
	return a.close()
}

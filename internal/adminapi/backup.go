package adminapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Paths about backups.
const (
	// PathBackup streams a backup (package backup) of the state after every change acknowledged before. A stream that is cut short is
	// no backup, and does not look like one.
	PathBackup = "/v1/backup"
	// PathBackupRecipient answers BackupRecipient.
	PathBackupRecipient = "/v1/backup/recipient"
	// PathRestore takes a backup and makes it the content of an empty cluster.
	PathRestore = "/v1/restore"
)

// Query parameters about backups.
const (
	// ParamRecipient is an age recipient that the secrets are encrypted to; RecipientCluster stands for the cluster's key. Without one
	// a backup has no secrets.
	ParamRecipient   = "recipient"
	RecipientCluster = "cluster"
	// ParamNewSecrets "true" gives every key a new secret.
	ParamNewSecrets = "new_secrets"
	// ParamAsk is address:port of a server that may serve the zones, and is asked for their serials.
	ParamAsk = "ask"
	// TypeBackup is a backup.
	TypeBackup = "application/vnd.zonekeeper.backup+gzip"
)

// BackupRecipient is the age recipient of a cluster's key: secrets encrypted to it can be restored there.
type BackupRecipient struct {
	Recipient string `json:"recipient"`
	// KeyID tells cluster keys apart.
	KeyID string `json:"key_id"`
}

// Restored is what a restore did.
type Restored struct {
	// LogIndex is that of the backup.
	LogIndex    uint64         `json:"log_index"`
	Zones       []RestoredZone `json:"zones"`
	Keys        int            `json:"keys"`
	Secondaries int            `json:"secondaries"`
	// NewSecrets: every key has a new secret.
	NewSecrets bool `json:"new_secrets,omitempty"`
	// Asked are the servers that were asked for serials, with what went wrong.
	Asked []AskedServer `json:"asked,omitempty"`
}

// RestoredZone is one zone.
type RestoredZone struct {
	Name    string `json:"name"`
	Records int    `json:"records"`
	// SavedSerial is that of the backup, Serial the one now.
	SavedSerial uint32 `json:"saved_serial"`
	Serial      uint32 `json:"serial"`
	Digest      string `json:"digest"`
}

// AskedServer is a server that was asked for serials.
type AskedServer struct {
	Address string `json:"address"`
	Answers int    `json:"answers"`
	Error   string `json:"error,omitempty"`
}

// Backup streams a backup to w.
func (c *Client) Backup(ctx context.Context, recipients []string, w io.Writer) error {
	return c.do(ctx, http.MethodGet, PathBackup, url.Values{ParamRecipient: recipients}, "", nil, w)
}

// BackupRecipient gives the recipient of the cluster's key.
func (c *Client) BackupRecipient(ctx context.Context) (*BackupRecipient, error) {
	return call[BackupRecipient](ctx, c, http.MethodGet, PathBackupRecipient, nil, nil)
}

// RestoreOptions go with a backup that is restored.
type RestoreOptions struct {
	NewSecrets bool
	Ask        []string
}

// Restore makes a backup the content of an empty cluster.
func (c *Client) Restore(ctx context.Context, file io.Reader, o RestoreOptions) (*Restored, error) {
	q := url.Values{ParamNewSecrets: {strconv.FormatBool(o.NewSecrets)}, ParamAsk: o.Ask}
	var b bytes.Buffer
	if err := c.do(ctx, http.MethodPost, PathRestore, q, TypeBackup, file, &b); err != nil {
		return nil, err
	}
	return decode[Restored](&b)
}

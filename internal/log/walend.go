package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"google.golang.org/protobuf/proto"
)

// checkEnd refuses a write-ahead log that ends before the store does. etcd ends it at the first zero length, and at a record
// with a sector of zeros, because power loss leaves such an end; but so does a disk that lost what it had confirmed. Then the
// member would vote although it has forgotten what it acknowledged. The store tells the two apart: it follows the log within
// a tenth of a second, and what it has applied was on the disks of a majority.
func checkEnd(dataDir string) error {
	applied, err := appliedIndex(filepath.Join(dataDir, "member", "snap", "db"))
	if err != nil {
		return err
	}
	last, err := lastIndex(filepath.Join(dataDir, "member", "wal"))
	if err != nil || last == 0 || last >= applied {
		return err
	}
	return fmt.Errorf("the write-ahead log ends at raft index %d, and the store has applied %d: %d entries are missing, "+
		"which this member may have acknowledged", last, applied, applied-last)
}

// appliedIndex is the raft index up to which the store has applied the log; 0 when there is no store. Source: etcd's
// server/storage/schema, bucket "meta".
func appliedIndex(path string) (uint64, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, fmt.Errorf("read the store: %w", err)
	}
	var index uint64
	err = db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("meta")); b != nil {
			if v := b.Get([]byte("consistent_index")); len(v) == 8 {
				index = binary.BigEndian.Uint64(v)
			}
		}
		return nil
	})
	return index, errors.Join(err, db.Close())
}

// lastIndex is the raft index at which the write-ahead log ends as etcd will read it; 0 when it can't be read, which etcd
// will refuse by itself.
func lastIndex(dir string) (uint64, error) {
	files, err := walFiles(dir)
	if err != nil {
		return 0, err
	}
	// The newest file may have been begun a moment ago; then the entries are in the one before.
	files = files[max(0, len(files)-2):]
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	readers := make([]fileutil.FileReader, 0, len(files))
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return 0, fmt.Errorf("read the write-ahead log: %w", err)
		}
		open, readers = append(open, f), append(readers, fileutil.NewFileReader(f))
	}
	var last uint64
	d := wal.NewDecoder(readers...)
	for rec := new(walpb.Record); ; {
		err := d.Decode(rec)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return last, nil
		case err != nil:
			return 0, nil //nolint:nilerr // etcd says it better
		}
		switch rec.GetType() {
		case wal.CrcType:
			d.UpdateCRC(rec.GetCrc())
		case wal.EntryType:
			last = wal.MustUnmarshalEntry(rec.Data).GetIndex() // a later one may replace earlier ones
		case wal.SnapshotType:
			var snap walpb.Snapshot
			if err := proto.Unmarshal(rec.Data, &snap); err != nil {
				return 0, nil //nolint:nilerr // as above
			}
			last = max(last, snap.GetIndex())
		}
	}
}

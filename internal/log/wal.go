package log

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// walFiles lists the files of a write-ahead log, oldest first.
func walFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	slices.Sort(files)
	return files, err
}

// maxFrame is more than any record of the write-ahead log has: the largest is an append of MaxRequestBytes.
const maxFrame = 64 << 20

// checkWAL refuses a write-ahead log with a length that no write can have left. etcd takes every such length for the torn end
// of its last write, cuts the log off there, and goes on as a voter that has forgotten what it acknowledged. A write that
// power loss has torn looks otherwise: disks write whole sectors, a length never crosses one, and what was not
// written is zero.
//
// One way of losing what was acknowledged looks the same as a torn end: a sector that reads as zeros. That is what [checkEnd]
// is for.
//
// A record is a length (little-endian, its low 56 bits; the high ones tell the padding) and that many octets, rounded up
// to 8; zero is the end. Source: etcd's server/storage/wal/decoder.go.
func checkWAL(dir string) error {
	files, err := walFiles(dir)
	if err != nil || len(files) == 0 {
		return err
	}
	path := files[len(files)-1] // etcd repairs the last one only, and refuses damage in the others
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the write-ahead log: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var head [8]byte
	for offset := 0; ; {
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the write-ahead log: %w", err)
		}
		field := binary.LittleEndian.Uint64(head[:])
		if field == 0 {
			return nil
		}
		size := field & (1<<56 - 1)
		if size > maxFrame {
			return fmt.Errorf("%s is damaged at octet %d: a record of %d octets", path, offset, size)
		}
		if field>>63 != 0 {
			size += field >> 56 & 7
		}
		if n, err := r.Discard(int(size)); n < int(size) {
			if errors.Is(err, io.EOF) {
				return nil // the end of a write that met a full disk
			}
			return fmt.Errorf("read the write-ahead log: %w", err)
		}
		offset += len(head) + int(size)
	}
}

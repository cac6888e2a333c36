package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// ErrDamaged: the file is not what was written.
var ErrDamaged = errors.New("the backup is damaged or cut short")

const (
	sumComment = "zonekeeper-backup sha256 "
	// trailerSize is that of the last gzip member: header, comment, an empty block, CRC and length.
	trailerSize = 10 + len(sumComment) + 2*sha256.Size + 1 + 2 + 8
)

// trailer is an empty gzip member with the sum of what was before it as its comment (RFC 1952 section 2.3.1).
func trailer(sum []byte) []byte {
	const flagComment = 16
	b := []byte{0x1f, 0x8b, 8, flagComment, 0, 0, 0, 0, 0, 255}
	b = append(b, sumComment...)
	b = append(b, hex.EncodeToString(sum)...)
	b = append(b, 0, 3, 0) // the end of the comment; DEFLATE: an empty final block
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// sumWriter hashes what it writes.
type sumWriter struct {
	w   io.Writer
	sum hash.Hash
}

func (s *sumWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.sum.Write(b[:n])
	return n, err
}

// sumReader gives all octets but the trailer, and io.EOF only when the trailer fits them.
type sumReader struct {
	r    io.Reader
	sum  hash.Hash
	buf  []byte // read and not given; the last trailerSize octets may be the trailer
	at   int    // of the first octet in buf that was not given
	done error
}

const sumBuffer = 128 << 10

func newSumReader(r io.Reader) *sumReader { return &sumReader{r: r, sum: sha256.New()} }

func (s *sumReader) Read(b []byte) (int, error) {
	for len(s.buf)-s.at <= trailerSize {
		if s.done != nil {
			return 0, s.done
		}
		s.fill()
	}
	n := copy(b, s.buf[s.at:len(s.buf)-trailerSize])
	s.sum.Write(b[:n])
	s.at += n
	return n, nil
}

func (s *sumReader) fill() {
	if s.buf == nil {
		s.buf = make([]byte, 0, sumBuffer+trailerSize)
	}
	kept := copy(s.buf, s.buf[s.at:])
	s.buf, s.at = s.buf[:kept], 0
	n, err := s.r.Read(s.buf[kept:cap(s.buf)])
	s.buf = s.buf[:kept+n]
	switch {
	case errors.Is(err, io.EOF):
		s.done = s.end()
	case err != nil:
		s.done = fmt.Errorf("read the backup: %w", err)
	}
}

// end decides what the end of the file means. What was not given yet is hashed ahead of its being given.
func (s *sumReader) end() error {
	left := s.buf[s.at:]
	if len(left) < trailerSize {
		return fmt.Errorf("%w: it ends after %d octets of its last %d", ErrDamaged, len(left), trailerSize)
	}
	h, err := cloneHash(s.sum)
	if err != nil {
		return err
	}
	split := len(left) - trailerSize
	h.Write(left[:split])
	if !bytes.Equal(left[split:], trailer(h.Sum(nil))) {
		return fmt.Errorf("%w: its octets do not have the checksum that it ends with", ErrDamaged)
	}
	return io.EOF
}

func cloneHash(h hash.Hash) (hash.Hash, error) {
	c, ok := h.(hash.Cloner)
	if !ok {
		return nil, errors.New("SHA-256 of this program can't be copied")
	}
	clone, err := c.Clone()
	if err != nil {
		return nil, fmt.Errorf("copy a checksum: %w", err)
	}
	return clone, nil
}

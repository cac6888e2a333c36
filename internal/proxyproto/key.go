package proxyproto

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// MinKey is how many octets a key has at least; the command that makes one gives 32.
	MinKey = 16
	// MaxKeys is how many there may be at a time: the one in use and, while it is replaced, the other.
	MaxKeys = 2
)

// Keys are what fronts and primaries share. The first proves headers; a header is proven by any. Nobody changes them once they are
// made.
type Keys [][]byte

// first is the key that proves headers; nil without one.
func (k Keys) first() []byte {
	if len(k) == 0 {
		return nil
	}
	return k[0]
}

func (k Keys) equal(other Keys) bool { return slices.EqualFunc(k, other, bytes.Equal) }

// String names the keys by hashes of them, which may be logged: two nodes show the same ones when they have the same keys.
func (k Keys) String() string {
	names := make([]string, 0, len(k))
	for _, key := range k {
		sum := sha256.Sum256(append([]byte(macLabel), key...))
		names = append(names, hex.EncodeToString(sum[:4]))
	}
	return strings.Join(names, " ")
}

// LogValue implements [slog.LogValuer]: a handler that does not ask for a String would write the keys themselves.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// CheckKeys calls bad with what is wrong with the keys of a configuration's field.
func CheckKeys(field string, keys func() Keys, bad func(format string, args ...any)) {
	if keys == nil {
		bad("%s must be set: start from DefaultConfig", field)
		return
	}
	for _, key := range keys() {
		if len(key) < MinKey {
			bad("one of %s has %d octets: use at least %d random ones", field, len(key), MinKey)
		}
	}
}

// Fixed gives keys that never change.
func Fixed(keys ...[]byte) func() Keys { return func() Keys { return keys } }

// ReadKeys reads a file of one key, or of two: in base64, one a line. Errors name the file and the remedy.
func ReadKeys(path string) (Keys, error) {
	const remedy = "write 32 random octets in base64, the same for fronts and primaries: head -c 32 /dev/urandom | base64"
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, remedy)
	}
	var keys Keys
	for _, word := range strings.Fields(string(b)) {
		key, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			return nil, fmt.Errorf("%s: not base64: %w; %s", path, err, remedy)
		}
		if len(key) < MinKey {
			return nil, fmt.Errorf("%s: a key of %d octets, at least %d are needed; %s", path, len(key), MinKey, remedy)
		}
		keys = append(keys, key)
	}
	if len(keys) < 1 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("%s: %d keys, from 1 to %d are needed, one a line; %s", path, len(keys), MaxKeys, remedy)
	}
	return keys, nil
}

// KeyFile is a file of keys that may be replaced while it is in use. A nil one has no keys. It is safe for concurrent use.
type KeyFile struct {
	path string
	log  *slog.Logger
	keys atomic.Pointer[Keys]
}

// OpenKeys reads a file as [ReadKeys] does.
func OpenKeys(path string, log *slog.Logger) (*KeyFile, error) {
	keys, err := ReadKeys(path)
	if err != nil {
		return nil, err
	}
	f := &KeyFile{path: path, log: log}
	f.keys.Store(&keys)
	log.Info("PROXY keys", "file", path, "keys", keys)
	return f, nil
}

// Keys gives those that were read last.
func (f *KeyFile) Keys() Keys {
	if f == nil {
		return nil
	}
	return *f.keys.Load()
}

// readAgain is how often the file is read. It is small, and what it holds is a better sign than what its directory says of it: a
// file may be replaced by a rename, or behind a symbolic link as Kubernetes replaces Secrets, with whatever time.
const readAgain = time.Second

// Watch reads the file again and again until ctx ends. What can't be read, half of a file for instance, leaves the keys as they are.
func (f *KeyFile) Watch(ctx context.Context) {
	if f == nil {
		return
	}
	t := time.NewTicker(readAgain)
	defer t.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		keys, err := ReadKeys(f.path)
		switch {
		case err != nil:
			if said != err.Error() {
				f.log.Warn("the PROXY keys are not replaced", "err", err)
			}
			said = err.Error()
			continue
		case !keys.equal(f.Keys()):
			f.keys.Store(&keys)
			f.log.Info("the PROXY keys are replaced", "file", f.path, "keys", keys)
		}
		said = ""
	}
}

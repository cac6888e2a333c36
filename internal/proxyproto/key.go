package proxyproto

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// MinKey is how many octets a key has at least; the command that makes one gives 32.
const MinKey = 16

// ReadKey reads the key that fronts and primaries share, in base64. Errors name the file and the remedy.
func ReadKey(path string) ([]byte, error) {
	const remedy = "write 32 random octets in base64, the same for fronts and primaries: head -c 32 /dev/urandom | base64"
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, remedy)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: not base64: %w; %s", path, err, remedy)
	}
	if len(key) < MinKey {
		return nil, fmt.Errorf("%s: a key of %d octets, at least %d are needed; %s", path, len(key), MinKey, remedy)
	}
	return key, nil
}

package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/axfr"
	"github.com/zonekeeper/zonekeeper/internal/tsig"
)

// parseKey reads [algorithm:]name:secret, the form of dig -y, or @FILE that holds it.
func parseKey(s string) (*axfr.Key, error) {
	if path, ok := strings.CutPrefix(s, "@"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		s = strings.TrimSpace(string(b))
	}
	parts := strings.SplitN(s, ":", 3)
	if len(parts) == 2 {
		parts = append([]string{"hmac-sha256"}, parts...)
	}
	if len(parts) != 3 {
		return nil, &usageError{err: errors.New("--key: write [algorithm:]name:secret, as for dig -y")}
	}
	algorithm, err := tsig.ParseAlgorithm(parts[0])
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("--key: %w", err)}
	}
	if b, err := base64.StdEncoding.DecodeString(parts[2]); err != nil || len(b) == 0 {
		return nil, &usageError{err: errors.New("--key: the secret is not base64; write [algorithm:]name:secret, as for dig -y")}
	}
	return &axfr.Key{Name: absolute(parts[1]), Algorithm: algorithm.Name().String(), Secret: parts[2]}, nil
}

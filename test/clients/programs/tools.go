//go:build tools

// Package programs names the programs that are built as they are.
package programs

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"

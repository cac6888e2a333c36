package named

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// ErrVersion marks a named whose version is not supported.
var ErrVersion = errors.New("unsupported BIND version")

// Build is what `named -V` says about a binary.
type Build struct {
	Major, Minor, Patch int
	Text                string // the first line, for logs
	LMDB                bool   // added zones are kept in an LMDB file rather than in text
}

// String returns "9.20.23".
func (b Build) String() string { return fmt.Sprintf("%d.%d.%d", b.Major, b.Minor, b.Patch) }

// is920 tells the two supported branches apart. Every difference between them that this package relies on is asked
// through one of the methods below.
func (b Build) is920() bool { return b.Major == 9 && b.Minor >= 20 }

// ProxyProtocol reports whether listen-on accepts PROXY protocol version 2.
func (b Build) ProxyProtocol() bool { return b.is920() }

// hasCheckSVCB: since 9.20, UPDATEs and files with unusable SVCB parameters are refused unless told otherwise.
func (b Build) hasCheckSVCB() bool { return b.is920() }

var versionLine = regexp.MustCompile(`BIND (\d+)\.(\d+)\.(\d+)`)

// ParseBuild reads the output of `named -V`.
func ParseBuild(out string) (Build, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return Build{}, fmt.Errorf("%w: no version in the output of `named -V`: %.80q", ErrVersion, out)
	}
	b := Build{LMDB: strings.Contains(out, "linked to LMDB") || strings.Contains(out, "--with-lmdb")}
	b.Text, _, _ = strings.Cut(out, "\n")
	for i, p := range []*int{&b.Major, &b.Minor, &b.Patch} {
		v, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Build{}, fmt.Errorf("%w: %s: %w", ErrVersion, m[0], err)
		}
		*p = v
	}
	if b.Major != 9 || (b.Minor != 18 && b.Minor != 20) {
		return b, fmt.Errorf("%w: %s; use BIND 9.20 or 9.18", ErrVersion, b)
	}
	return b, nil
}

// Detect runs `path -V`.
func Detect(ctx context.Context, path string) (Build, error) {
	out, err := exec.CommandContext(ctx, path, "-V").CombinedOutput()
	if err != nil {
		return Build{}, fmt.Errorf("ask %s for its version: %w (install bind9, or set the path of named)", path, err)
	}
	b, err := ParseBuild(string(out))
	if err != nil {
		return b, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

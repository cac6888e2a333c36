package zone

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReadOptions say how zone-file text is read.
type ReadOptions struct {
	// File is the name to show in errors; empty means "zone file".
	File string
	// MaxErrors is how many problems are collected before reading stops; 0 means DefaultMaxErrors.
	MaxErrors int
	// StripSigning leaves out the RRs that exist in signed zones only, instead of refusing them (ReadZone).
	StripSigning bool
}

// maxEntry is the longest RR in zone-file text, in octets: 65,535 octets of RDATA, each as an escape of four.
const maxEntry = 300_000

// LineError is a problem on one line of a zone file.
type LineError struct {
	File string
	Line int
	Err  error
}

// Error returns "file:line: problem".
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the problem.
func (e *LineError) Unwrap() error { return e.Err }

// ReadFile reads zone-file text (RFC 1035 5) whose relative names are relative to origin: $ORIGIN and $TTL, TTLs in
// seconds or in units (1h30m), RDATA in the format of its type or of unknown types (RFC 3597 5). $INCLUDE and $GENERATE
// are refused. The error is a Problems whose elements are *LineError.
func ReadFile(r io.Reader, origin Name, opt ReadOptions) ([]RR, error) {
	rrs, _, err := readFile(r, origin, opt)
	return rrs, err
}

// ReadZone reads zone-file text like ReadFile and builds the zone like FromRRs; problems of both kinds name the line.
func ReadZone(r io.Reader, origin Name, opt ReadOptions) (*Zone, error) {
	rrs, lines, err := readFile(r, origin, opt)
	if err != nil {
		return nil, err
	}
	if opt.StripSigning {
		kept := 0
		for i, rr := range rrs {
			if !IsSigning(rr.Type) {
				rrs[kept], lines[kept] = rr, lines[i]
				kept++
			}
		}
		rrs, lines = rrs[:kept], lines[:kept]
	}
	at := func(i int) string { return fmt.Sprintf("%s:%d: ", opt.fileName(), lines[i]) }
	return build(origin, rrs, at, opt.maxErrors())
}

func (o ReadOptions) fileName() string {
	if o.File == "" {
		return "zone file"
	}
	return o.File
}

func (o ReadOptions) maxErrors() int {
	if o.MaxErrors <= 0 {
		return DefaultMaxErrors
	}
	return o.MaxErrors
}

func readFile(r io.Reader, origin Name, opt ReadOptions) (rrs []RR, lines []int, err error) {
	errs := errorLimit{limit: opt.maxErrors()}
	p := fileParser{entries: entryReader{r: bufio.NewReaderSize(r, 64<<10)}, origin: origin}
	for {
		entry, line, err := p.entries.next()
		if errors.Is(err, errNoEntry) {
			return rrs, lines, errs.err()
		}
		var rr RR
		found := false
		if err == nil {
			rr, found, err = p.entry(entry)
		}
		if err != nil {
			if !errs.add(&LineError{opt.fileName(), line, err}) || p.entries.broken {
				return nil, nil, errs.err()
			}
			continue
		}
		if found {
			rrs, lines = append(rrs, rr), append(lines, line)
		}
	}
}

// token is one item of an entry; quoted items are never directives, names or types.
type token struct {
	text   string // without quotes, escapes kept
	quoted bool
	glued  bool // no white space before it, as the quoted value in key="value"
}

// entryReader splits zone-file text into entries: lines, or several of them held together by parentheses.
type entryReader struct {
	r      *bufio.Reader
	line   int
	broken bool // reading can't go on
}

// entry is the tokens of one entry. An entry that starts with white space has the owner of the one before.
type entry struct {
	sameOwner bool
	tokens    []token
}

// errNoEntry ends the entries. It is not io.EOF: a connection that breaks may wrap that, and half a file is not a zone.
var errNoEntry = errors.New("no more entries")

// next returns the next entry that is not empty, and the number of its first line; errNoEntry after the last one.
func (e *entryReader) next() (entry, int, error) {
	for {
		first := e.line + 1
		var en entry
		depth, size := 0, 0
		for {
			text, err := e.r.ReadBytes('\n')
			if err != nil && err != io.EOF { //nolint:errorlint // a reader's wrapped EOF is a broken read, not the end (package io)
				e.broken = true
				return en, first, fmt.Errorf("reading: %w", err)
			}
			if len(text) == 0 {
				e.broken = true
				if depth > 0 {
					return en, first, fmt.Errorf("%w: the file ends inside parentheses; add the missing \")\"", ErrFormat)
				}
				return en, first, errNoEntry
			}
			e.line++
			if size += len(text); size > maxEntry {
				e.broken = true
				return en, first, fmt.Errorf("%w: an entry of more than %d octets; close its parentheses or quotes", ErrFormat, maxEntry)
			}
			if depth == 0 {
				en.sameOwner = text[0] == ' ' || text[0] == '\t'
			}
			if depth, err = en.scan(bytes.TrimRight(text, "\r\n"), depth); err != nil {
				e.skip(depth)
				return en, first, err
			}
			if depth == 0 {
				break
			}
		}
		if len(en.tokens) > 0 {
			return en, first, nil
		}
	}
}

// skip drops the rest of an entry that could not be read, up to the closing parenthesis or an empty line.
func (e *entryReader) skip(depth int) {
	for depth > 0 {
		text, err := e.r.ReadBytes('\n')
		if err != nil || len(bytes.TrimSpace(text)) == 0 {
			return
		}
		e.line++
		depth += bytes.Count(text, []byte("(")) - bytes.Count(text, []byte(")"))
	}
}

// scan adds the tokens of one line and returns how many parentheses are open after it.
func (en *entry) scan(s []byte, depth int) (int, error) {
	last := 0 // the end of the last token
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t':
			i++
		case ';':
			return depth, nil
		case '(':
			depth++
			i++
		case ')':
			if depth--; depth < 0 {
				return 0, fmt.Errorf("%w: \")\" without \"(\"", ErrFormat)
			}
			i++
		case '"':
			end := tokenEnd(s, i+1, `"`)
			if end == len(s) {
				return depth, fmt.Errorf("%w: a quoted string does not end on its line; add the missing '\"'", ErrFormat)
			}
			en.tokens = append(en.tokens, token{string(s[i+1 : end]), true, i > 0 && i == last})
			i = end + 1
			last = i
		default:
			end := tokenEnd(s, i, " \t;()\"")
			en.tokens = append(en.tokens, token{string(s[i:end]), false, i > 0 && i == last})
			i = end
			last = i
		}
	}
	return depth, nil
}

// tokenEnd returns the position of the first octet of stop at or after i that is not escaped.
func tokenEnd(s []byte, i int, stop string) int {
	for ; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if strings.IndexByte(stop, s[i]) >= 0 {
			return i
		}
	}
	return len(s)
}

// fileParser turns entries into RRs and keeps what one entry inherits from those before it.
type fileParser struct {
	entries entryReader
	origin  Name
	owner   Name // of the last RR, "" before the first
	// ttl is what an RR without a TTL gets: of $TTL, else of the RR before it, else of the SOA's minimum.
	ttl       uint32
	haveTTL   bool
	directive bool // ttl comes from $TTL
}

// entry returns the RR of an entry; found is false for a directive.
func (p *fileParser) entry(en entry) (rr RR, found bool, err error) {
	toks := en.tokens
	if !en.sameOwner && !toks[0].quoted && strings.HasPrefix(toks[0].text, "$") {
		return RR{}, false, p.directiveLine(toks)
	}
	rr.Name, rr.Class = p.owner, ClassIN
	if !en.sameOwner {
		if rr.Name, err = p.name(toks[0].text); err != nil {
			return RR{}, false, fmt.Errorf("owner: %w", err)
		}
		p.owner, toks = rr.Name, toks[1:]
	} else if rr.Name == "" {
		return RR{}, false, fmt.Errorf("%w: the first RR has no owner name; a line may start with white space only after another RR", ErrFormat)
	}
	haveTTL := false
	for len(toks) > 0 && !toks[0].quoted { // TTL and class in either order (RFC 1035 5.1)
		if ttl, ok := parseTTL(toks[0].text); ok && !haveTTL {
			rr.TTL, haveTTL = ttl, true
		} else if !strings.EqualFold(toks[0].text, "IN") {
			break
		}
		toks = toks[1:]
	}
	if len(toks) == 0 || toks[0].quoted {
		return RR{}, false, fmt.Errorf("%w: %s has no RR type", ErrFormat, rr.Name)
	}
	switch strings.ToUpper(toks[0].text) {
	case "CH", "HS", "CHAOS", "HESIOD", "ANY", "NONE":
		return RR{}, false, fmt.Errorf("%w: %s is of class %s; only IN is served", ErrZone, rr.Name, toks[0].text)
	}
	if rr.Type, err = ParseType(toks[0].text); err != nil {
		return RR{}, false, fmt.Errorf("%s: %w", rr.Name, err)
	}
	if rr.Data, err = p.data(rr.Type, toks[1:]); err != nil {
		return RR{}, false, fmt.Errorf("RDATA of %s %s: %w", rr.Name, rr.Type, err)
	}
	if haveTTL && !p.directive {
		p.ttl, p.haveTTL = rr.TTL, true
	}
	if !haveTTL {
		if !p.haveTTL && rr.Type == TypeSOA {
			soa, err := ParseSOA(rr.Data)
			if err != nil {
				return RR{}, false, err
			}
			p.ttl, p.haveTTL = soa.Minimum, true
		}
		if !p.haveTTL {
			return RR{}, false, fmt.Errorf("%w: %s %s has no TTL; add one, or put a $TTL line at the top of the file", ErrFormat, rr.Name, rr.Type)
		}
		rr.TTL = p.ttl
	}
	return rr, true, nil
}

func (p *fileParser) directiveLine(toks []token) error {
	arg := ""
	if len(toks) > 1 {
		arg = toks[1].text
	}
	switch directive := strings.ToUpper(toks[0].text); directive {
	case "$ORIGIN":
		n, err := p.name(arg)
		if err != nil {
			return fmt.Errorf("$ORIGIN: %w", err)
		}
		p.origin = n
	case "$TTL":
		ttl, ok := parseTTL(arg)
		if !ok {
			return fmt.Errorf("%w: $TTL %q is no TTL; write seconds or units such as 1h30m, at most %d s", ErrFormat, arg, MaxTTL)
		}
		p.ttl, p.haveTTL, p.directive = ttl, true, true
	case "$INCLUDE", "$GENERATE":
		return fmt.Errorf("%w: %s is not supported; write the zone to one plain file with named-compilezone first", ErrFormat, directive)
	default:
		return fmt.Errorf("%w: unknown directive %q", ErrFormat, toks[0].text)
	}
	return nil
}

// name reads a name that is relative to the origin unless it ends in a dot.
func (p *fileParser) name(s string) (Name, error) {
	if s == "@" {
		return p.origin, nil
	}
	n, err := ParseName(s)
	if err != nil || absolute(s) {
		return n, err
	}
	if len(n)-1+len(p.origin) > MaxNameLen {
		return "", fmt.Errorf("%w: name %q below %s is longer than %d octets", ErrFormat, s, p.origin, MaxNameLen)
	}
	return n[:len(n)-1] + p.origin, nil
}

// absolute reports whether a name in presentation format ends in a dot that is not escaped.
func absolute(s string) bool {
	if !strings.HasSuffix(s, ".") {
		return false
	}
	backslashes := 0
	for i := len(s) - 2; i >= 0 && s[i] == '\\'; i-- {
		backslashes++
	}
	return backslashes%2 == 0
}

// parseTTL reads seconds, or numbers with the units w d h m s, in any case.
func parseTTL(s string) (uint32, bool) {
	total, n, digits := uint64(0), uint64(0), 0
	units := false
	for _, c := range []byte(s) {
		if isDigit(c) {
			if n, digits = n*10+uint64(c-'0'), digits+1; n > MaxTTL {
				return 0, false
			}
			continue
		}
		seconds := map[byte]uint64{'w': 7 * 86400, 'd': 86400, 'h': 3600, 'm': 60, 's': 1}[lowerByte(c)]
		if seconds == 0 || digits == 0 {
			return 0, false
		}
		if total += n * seconds; total > MaxTTL {
			return 0, false
		}
		n, digits, units = 0, 0, true
	}
	if digits > 0 {
		total += n
	} else if !units {
		return 0, false
	}
	return uint32(total), total <= MaxTTL
}

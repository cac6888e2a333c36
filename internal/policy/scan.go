package policy

import (
	"fmt"
	"strings"
)

// SyntaxError is a text that cannot be taken, with the place where it went wrong.
type SyntaxError struct {
	Line, Column int    // from 1; a column counts octets
	Found        string // the token at that place, "" at the end of the text
	Problem      string
	Remedy       string // what to write instead
}

func (e *SyntaxError) Error() string {
	found := "end of text"
	if e.Found != "" {
		found = fmt.Sprintf("%q", e.Found)
	}
	return fmt.Sprintf("line %d, column %d: %s at %s; %s", e.Line, e.Column, e.Problem, found, e.Remedy)
}

type tokenKind byte

const (
	tokenEnd     tokenKind = iota
	tokenWord              // unquoted string
	tokenQuoted            // "string"
	tokenSpecial           // one of { } ; / !
)

type token struct {
	kind         tokenKind
	text         string
	line, column int
}

func (t token) is(special string) bool { return t.kind == tokenSpecial && t.text == special }

// fold reports whether t is the unquoted word, ignoring case.
func (t token) fold(word string) bool { return t.kind == tokenWord && strings.EqualFold(t.text, word) }

func (t token) fail(problem, remedy string) error {
	return &SyntaxError{Line: t.line, Column: t.column, Found: t.text, Problem: problem, Remedy: remedy}
}

// scanner splits text as lib/isc/lex.c does for named.conf: the specials end a word; a comment (#, //, /* */) may stand
// anywhere outside quotes; within quotes \" is a quote, and every other backslash stays for the name parser.
type scanner struct {
	text         string
	pos          int
	line, column int
	peeked       *token
}

func newScanner(text string) *scanner { return &scanner{text: text, line: 1, column: 1} }

const specials = "{};/!"

func (s *scanner) advance() byte {
	c := s.text[s.pos]
	s.pos++
	if c == '\n' {
		s.line, s.column = s.line+1, 1
	} else {
		s.column++
	}
	return c
}

func (s *scanner) ahead(prefix string) bool { return strings.HasPrefix(s.text[s.pos:], prefix) }

func (s *scanner) peek() (token, error) {
	if s.peeked == nil {
		t, err := s.scan()
		if err != nil {
			return token{}, err
		}
		s.peeked = &t
	}
	return *s.peeked, nil
}

func (s *scanner) next() (token, error) {
	t, err := s.peek()
	s.peeked = nil
	return t, err
}

func (s *scanner) scan() (token, error) {
	if err := s.skip(); err != nil {
		return token{}, err
	}
	t := token{line: s.line, column: s.column}
	if s.pos == len(s.text) {
		return t, nil
	}
	switch c := s.text[s.pos]; {
	case c == '"':
		return s.quoted(t)
	case strings.IndexByte(specials, c) >= 0:
		s.advance()
		t.kind, t.text = tokenSpecial, string(c)
	default:
		start := s.pos
		for s.pos < len(s.text) && !isBlank(s.text[s.pos]) && strings.IndexByte(specials+`"#`, s.text[s.pos]) < 0 {
			s.advance()
		}
		t.kind, t.text = tokenWord, s.text[start:s.pos]
	}
	return t, nil
}

func (s *scanner) quoted(t token) (token, error) {
	s.advance()
	var b strings.Builder
	for s.pos < len(s.text) {
		switch c := s.advance(); {
		case c == '"':
			t.kind, t.text = tokenQuoted, b.String()
			return t, nil
		case c == '\\' && s.pos < len(s.text):
			if s.text[s.pos] != '"' {
				b.WriteByte(c)
			}
			b.WriteByte(s.advance())
		default:
			b.WriteByte(c)
		}
	}
	t.text = `"`
	return token{}, t.fail("quoted string without an end", `close it with "`)
}

// skip passes blanks and comments.
func (s *scanner) skip() error {
	for s.pos < len(s.text) {
		switch {
		case isBlank(s.text[s.pos]):
			s.advance()
		case s.ahead("#"), s.ahead("//"):
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.advance()
			}
		case s.ahead("/*"):
			t := token{line: s.line, column: s.column, text: "/*"}
			end := strings.Index(s.text[s.pos+2:], "*/")
			if end < 0 {
				return t.fail("comment without an end", "close it with */")
			}
			for stop := s.pos + 2 + end + 2; s.pos < stop; {
				s.advance()
			}
		default:
			return nil
		}
	}
	return nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// unwrap passes an opening "keyword {" when the whole statement was pasted, and reports whether it did.
func (s *scanner) unwrap(keywords ...string) (bool, error) {
	t, err := s.peek()
	if err != nil {
		return false, err
	}
	for _, k := range keywords {
		if t.fold(k) {
			s.peeked = nil
			open, err := s.next()
			if err != nil {
				return false, err
			}
			if !open.is("{") {
				return false, open.fail("expected {", "write "+k+" { … };, or only what stands between the braces")
			}
			return true, nil
		}
	}
	return false, nil
}

// finish reads what may follow the last element: the closing brace of a pasted statement, and nothing else.
func (s *scanner) finish(wrapped bool) error {
	t, err := s.next()
	if err != nil {
		return err
	}
	if wrapped {
		if !t.is("}") {
			return t.fail("expected }", "close the statement with };")
		}
		if t, err = s.next(); err == nil && t.is(";") {
			t, err = s.next()
		}
		if err != nil {
			return err
		}
	}
	if t.kind != tokenEnd {
		return t.fail("text after the end", "remove it")
	}
	return nil
}

func (s *scanner) semicolon(after string) error {
	t, err := s.next()
	if err != nil {
		return err
	}
	if !t.is(";") {
		return t.fail("missing ;", "end "+after+" with a semicolon")
	}
	return nil
}

// quote writes a name so that both named.conf's lexer and the name parser give it back.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `\"`, `\034`) + `"`
}

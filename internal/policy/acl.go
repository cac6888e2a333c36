package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ACL is an address-match list: the first element that matches decides, and when none does the answer is no.
type ACL struct {
	elements []element
}

// element is one of: key, prefix, nested list; with none of them set, it is any.
type element struct {
	negated bool
	key     zone.Name
	prefix  netip.Prefix
	nested  *ACL
}

// Match reports whether the list admits s. An address that is not proven never matches in s's favour: an element by
// address counts as no match where a match would admit, and as a match where it would refuse.
func (a *ACL) Match(s Subject) bool { return a.match(s, false) > 0 }

// match returns 1 when the first matching element admits, -1 when it refuses, 0 when none matches. An element by an
// unproven address matches when that makes the result equal to unproven (true: 1).
func (a *ACL) match(s Subject, unproven bool) int {
	for i := range a.elements {
		e := &a.elements[i]
		if e.matches(s, unproven != e.negated) {
			if e.negated {
				return -1
			}
			return 1
		}
	}
	return 0
}

func (e *element) matches(s Subject, unproven bool) bool {
	switch {
	case e.key != "":
		return s.Signer != "" && s.Signer.Equal(e.key)
	case e.prefix.IsValid():
		if !s.Addr.IsValid() {
			return unproven
		}
		return e.prefix.Contains(s.Addr.Unmap().WithZone(""))
	case e.nested != nil:
		// A refusal inside a nested list is no match outside: a doubled negation never admits (dns_aclelement_match).
		return e.nested.match(s, unproven) > 0
	}
	return true
}

// String prints the list as named.conf accepts it. ParseACL of the result gives an equal list.
func (a *ACL) String() string {
	parts := make([]string, len(a.elements))
	for i := range a.elements {
		parts[i] = a.elements[i].String() + ";"
	}
	return strings.Join(parts, " ")
}

func (e *element) String() string {
	text := "any"
	switch {
	case e.key != "":
		text = "key " + quote(e.key.String())
	case e.prefix.IsSingleIP():
		text = e.prefix.Addr().String()
	case e.prefix.IsValid():
		text = e.prefix.String()
	case e.nested != nil:
		text = strings.TrimSpace("{ "+e.nested.String()) + " }"
	}
	if e.negated {
		if text == "any" {
			return "none"
		}
		return "!" + text
	}
	return text
}

// maxNesting bounds recursion on hostile input.
const maxNesting = 32

// ParseACL reads the inside of allow-update { … }, allow-query { … } or allow-transfer { … }, or the whole statement.
// Errors are *SyntaxError.
func ParseACL(text string) (*ACL, error) {
	s := newScanner(text)
	wrapped, err := s.unwrap("allow-update", "allow-query", "allow-transfer")
	if err != nil {
		return nil, err
	}
	a, err := parseElements(s, 0)
	if err != nil {
		return nil, err
	}
	if err := s.finish(wrapped); err != nil {
		return nil, err
	}
	return a, nil
}

func parseElements(s *scanner, depth int) (*ACL, error) {
	a := &ACL{}
	for {
		t, err := s.peek()
		if err != nil {
			return nil, err
		}
		if t.kind == tokenEnd || t.is("}") {
			return a, nil
		}
		e, err := parseElement(s, depth)
		if err != nil {
			return nil, err
		}
		a.elements = append(a.elements, e)
		if err := s.semicolon("each element"); err != nil {
			return nil, err
		}
	}
}

const elementForm = `write key "NAME", an address, a prefix (192.0.2.0/24), any, none, or a list in { }`

func parseElement(s *scanner, depth int) (element, error) {
	t, err := s.next()
	if err != nil {
		return element{}, err
	}
	if depth > maxNesting {
		return element{}, t.fail("lists are nested too deeply", fmt.Sprintf("use at most %d levels", maxNesting))
	}
	switch {
	case t.is("!"):
		again, err := s.peek()
		if err != nil {
			return element{}, err
		}
		if again.is("!") {
			return element{}, again.fail("doubled negation", "remove both !")
		}
		e, err := parseElement(s, depth+1)
		if err != nil {
			return element{}, err
		}
		e.negated = !e.negated // !none is any
		return e, nil
	case t.is("{"):
		nested, err := parseElements(s, depth+1)
		if err != nil {
			return element{}, err
		}
		end, err := s.next()
		if err != nil {
			return element{}, err
		}
		if !end.is("}") {
			return element{}, end.fail("expected }", "close the nested list")
		}
		return element{nested: nested}, nil
	case t.fold("key"):
		k, err := s.next()
		if err != nil {
			return element{}, err
		}
		if k.kind != tokenWord && k.kind != tokenQuoted {
			return element{}, k.fail("expected the key's name", elementForm)
		}
		n, err := zone.ParseName(k.text)
		if err != nil {
			return element{}, k.fail("the key's name is not a domain name", err.Error())
		}
		return element{key: n}, nil
	case t.kind == tokenWord || t.kind == tokenQuoted:
		return parseAddress(s, t)
	}
	return element{}, t.fail("expected an element of an address-match list", elementForm)
}

func parseAddress(s *scanner, t token) (element, error) {
	switch strings.ToLower(t.text) {
	case "any":
		return element{}, nil
	case "none":
		return element{negated: true}, nil
	case "localhost", "localnets":
		return element{}, t.fail("not supported, because it means other addresses on every replica",
			"write the addresses, for instance 127.0.0.1; ::1;")
	case "geoip":
		return element{}, t.fail("not supported, because replicas may hold different databases", "write the prefixes")
	}
	addr, short := parseAddr(t)
	if !addr.IsValid() {
		return element{}, t.fail("neither an address nor a word of address-match lists", elementForm+"; named ACLs are not known here")
	}
	slash, err := s.peek()
	if err != nil {
		return element{}, err
	}
	if !slash.is("/") {
		if short {
			return element{}, t.fail("incomplete IPv4 address", "write all four octets, or a prefix such as 10/8")
		}
		return element{prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	s.peeked = nil
	length, err := s.next()
	if err != nil {
		return element{}, err
	}
	bits, err := strconv.ParseUint(length.text, 10, 16)
	if err != nil || length.kind != tokenWord || int(bits) > addr.BitLen() {
		return element{}, length.fail("bad prefix length", fmt.Sprintf("write a number from 0 to %d", addr.BitLen()))
	}
	p := netip.PrefixFrom(addr, int(bits))
	if p.Masked() != p {
		return element{}, t.fail(fmt.Sprintf("%s has bits set beyond its prefix length", p), "write "+p.Masked().String())
	}
	return element{prefix: p}, nil
}

// parseAddr reads an address; as in named.conf, trailing octets of an IPv4 address may be left off when a prefix length
// follows, which short says.
func parseAddr(t token) (addr netip.Addr, short bool) {
	if t.kind != tokenWord {
		return netip.Addr{}, false
	}
	text := t.text
	for i := 0; i < 4; i++ {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && (i == 0 || a.Is4()) {
			return a, i > 0
		}
		text += ".0"
	}
	return netip.Addr{}, false
}

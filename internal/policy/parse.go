package policy

import (
	"strconv"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// ParsePolicy reads the inside of update-policy { … }, or the whole statement. Errors are *SyntaxError.
func ParsePolicy(text string) (*Policy, error) {
	s := newScanner(text)
	wrapped, err := s.unwrap("update-policy")
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	for {
		t, err := s.peek()
		if err != nil {
			return nil, err
		}
		if t.kind == tokenEnd || t.is("}") {
			break
		}
		r, err := parseRule(s)
		if err != nil {
			return nil, err
		}
		p.rules = append(p.rules, r)
	}
	if err := s.finish(wrapped); err != nil {
		return nil, err
	}
	return p, nil
}

const ruleForm = "write: grant|deny IDENTITY MATCHTYPE [NAME] [TYPE …];"

func parseRule(s *scanner) (rule, error) {
	var r rule
	verb, err := s.next()
	if err != nil {
		return r, err
	}
	switch {
	case verb.fold("grant"):
		r.grant = true
	case verb.fold("deny"):
	case verb.fold("local"):
		return r, verb.fail("update-policy local is not supported",
			"it means the session key of one named process on one host; create a key and write: grant KEY zonesub ANY;")
	default:
		return r, verb.fail("expected grant or deny", ruleForm)
	}
	identity, err := s.text2name("identity")
	if err != nil {
		return r, err
	}
	r.identity = identity.name
	if r.match, err = parseMatch(s); err != nil {
		return r, err
	}
	r.name = zone.Root
	if r.match != matchZonesub {
		name, err := s.text2name("name")
		if err != nil {
			return r, err
		}
		r.name = name.name
		if err := r.checkName(name.token); err != nil {
			return r, err
		}
	}
	if r.types, err = parseTypes(s); err != nil {
		return r, err
	}
	return r, s.semicolon("the rule")
}

type nameToken struct {
	token
	name zone.Name
}

func (s *scanner) text2name(what string) (nameToken, error) {
	t, err := s.next()
	if err != nil {
		return nameToken{}, err
	}
	if t.kind != tokenWord && t.kind != tokenQuoted {
		return nameToken{}, t.fail("expected the rule's "+what, ruleForm)
	}
	n, err := zone.ParseName(t.text)
	if err != nil {
		return nameToken{}, t.fail("the "+what+" is not a domain name", err.Error())
	}
	return nameToken{token: t, name: n}, nil
}

func parseMatch(s *scanner) (matchType, error) {
	t, err := s.next()
	if err != nil {
		return 0, err
	}
	if t.kind == tokenQuoted {
		return 0, t.fail("quoted match type", "write it without quotes")
	}
	for m, word := range matchWords {
		if t.fold(word) {
			return matchType(m), nil
		}
	}
	switch word := strings.ToLower(t.text); {
	case strings.HasPrefix(word, "krb5-"), strings.HasPrefix(word, "ms-"):
		return 0, t.fail("match type is not supported",
			"it compares Kerberos principals, which need GSS-TSIG; give the client a TSIG key and use self or name")
	case word == "external":
		return 0, t.fail("match type is not supported",
			"it asks a daemon on one host, and every replica must decide alike; use the other match types")
	}
	return 0, t.fail("unknown match type", "use one of "+strings.Join(matchWords[:], ", "))
}

// checkName holds the rules of named's configuration check (check_update_policy in lib/isccfg/check.c).
func (r *rule) checkName(t token) error {
	switch r.match {
	case matchSelf, matchSelfsub, matchSelfwild:
		if r.name != zone.Root && !r.name.Equal(r.identity) {
			return t.fail("the name of a self rule is not used and must be . or the identity", "write .")
		}
		return nil
	case matchTCPSelf, match6to4Self:
		if r.name != zone.Root {
			return t.fail("the name of a "+r.match.String()+" rule is not used and must be .", "write .")
		}
		return nil
	case matchWildcard:
		if !isWildcard(r.name) {
			return t.fail("the name is not a wildcard", "begin it with *. or use subdomain")
		}
	default:
	}
	if _, err := zone.ParseType(t.text); err == nil {
		return t.fail("a type stands where the name belongs", "write the name before the types, or use zonesub")
	}
	return nil
}

func parseTypes(s *scanner) ([]typeLimit, error) {
	var types []typeLimit
	for {
		t, err := s.peek()
		if err != nil {
			return nil, err
		}
		if t.kind != tokenWord && t.kind != tokenQuoted {
			return types, nil
		}
		s.peeked = nil
		l, err := parseType(t)
		if err != nil {
			return nil, err
		}
		types = append(types, l)
	}
}

func parseType(t token) (typeLimit, error) {
	name, count, counted := strings.Cut(t.text, "(")
	typ, err := zone.ParseType(name)
	if err != nil {
		return typeLimit{}, t.fail("unknown type", "separate types by blanks; an unlisted one is TYPE and its number")
	}
	l := typeLimit{Type: typ}
	if !counted {
		return l, nil
	}
	digits, closed := strings.CutSuffix(count, ")")
	if digits == "" && closed { // as for named: no limit
		return l, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), 10, 16)
	if err != nil || !closed {
		return typeLimit{}, t.fail("bad record count", "write TYPE(n) without blanks, n from 1 to 65535")
	}
	l.Max = int(n)
	return l, nil
}

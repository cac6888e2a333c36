package differential

import (
	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// policyRow asks for one change and says whether the policy of its zone permits it.
func policyRow(name, zoneKind string, signer string, permitted bool, make func(g *Generator) *message) row {
	hit := code(update.Refused)
	if permitted {
		hit = code(update.NoError)
	}
	return row{name: "policy: " + name, in: kind(zoneKind), hit: hit, make: func(g *Generator) (*message, who) {
		by := who(signer)
		if len(signer) > 1 && signer[len(signer)-1] != '.' { // relative: a key named below the zone
			by = who(signer + "." + g.origin.String())
		}
		return make(g), by
	}}
}

func adds(labels, mnemonic string) func(g *Generator) *message {
	return func(g *Generator) *message { return g.msg().update(g.rr(g.at(labels), mnemonic)) }
}

const rulesZone, reverseZone, sixToFourZone, limitZone = "rules.test.", "0.0.127.in-addr.arpa.", "2.0.0.2.ip6.arpa.", "limit.test."

// selfReverse and self6to4 are the names of the tests' source address 127.0.0.1 in their zones.
const selfReverse, self6to4 = "1", "1.0.0.0.0.0.f.7"

// policyRows are directed at the zones of kinds; each match type permits and refuses.
var policyRows = []row{ //nolint:gochecknoglobals // a constant table
	policyRow("name, type listed", rulesZone, "", true, adds("one", "A")),
	policyRow("name, type not listed, default rule after it", rulesZone, "", true, adds("one", "HINFO")),
	policyRow("deny by name comes first", rulesZone, "", false, adds("secret", "TXT")),
	policyRow("deny by subdomain, type listed", rulesZone, "", false, adds("x.no", "A")),
	policyRow("deny by subdomain, type not listed", rulesZone, "", true, adds("x.no", "TXT")),
	policyRow("subdomain, any type", rulesZone, "", true, adds("x.sub", "DS")),
	policyRow("subdomain, NS", rulesZone, "", true, func(g *Generator) *message {
		return g.msg().update(g.line(g.at("x.sub"), "NS ns.elsewhere.example."))
	}),
	policyRow("zonesub without types covers no NS", rulesZone, "", false, func(g *Generator) *message {
		return g.msg().update(g.line(g.at("b"), "NS ns.elsewhere.example."))
	}),
	policyRow("zonesub without types covers no SOA", rulesZone, "", false, func(g *Generator) *message {
		return g.msg().update(g.soa(g.zone.Serial() + 1))
	}),
	policyRow("wildcard at any depth", rulesZone, "", true, adds("b.c.wild", "A")),
	policyRow("self", rulesZone, "h1.hosts", true, adds("h1.hosts", "A")),
	policyRow("self, another's name", rulesZone, "h1.hosts", false, adds("h2.hosts", "A")),
	policyRow("self, type not listed", rulesZone, "h1.hosts", false, adds("h1.hosts", "HINFO")),
	policyRow("selfsub", rulesZone, "h1.hosts", true, adds("x.h1.hosts", "SRV")),
	policyRow("selfsub, another's name", rulesZone, "h1.hosts", false, adds("x.h2.hosts", "SRV")),
	policyRow("selfwild", rulesZone, "h2.hosts", true, adds("*.h2.hosts", "CAA")),
	policyRow("selfwild, own name", rulesZone, "h2.hosts", false, adds("h2.hosts", "CAA")),
	policyRow("identity *: any key", rulesZone, KeyOther, true, adds("open", "TXT")),
	policyRow("identity *: not unsigned", rulesZone, string(unsigned), false, adds("open", "TXT")),
	policyRow("no rule applies", rulesZone, KeyOther, false, adds("a", "MX")),
	{name: "policy: TYPE(n), excess ignored", in: kind(rulesZone), hit: unchanged, make: func(g *Generator) (*message, who) {
		if s := g.zone.Get(g.at("full"), zone.TypeTXT); s == nil || len(s.Data) < 2 {
			return g.msg().update(g.line(g.at("full"), `TXT "1"`), g.line(g.at("full"), `TXT "2"`)), KeyOther
		}
		return g.msg().update(g.rr(g.at("full"), "TXT")), KeyOther
	}},
	{name: "policy: ANY(n), excess ignored", in: kind(limitZone), hit: code(update.NoError), make: func(g *Generator) (*message, who) {
		n := g.at("full")
		return only(g.msg().update(deleteName(n), g.line(n, "HINFO 1 1"), g.line(n, "HINFO 2 2"), g.line(n, "HINFO 3 3"), g.line(n, "HINFO 4 4"), g.line(n, "TXT 1"), g.line(n, "TXT 2")))
	}},
	policyRow("deletion of a name with a forbidden RRset", rulesZone, "", false, func(g *Generator) *message {
		return g.msg().update(deleteName(pick(g.rng, []zone.Name{g.origin, g.at("secret"), g.at("deleg")})))
	}),
	policyRow("deletion of a name that does not exist", rulesZone, KeyOther, true, func(g *Generator) *message {
		return g.msg().update(deleteName(g.absent()))
	}),
	policyRow("deletion of a PTR or SRV RRset that does not exist", rulesZone, KeyOther, true, func(g *Generator) *message {
		return g.msg().update(deleteSet(g.absent(), pick(g.rng, []zone.Type{zone.TypePTR, zone.TypeSRV})))
	}),
	policyRow("deletion of a PTR or SRV RR that does not exist", rulesZone, KeyOther, true, func(g *Generator) *message {
		return g.msg().update(deleteRR(g.rr(g.absent(), pick(g.rng, []string{"PTR", "SRV"}))))
	}),
	policyRow("deletion of another RRset that does not exist", rulesZone, KeyOther, false, func(g *Generator) *message {
		return g.msg().update(deleteSet(g.absent(), zone.TypeMX))
	}),
	policyRow("deletion of an SRV RR that exists", rulesZone, KeyOther, false, func(g *Generator) *message {
		s := g.zone.Get(g.at("_sip._tcp"), zone.TypeSRV)
		if s == nil {
			return g.msg().update(g.line(g.at("_sip._tcp"), "SRV 0 0 5060 ns.elsewhere.example."))
		}
		return g.msg().update(deleteRR(s.RR(0)))
	}),
	policyRow("tcp-self, own name, unsigned", reverseZone, string(unsigned), true, adds(selfReverse, "PTR")),
	policyRow("tcp-self, own name, signed", reverseZone, KeyOther, true, adds(selfReverse, "TXT")),
	policyRow("tcp-self, another's name", reverseZone, string(unsigned), false, adds("2", "PTR")),
	policyRow("tcp-self, type not listed", reverseZone, string(unsigned), false, adds(selfReverse, "HINFO")),
	policyRow("6to4-self, own name, unsigned", sixToFourZone, string(unsigned), true, func(g *Generator) *message {
		return g.msg().update(g.line(g.at(self6to4), "NS ns.elsewhere.example."))
	}),
	policyRow("6to4-self, a name below", sixToFourZone, string(unsigned), false, adds("x."+self6to4, "TXT")),
	{name: "policy: tcp-self over UDP: REFUSED", in: kind(reverseZone), udp: true, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.rr(g.at(selfReverse), "TXT")), unsigned
	}},
}

package differential

import (
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/update"
	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// row is one documented behaviour of named: a request that is meant to show it, and how to tell that it did. Every row is
// expected to be hit often in a run of any length; see Coverage.
type row struct {
	name string
	in   func(ZoneSpec) bool // nil: every zone
	// make returns the request and who signs it; nil when the zone's content does not allow for it now.
	make   func(g *Generator) (*message, who)
	udp    bool
	tamper Tamper
	hit    func(before, after *zone.Zone, rcode uint16) bool
}

func rowsFor(spec ZoneSpec) []row {
	var fit []row
	for _, r := range slices.Concat(rows, policyRows) {
		if r.in == nil || r.in(spec) {
			fit = append(fit, r)
		}
	}
	return fit
}

func code(want uint16) func(before, after *zone.Zone, rcode uint16) bool {
	return func(_, _ *zone.Zone, rcode uint16) bool { return rcode == want }
}

// unchanged: NOERROR, and neither content nor serial moved.
func unchanged(before, after *zone.Zone, rcode uint16) bool {
	return rcode == update.NoError && before.Digest() == after.Digest() && before.Serial() == after.Serial()
}

// bumped: NOERROR, and the serial moved by one step.
func bumped(before, after *zone.Zone, rcode uint16) bool {
	return rcode == update.NoError && after.Serial() == zone.NextSerial(before.Serial())
}

// serialOnly: the serial moved by one step and nothing else did.
func serialOnly(before, after *zone.Zone, rcode uint16) bool {
	if !bumped(before, after, rcode) {
		return false
	}
	d := zone.Between(before, after)
	for _, rr := range append(d.Del, d.Add...) {
		if rr.Type != zone.TypeSOA {
			return false
		}
	}
	return true
}

func byACL(s ZoneSpec) bool    { return s.ACL != "" }
func byPolicy(s ZoneSpec) bool { return s.Policy != "" }
func kind(name string) func(ZoneSpec) bool {
	return func(s ZoneSpec) bool { return s.Kind == name }
}

// full are the zones where KeyMain may do anything.
func full(s ZoneSpec) bool {
	return kind("Allow.test.")(s) || kind("any.test.")(s) || kind("plain.test.")(s)
}

func (g *Generator) at(labels string) zone.Name {
	if labels == "" {
		return g.origin
	}
	return zone.MustParseName(labels + "." + g.origin.String())
}

// fresh returns an RR that the zone is unlikely to hold, at a name without a CNAME.
func (g *Generator) fresh(mnemonic string) zone.RR {
	for {
		owner := g.at(pick(g.rng, []string{"a", "b", "case", "c", "d", "one"}))
		if g.zone.Get(owner, zone.TypeCNAME) == nil {
			return g.rr(owner, mnemonic)
		}
	}
}

func (g *Generator) msg() *message { return newMessage(g.origin) }

// sound is a message that first puts the apex's name servers in order, whatever random updates have made of them.
func (g *Generator) sound() *message {
	return g.msg().update(
		deleteName(g.at("*")), deleteName(g.at("nothing.here")), deleteName(g.at("here")),
		deleteName(g.at("ns1")), deleteName(g.at("ns2")), g.line(g.at("ns1"), "A 192.0.2.1"), g.line(g.at("ns2"), "AAAA 2001:db8::2"),
		g.line(g.origin, "NS "+g.at("ns1").String()), g.line(g.origin, "NS "+g.at("ns2").String()),
	)
}

func only(m *message) (*message, who) { return m, "" }

// failing returns a prerequisite that does not hold.
func (g *Generator) failing() zone.RR { return nameInUse(g.at("nothing.here")) }

// absent returns a name that is not in use.
func (g *Generator) absent() zone.Name {
	return g.at(pick(g.rng, []string{"nothing", "no.where", "a.b.c.d"}))
}

// some returns a random RRset below the apex whose type is none of those that rows treat specially.
func (g *Generator) some() *zone.RRset {
	for range 50 {
		s := g.existing()
		switch s.Type {
		case zone.TypeSOA, zone.TypeNS, zone.TypeDS, zone.TypeMX, zone.TypeA, zone.TypeAAAA, zone.TypeSVCB, zone.TypeHTTPS, zone.TypeCNAME, zone.TypeDNAME:
			continue
		default:
		}
		if !s.Owner.Equal(g.origin) {
			return s
		}
	}
	return nil
}

// signatureRow adds an RR under a signature that is not as usual.
func signatureRow(name string, tamper Tamper, udp bool) row {
	r := row{name: name, hit: code(tampers[tamper].rcode), tamper: tamper, udp: udp, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.fresh("A")))
	}}
	if tampers[tamper].rcode == update.NoError {
		r.in, r.hit = full, bumped
	}
	return r
}

var rows = []row{ //nolint:gochecknoglobals // a constant table
	// Signatures.
	signatureRow("key's and algorithm's name in upper case: verified", UpperCase, false),
	signatureRow("BADSIG: NOTAUTH", WrongSecret, false),
	signatureRow("BADSIG over UDP: NOTAUTH", WrongSecret, true),
	{name: "unknown key, BADKEY: NOTAUTH", hit: code(update.NotAuth), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.fresh("A")), "nobody."
	}},
	signatureRow("known key, other algorithm, BADKEY: NOTAUTH", OtherAlgorithm, false),
	signatureRow("clock skew, BADTIME: NOTAUTH", OldSignature, false),
	signatureRow("clock skew of the other sign, BADTIME: NOTAUTH", NewSignature, true),
	signatureRow("empty MAC, BADSIG: NOTAUTH", NoMAC, false),
	signatureRow("MAC cut below a half, BADSIG: FORMERR", ShortMAC, false),
	signatureRow("MAC cut to a half, BADTRUNC: NOTAUTH", HalfMAC, false),
	signatureRow("MAC too long, BADSIG: FORMERR", LongMAC, false),
	signatureRow("TTL of TSIG, BADSIG: NOTAUTH", OtherTTL, false),
	signatureRow("class of TSIG: FORMERR", OtherClass, false),
	signatureRow("TSIG is not the last RR: FORMERR", Followed, true),
	signatureRow("two TSIG RRs: FORMERR", Twice, false),

	// Answers.
	{name: "unsigned, zone allowed to others: REFUSED", in: byACL, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.fresh("A")), unsigned
	}},
	{name: "unsigned over UDP, zone with a policy: REFUSED", in: byPolicy, udp: true, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.fresh("TXT")), unsigned
	}},
	{name: "signed over UDP: NOERROR", in: full, udp: true, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.fresh("TXT")))
	}},
	{name: "wrong key: REFUSED", in: func(s ZoneSpec) bool { return kind("plain.test.")(s) || kind("any.test.")(s) }, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.fresh("A")), KeyOther
	}},
	{name: "unknown zone: NOTAUTH", hit: code(update.NotAuth), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.zones[0].name = pick(g.rng, []zone.Name{zone.MustParseName("unknown.example."), zone.Root, g.origin.Parent()})
		return only(m)
	}},
	{name: "subdomain given as the zone: NOTAUTH", hit: code(update.NotAuth), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.zones[0].name = g.at("deleg")
		return only(m)
	}},
	{name: "update out of zone: NOTZONE", in: full, hit: code(update.NotZone), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.fresh("A"), g.rr(pick(g.rng, g.outside), "A")))
	}},
	{name: "update out of zone before a failing prerequisite: NOTZONE", in: full, hit: code(update.NotZone), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(g.failing()).update(g.rr(pick(g.rng, g.outside), "A")))
	}},
	{name: "prerequisite out of zone: NOTZONE", in: full, hit: code(update.NotZone), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(nameNotInUse(pick(g.rng, g.outside)), g.failing()))
	}},
	{name: "out of zone, key not allowed: REFUSED", in: kind("plain.test."), hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().update(g.rr(pick(g.rng, g.outside), "A")), KeyOther
	}},
	{name: "failing prerequisite, key not allowed: REFUSED", in: kind("plain.test."), hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return g.msg().require(g.failing()).update(g.fresh("A")), KeyOther
	}},
	{name: "EDNS version 1: BADVERS", hit: code(badVers), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.additional = []zone.RR{{Name: zone.Root, Type: zone.TypeOPT, Class: 1232, TTL: 1 << 16}}
		return m, pick(g.rng, []who{"", unsigned, KeyOther})
	}},
	{name: "no zone section: FORMERR", hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.zones = nil
		return only(m)
	}},
	{name: "zone section of another type: FORMERR", hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.zones[0].t = pick(g.rng, []zone.Type{zone.TypeA, zone.TypeANY, zone.TypeNS, 0})
		return only(m)
	}},
	{name: "zone section with two RRs: FORMERR", hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.zones = append(m.zones, question{pick(g.rng, []zone.Name{g.origin, g.at("a")}), pick(g.rng, []zone.Type{zone.TypeSOA, zone.TypeA}), zone.ClassIN})
		return only(m)
	}},
	{name: "empty update: NOERROR", in: full, hit: unchanged, make: func(g *Generator) (*message, who) { return only(g.msg()) }},
	{name: "octets after the last RR: ignored", in: func(s ZoneSpec) bool { return s.ACL != "" && kind("Allow.test.")(s) }, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		m := g.msg().update(g.fresh("A"))
		m.trailing = []byte{1, 2, 3}
		return m, unsigned
	}},

	// Prerequisites.
	{name: "prerequisite name in use: satisfied", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().require(nameInUse(g.flip(g.existing().Owner))).update(g.fresh("TYPE65280")))
	}},
	{name: "prerequisite name in use: NXDOMAIN", in: full, hit: code(update.NXDomain), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(nameInUse(pick(g.rng, []zone.Name{g.absent(), g.at("y.ent"), g.at("a.w")}))).update(g.fresh("A")))
	}},
	{name: "prerequisite name not in use: satisfied", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().require(nameNotInUse(g.absent())).update(g.fresh("TYPE65280")))
	}},
	{name: "prerequisite name not in use: YXDOMAIN", in: full, hit: code(update.YXDomain), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(nameNotInUse(g.flip(g.existing().Owner))).update(g.fresh("A")))
	}},
	{name: "prerequisite RRset exists: satisfied", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		s := g.existing()
		return only(g.msg().require(setExists(s.Owner, s.Type)).update(g.fresh("TYPE65280")))
	}},
	{name: "prerequisite RRset exists: NXRRSET", in: full, hit: code(update.NXRRset), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(setExists(g.absent(), zone.TypeA)).update(g.fresh("A")))
	}},
	{name: "prerequisite RRset does not exist: satisfied", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().require(setNotExists(g.absent(), zone.TypeA)).update(g.fresh("TYPE65280")))
	}},
	{name: "prerequisite RRset does not exist: YXRRSET", in: full, hit: code(update.YXRRset), make: func(g *Generator) (*message, who) {
		s := g.existing()
		return only(g.msg().require(setNotExists(g.flip(s.Owner), s.Type)).update(g.fresh("A")))
	}},
	{name: "prerequisite RRset of these values: satisfied", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().require(exactly(g.existing())...).require(exactly(g.zone.SOA())...).update(g.fresh("TYPE65280")))
	}},
	{name: "prerequisite RRset of these values: NXRRSET, one too many", in: full, hit: code(update.NXRRset), make: func(g *Generator) (*message, who) {
		return only(g.msg().require(exactly(g.existing())...).require(deleted0(g.fresh("TYPE65535"))).update(g.fresh("A")))
	}},
	{name: "prerequisite RRset of these values: NXRRSET, one doubled", in: full, hit: code(update.NXRRset), make: func(g *Generator) (*message, who) {
		rrs := exactly(g.existing())
		return only(g.msg().require(rrs...).require(rrs[0]).update(g.fresh("A")))
	}},
	{name: "prerequisite with TTL: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		p := nameInUse(g.origin)
		p.TTL = 1
		return only(g.msg().require(p))
	}},
	{name: "prerequisite with RDATA: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		p := g.fresh("A")
		p.TTL, p.Class = 0, pick(g.rng, []zone.Class{zone.ClassANY, zone.ClassNONE})
		return only(g.msg().require(p))
	}},
	{name: "prerequisite of bad class: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		p := g.fresh("TXT")
		p.TTL, p.Class = 0, pick(g.rng, []zone.Class{zone.ClassCH, zone.ClassHS, 0, 77})
		return only(g.msg().require(p))
	}},

	// Malformed and forbidden updates.
	{name: "meta-type in an update: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		rr := g.fresh("TXT")
		rr.Type = pick(g.rng, []zone.Type{zone.TypeAXFR, zone.TypeIXFR, zone.TypeMAILB, zone.TypeMAILA, 128, 200})
		if g.rng.IntN(2) == 0 {
			rr = deleteSet(rr.Name, rr.Type)
		}
		return only(g.msg().update(rr))
	}},
	{name: "OPT, TSIG or TKEY in an update: FORMERR", hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(deleteSet(g.at("a"), pick(g.rng, []zone.Type{zone.TypeOPT, zone.TypeTSIG, zone.TypeTKEY}))))
	}},
	{name: "ANY added or deleted as an RR: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		rr := g.fresh("TXT")
		rr.Type = zone.TypeANY
		if g.rng.IntN(2) == 0 {
			rr = deleteRR(rr)
		}
		return only(g.msg().update(rr))
	}},
	{name: "deletion with TTL: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		rr := pick(g.rng, []zone.RR{deleteName(g.at("a")), deleteRR(g.fresh("A")), deleteSet(g.at("a"), zone.TypeA)})
		rr.TTL = 1
		return only(g.msg().update(rr))
	}},
	{name: "deletion of an RRset with RDATA: FORMERR", hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		rr := g.fresh("A")
		rr.TTL, rr.Class = 0, zone.ClassANY
		return only(g.msg().update(rr))
	}},
	{name: "update of bad class: FORMERR", in: full, hit: code(update.FormErr), make: func(g *Generator) (*message, who) {
		rr := g.fresh("TXT")
		rr.Class = pick(g.rng, []zone.Class{zone.ClassCH, zone.ClassHS, 0, 77})
		return only(g.msg().update(rr))
	}},
	{name: "NSEC, NSEC3, SIG, NXT: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		n := g.at("a")
		return only(g.msg().update(g.fresh("A"), pick(g.rng, []zone.RR{
			deleteSet(n, zone.TypeNSEC), deleteSet(n, zone.TypeSIG), deleteSet(n, zone.TypeNXT), deleteSet(g.at("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"), zone.TypeNSEC3),
			g.line(n, "NSEC b. A RRSIG"), g.line(n, `SIG \# 20 000108020000012C6500000064000000123400AA`), g.line(n, `NXT \# 5 0162000040`),
		})))
	}},
	{name: "RRSIG below the apex: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		n := g.at("a")
		return only(g.msg().update(g.fresh("A"), pick(g.rng, []zone.RR{
			deleteSet(n, zone.TypeRRSIG), g.line(n, "RRSIG A 8 2 300 20300101000000 20200101000000 1 example. AAAA"),
		})))
	}},
	{name: "bad host or mailbox name: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		bad := g.at("_under.score")
		return only(g.msg().update(g.fresh("TXT"), pick(g.rng, []zone.RR{
			g.rr(bad, "A"), g.rr(bad, "AAAA"), g.rr(bad, "MX"), g.rr(bad, "WKS"),
			g.line(g.at("a"), "NS _bad."+g.origin.String()), g.line(g.at("a"), "MX 1 _bad.example."), g.line(g.at("a"), "SRV 1 1 1 b-.example."),
			g.line(g.at("a"), "RP a._b. ."), g.line(g.at("a"), "MINFO a\\032b. ."), g.line(g.at("a"), "SVCB 1 _x."), g.line(g.at("a"), "RT 1 _x."), g.line(g.at("a"), "AFSDB 1 _x."),
			g.line(g.origin, "SOA _ns. h. 4000000000 1 1 1 1"), g.line(g.origin, "SOA ns. h._x. 4000000000 1 1 1 1"),
		})))
	}},
	{name: "service names that check-names lets pass: NOERROR", in: full, hit: bumped, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.fresh("TYPE65280"), pick(g.rng, []zone.RR{
			g.rr(g.at("gc._msdcs"), "A"), g.rr(g.at("x._spf"), "A"), g.rr(g.at("*.hosts"), "A"), g.rr(g.at("_sip._tcp"), "SRV"), g.line(g.at("a"), "SVCB 0 _x."),
		})))
	}},
	{name: "MX without an address: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(deleteName(g.at("*")), g.line(g.at("mx"), "MX 5 "+g.at("nothing.here").String())))
	}},

	// Serial.
	{name: "identical add: unchanged", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		s := g.some()
		if s == nil {
			return nil, ""
		}
		return only(g.msg().update(s.RR(g.rng.IntN(len(s.Data)))))
	}},
	{name: "deletion of nothing: unchanged", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(pick(g.rng, []zone.RR{deleteName(g.absent()), deleteSet(g.absent(), zone.TypeA), deleteRR(g.rr(g.absent(), ""))})))
	}},
	{name: "add and delete in one message: unchanged", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		rr := g.rr(g.absent(), "TXT")
		return only(g.msg().update(rr, deleteRR(rr)))
	}},
	{name: "delete and add in one message: unchanged", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		s := g.some()
		if s == nil {
			return nil, ""
		}
		return only(g.msg().update(deleteSet(s.Owner, s.Type)).update(s.RRs()...))
	}},
	{name: "identical add in another owner case: serial + 1", in: full, make: func(g *Generator) (*message, who) {
		s := g.some()
		if s == nil {
			return nil, ""
		}
		rr := s.RR(0)
		if rr.Name = g.flip(rr.Name); rr.Name == s.Owner {
			return nil, ""
		}
		return only(g.msg().update(rr))
	}, hit: bumped},
	{name: "DS without NS: serial + 1, nothing else", in: full, hit: serialOnly, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(g.absent(), "DS")))
	}},
	{name: "SOA serial not greater: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.soa(g.zone.Serial() - g.rng.Uint32N(5))))
	}},
	{name: "SOA serial greater: that serial", in: full, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.fresh("TXT"), g.soa(g.zone.Serial()+5)))
	}, hit: func(before, after *zone.Zone, rcode uint16) bool {
		return rcode == update.NoError && after.Serial() == before.Serial()+5
	}},
	{name: "SOA serial at distance 2^31: SERVFAIL", in: full, hit: code(update.ServFail), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.soa(g.zone.Serial() + 1<<31)))
	}},
	{name: "serial 2^32-1 + 1: 1", in: full, make: func(g *Generator) (*message, who) {
		const last = 1<<32 - 1
		switch now := g.zone.Serial(); {
		case now == last:
			return only(g.msg().update(g.fresh("TXT")))
		case zone.SerialGT(last, now):
			return only(g.msg().update(g.soa(last)))
		default:
			return only(g.msg().update(g.soa(now + 1<<31 - 1)))
		}
	}, hit: func(before, after *zone.Zone, rcode uint16) bool {
		return before.Serial() == 1<<32-1 && after.Serial() == 1
	}},

	// Rules for one message.
	{name: "NS deleted under a DS: DS goes too", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("new-deleg")
		if g.zone.Get(n, zone.TypeDS) == nil {
			return only(g.msg().update(deleteName(n), g.line(n, "NS ns.elsewhere.example."), g.rr(n, "DS")))
		}
		return only(g.msg().update(deleteSet(n, zone.TypeNS)))
	}, hit: func(before, after *zone.Zone, rcode uint16) bool {
		n := zone.MustParseName("new-deleg." + before.Origin().String())
		return rcode == update.NoError && before.Get(n, zone.TypeDS) != nil && after.Get(n, zone.TypeDS) == nil
	}},
	{name: "apex NS without an address: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return only(g.sound().update(pick(g.rng, []zone.RR{
			deleteName(g.at("ns1")), deleteSet(g.at("ns2"), zone.TypeAAAA), g.line(g.origin, "NS "+g.at("nothing.here").String()), g.line(g.origin, "NS "+g.at("empty").String()),
		}), g.line(g.at("below.empty"), "TXT x")))
	}},
	{name: "apex DNAME over an NS in the zone: REFUSED", in: full, hit: code(update.Refused), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(g.origin, "DNAME")))
	}},

	// Silently ignored.
	{name: "CNAME beside other data: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(pick(g.rng, []zone.Name{g.origin, g.at("ns1"), g.at("mail")}), "CNAME")))
	}},
	{name: "other data beside a CNAME: ignored", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("alias")
		if g.zone.Get(n, zone.TypeCNAME) == nil {
			return only(g.msg().update(g.rr(n, "CNAME")))
		}
		return only(g.msg().update(g.rr(n, pick(g.rng, []string{"A", "TXT", "DNAME", "NS", "TYPE65280"}))))
	}, hit: unchanged},
	{name: "KEY beside a CNAME: added", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("with-key")
		return only(g.msg().update(deleteName(n), g.line(n, "CNAME a."), g.rr(n, "KEY")))
	}, hit: func(_, after *zone.Zone, _ uint16) bool {
		return len(after.Sets(zone.MustParseName("with-key."+after.Origin().String()))) == 2
	}},
	{name: "apex NS or SOA RRset deleted: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(deleteSet(g.flip(g.origin), pick(g.rng, []zone.Type{zone.TypeNS, zone.TypeSOA})), deleteRR(g.zone.SOA().RR(0))))
	}},
	{name: "last apex NS deleted: ignored", in: full, make: func(g *Generator) (*message, who) {
		m := g.sound()
		for _, rr := range g.zone.Get(g.origin, zone.TypeNS).RRs() {
			m.update(deleteRR(rr))
		}
		return only(m.update(deleteRR(m.updates[7]), deleteRR(m.updates[8])))
	}, hit: func(_, after *zone.Zone, rcode uint16) bool {
		return rcode == update.NoError && len(after.Get(after.Origin(), zone.TypeNS).Data) == 1
	}},
	{name: "all of the apex deleted: SOA and NS stay", in: full, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(deleteName(g.flip(g.origin)), g.line(g.origin, "TXT \"apex\"")))
	}, hit: func(_, after *zone.Zone, rcode uint16) bool {
		return rcode == update.NoError && len(after.Sets(after.Origin())) == 3
	}},
	{name: "all of a name deleted", in: full, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(deleteName(g.flip(g.at("case")))))
	}, hit: code(update.NoError)},
	{name: "wildcard NS or DNAME: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(g.at("*.new"), pick(g.rng, []string{"DNAME"})), g.line(g.at("*.new"), "NS ns.elsewhere.example.")))
	}},
	{name: "apex DS: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(g.origin, "DS")))
	}},
	{name: "private type: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(pick(g.rng, []zone.Name{g.origin, g.at("b")}), "TYPE65534")))
	}},
	{name: "MD or MF: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.rr(g.at("b"), pick(g.rng, []string{"MD", "MF"}))))
	}},
	{name: "SOA below the apex: ignored", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		rr := g.soa(g.zone.Serial() + 1)
		rr.Name = g.at("b")
		return only(g.msg().update(rr))
	}},

	// RRsets.
	{name: "other TTL: rewritten for the whole RRset", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("many")
		last := g.line(n, "A 192.0.2.201")
		last.TTL = 1000 + g.rng.Uint32N(1000)
		return only(g.msg().update(g.rr(n, "A"), g.rr(n, "A"), g.line(n, "A 192.0.2.200"), last))
	}, hit: bumped},
	{name: "singleton: replaced", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("single")
		return only(g.msg().update(deleteName(n), g.line(n, "DNAME a."), g.line(n, "DNAME b."), g.rr(n, "TXT")))
	}, hit: func(_, after *zone.Zone, _ uint16) bool {
		s := after.Get(zone.MustParseName("single."+after.Origin().String()), zone.TypeDNAME)
		return s != nil && len(s.Data) == 1 && s.Data[0] == "\x01b\x00"
	}},
	{name: "WKS of the same address and protocol: replaced", in: full, make: func(g *Generator) (*message, who) {
		n := g.at("wks")
		return only(g.msg().update(deleteName(n), g.line(n, `WKS \# 6 C0000201 06 01`), g.line(n, `WKS \# 6 C0000201 06 02`), g.line(n, `WKS \# 6 C0000201 07 02`)))
	}, hit: func(_, after *zone.Zone, _ uint16) bool {
		s := after.Get(zone.MustParseName("wks."+after.Origin().String()), zone.TypeWKS)
		return s != nil && len(s.Data) == 2
	}},
	{name: "RDATA in another case: the same", in: full, hit: unchanged, make: func(g *Generator) (*message, who) {
		n := g.at("folded")
		set := g.zone.Get(n, zone.TypeSRV)
		if set == nil {
			return nil, ""
		}
		rr := set.RR(0)
		rr.Data = rr.Data[:6] + string(g.flip(zone.Name(rr.Data[6:])))
		return only(g.msg().update(rr))
	}},
	{name: "RDATA for comparisons in another case", in: full, hit: code(update.NoError), make: func(g *Generator) (*message, who) {
		return only(g.msg().update(g.line(g.at("folded"), "SRV 1 1 1 Some.Host.example."), g.line(g.at("folded2"), "LP 1 "+g.flip("\x04some\x04name\x00").String()), g.line(g.at("folded2"), "TALINK "+g.flip("\x04some\x00").String()+" b.")))
	}},
	{name: "101st RR of a type: SERVFAIL", in: full, hit: code(update.ServFail), make: func(g *Generator) (*message, who) {
		m := g.msg()
		for i := range 101 {
			rr := g.rr(g.at("crowd"), "TYPE65280")
			rr.Data, rr.TTL = string([]byte{0, byte(i)}), 300
			m.update(rr)
		}
		return only(m)
	}},
	{name: "101st type at a name: SERVFAIL", in: full, hit: code(update.ServFail), make: func(g *Generator) (*message, who) {
		m := g.msg()
		for i := range zone.Type(101) {
			m.update(zone.RR{Name: g.at("motley"), Type: 65300 + i, Class: zone.ClassIN, TTL: 300, Data: "x"})
		}
		return only(m)
	}},
	{name: "RRset of more than 65535 octets: SERVFAIL", in: kind("plain.test."), hit: code(update.ServFail), make: func(g *Generator) (*message, who) {
		set := g.zone.Get(g.at("huge"), 65280)
		if set != nil && g.rng.IntN(2) == 0 {
			return only(g.msg().update(deleteName(set.Owner)))
		}
		m := g.msg()
		for i := range byte(40) { // 40,080 octets, which fit once
			half := byte(0)
			if set != nil {
				half = 1
			}
			m.update(zone.RR{Name: g.at("huge"), Type: 65280, Class: zone.ClassIN, TTL: 300, Data: string([]byte{half, i}) + strings.Repeat("x", 998)})
		}
		return only(m)
	}},
	{name: "second RESINFO: SERVFAIL", in: full, hit: code(update.ServFail), make: func(g *Generator) (*message, who) {
		n := g.at("resinfo")
		return only(g.msg().update(deleteName(n), g.line(n, `RESINFO "a=1"`), g.line(n, `RESINFO "a=2"`)))
	}},
	{name: "TTL above max-zone-ttl: cut", in: kind("limit.test."), make: func(g *Generator) (*message, who) {
		rr := g.rr(g.at("capped"), "A")
		rr.TTL = pick(g.rng, []uint32{3601, 1 << 30, 1 << 31, 1<<32 - 1})
		return only(g.msg().update(deleteName(rr.Name), rr))
	}, hit: func(_, after *zone.Zone, rcode uint16) bool {
		s := after.Get(zone.MustParseName("capped."+after.Origin().String()), zone.TypeA)
		return s != nil && s.TTL == 3600
	}},
}

// deleted0 strips the TTL, as in a prerequisite.
func deleted0(rr zone.RR) zone.RR {
	rr.TTL = 0
	return rr
}

func (g *Generator) soa(serial uint32) zone.RR {
	rr := g.zone.SOA().RR(0)
	rr.Data = zone.WithSOASerial(rr.Data, serial)
	return rr
}

// line returns an RR of TTL 300 from "TYPE RDATA".
func (g *Generator) line(owner zone.Name, text string) zone.RR {
	rr, err := zone.ParseRR(owner.String() + " 300 IN " + text)
	if err != nil {
		panic("differential: " + text + ": " + err.Error())
	}
	return rr
}

package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

// samples are RDATA texts by type. {h} is a name with an address in the zone or outside, {n} any name, {i} a small number.
var samples = map[string][]string{ //nolint:gochecknoglobals // a constant table
	"A":          {"192.0.2.{i}", "198.51.100.{i}"},
	"AAAA":       {"2001:db8::{i}", "::ffff:192.0.2.{i}"},
	"NS":         {"{h}", "ns.elsewhere.example.", "Ns.Elsewhere.Example."},
	"MD":         {"{n}"},
	"MF":         {"{n}"},
	"CNAME":      {"{n}", "target{i}.example."},
	"MB":         {"{n}"},
	"MG":         {"{n}"},
	"MR":         {"{n}"},
	"NULL":       {`\# 0`, `\# 2 0{i:x}FF`},
	"WKS":        {`\# 7 C000020{i:x}060060`, `\# 6 C0000201060{i:x}`, `\# 5 C000020111`},
	"PTR":        {"{n}", "{h}"},
	"HINFO":      {`"PC {i}" Linux`},
	"MINFO":      {"{n} {n}"},
	"MX":         {"10 {h}", "{i} {h}", "{i} {n}"},
	"TXT":        {`"text {i}"`, `"" "two {i}"`, `"\255\000 {i}"`},
	"RP":         {"{n} {n}"},
	"AFSDB":      {"1 {h}", "{i} {n}"},
	"X25":        {"31106170095{i}"},
	"ISDN":       {`\# 3 02313{i:x}`},
	"RT":         {"10 {h}", "{i} {n}"},
	"NSAP":       {`\# 6 47000580000{i:x}`},
	"NSAP-PTR":   {"{n}"},
	"KEY":        {"512 3 8 AwEAAcMnWBKLuvG/LwnPVykcmpvnntwxfshHlHRhlY0F3oz8", `\# 4 C000030{i:x}`},
	"PX":         {"10 {n} {n}"},
	"GPOS":       {"-32.688{i} 116.8652 10.0"},
	"LOC":        {"60 9 0.000 N 24 39 {i}.000 E 10.00m 20.00m 2000.00m 20.00m", `\# 3 01020{i:x}`},
	"EID":        {`\# 2 E3{i:x}C`},
	"NIMLOC":     {`\# 2 32{i:x}A`},
	"SRV":        {"0 {i} 5060 {h}", "1 1 {i} {n}"},
	"ATMA":       {`\# 4 0136373{i:x}`},
	"NAPTR":      {`100 {i} "u" "E2U+sip" "!^.*$!sip:info@example.com!i" .`, `100 10 "s" "http" "" {n}`},
	"KX":         {"10 {n}"},
	"CERT":       {"PKIX {i} RSASHA256 MxFcby9k/yvedMfQgKzhH5er0Mu/vILz"},
	"A6":         {`\# 17 0020010DB80000000000000000000000{i:02x}`, `\# 20 40 00000000000000{i:02x} 0450726531046E616D6500`},
	"DNAME":      {"{n}", "other{i}.example."},
	"SINK":       {`\# 5 01020304{i:02x}`},
	"APL":        {"1:192.0.2.0/24 !1:192.0.2.64/28 2:2001:db8::/32", `\# 0`},
	"DS":         {"6048{i} 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118", "60485 8 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A"},
	"SSHFP":      {"1 1 {i:02x}3456789ABCDEF67890123456789ABCDEF67890"},
	"IPSECKEY":   {"10 0 {i} . AQNRU3mG7TVTO2BkR47usntb", "10 1 2 192.0.2.{i} AQNRU3mG7TVTO2BkR47usntb", "10 3 2 {n} AQNRU3mG7TVTO2BkR47usntb"},
	"DHCID":      {"AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="},
	"TLSA":       {"1 1 {i} 92003BA34942DC74152E2F2C408D29ECA5A520E7F2E06BB944F4DCA346BAF63C"},
	"SMIMEA":     {"3 0 {i} 308201A2300D06092A"},
	"HIP":        {"2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9 {n} rvs{i}.example.", "2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9"},
	"NINFO":      {`"zone {i}"`},
	"RKEY":       {"0 255 {i} AwEAAcMnWBKLuvG/LwnPVykcmpvnntwxfshHlHRhlY0F3oz8"},
	"TALINK":     {"{n} {n}"},
	"CDS":        {"30795 1 1 310D27F4D82C1FC2400704EA9939FE6E1CEAA3B9", "0 0 0 00"},
	"CDNSKEY":    {"257 3 8 AwEAAcMnWBKLuvG/LwnPVykcmpvnntwxfshHlHRhlY0F3oz8"},
	"OPENPGPKEY": {"AQMFD5raDCSS7UQM1ZPdJ8/JhHUFuFl7H5wTKQ=="},
	"CSYNC":      {"66 {i} A NS AAAA TYPE1234"},
	"ZONEMD":     {"201803150{i} 1 1 FEBE3D4CE2EC2FFA4BA99D46CD69D6D29711E55217057BEE7EB1A7B641A47BA7FED2DD5B97AE499FAFA4F22C6BD647DE"},
	"SVCB":       {"0 {n}", `{i} . alpn="h2,h3" port=8443 ipv4hint=192.0.2.1`, `1 {n} mandatory=alpn,port alpn=h2 port={i}`, `1 . alpn=dot`, `1 . port=5`},
	"HTTPS":      {`1 . alpn="h2" ipv4hint=192.0.2.{i}`, "0 {n}"},
	"DSYNC":      {`\# 27 003B01 0035 0773636E6E65722D086578616D706C6532036E657400`},
	"HHIT":       {`\# 4 DEADBE{i:02x}`},
	"BRID":       {`\# 4 DEADBE{i:02x}`},
	"SPF":        {`"v=spf1 {i} -all"`},
	"NID":        {"{i} 0014:4fff:ff20:ee64"},
	"L32":        {"10 10.1.2.{i}"},
	"L64":        {"{i} 2001:0DB8:1140:1000"},
	"LP":         {"10 {n}", "{i} L64-Subnet1.example."},
	"EUI48":      {"00-00-5e-00-53-{i:02x}"},
	"EUI64":      {"00-00-5e-ef-10-00-00-{i:02x}"},
	"URI":        {`{i} 1 "ftp://ftp1.example.com/public"`},
	"CAA":        {`{i} issue "ca.example.net; policy=ev"`},
	"AVC":        {`"app-name:WOLFGANG|app-class:{i}"`},
	"DOA":        {`\# 14 000000010000000{i:x} 03 00 61626364`},
	"AMTRELAY":   {"0 0 0 .", "10 0 1 203.0.113.{i}", "10 1 2 2001:db8::{i}", "128 1 3 {n}"},
	"RESINFO":    {`"qnamemin" "exterr={i}"`},
	"WALLET":     {`"BTC" "0x{i}"`},
	"TA":         {`\# 24 EC450501000000000000000000000000000000000000{i:02x}FF`},
	"DLV":        {"6048{i} 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"},
	"TYPE100":    {`\# 2 01{i:02x}`},
	"TYPE101":    {`\# 2 01{i:02x}`},
	"TYPE102":    {`\# 2 01{i:02x}`},
	"TYPE103":    {`\# 1 {i:02x}`},
	"TYPE65280":  {`\# 3 6162{i:02x}`, `\# 0`},
	"TYPE65533":  {`\# 4 010203{i:02x}`},
	"TYPE65534":  {`\# 5 08123400{i:02x}`},
	"TYPE65535":  {`\# 1 {i:02x}`},
	"SOA":        {"ns1.{z} hostmaster.{z} {s} 3600 900 604800 300"},
}

// common are the types that half of all RRs have, so that they meet.
var common = []string{ //nolint:gochecknoglobals // a constant table
	"A", "A", "AAAA", "TXT", "TXT", "CNAME", "MX", "NS", "DNAME", "DS", "SRV", "PTR", "SOA", "WKS", "HIP", "SVCB",
}

// fill replaces the placeholders of a sample.
func (g *Generator) fill(sample string) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(sample, '{')
		if open < 0 {
			b.WriteString(sample)
			return b.String()
		}
		end := open + strings.IndexByte(sample[open:], '}')
		b.WriteString(sample[:open])
		switch sample[open+1 : end] {
		case "h":
			b.WriteString(g.host().String())
		case "n":
			b.WriteString(g.name().String())
		case "z":
			b.WriteString(g.origin.String())
		case "s":
			fmt.Fprint(&b, g.serial())
		case "i":
			fmt.Fprint(&b, 1+g.rng.IntN(9))
		case "i:x":
			fmt.Fprintf(&b, "%x", 1+g.rng.IntN(9))
		case "i:02x":
			fmt.Fprintf(&b, "%02x", 1+g.rng.IntN(9))
		default:
			panic("differential: unknown placeholder in " + sample)
		}
		sample = sample[end+1:]
	}
}

// rr returns an RR of type mnemonic, or of a random type when that is "".
func (g *Generator) rr(owner zone.Name, mnemonic string) zone.RR {
	if mnemonic == "" {
		if g.rng.IntN(2) == 0 {
			mnemonic = pick(g.rng, common)
		} else {
			mnemonic = pick(g.rng, g.mnemonics)
		}
	}
	for {
		text := fmt.Sprintf("%s 0 IN %s %s", owner, mnemonic, g.fill(pick(g.rng, samples[mnemonic])))
		rr, err := zone.ParseRR(text)
		if err != nil {
			panic(fmt.Sprintf("differential: sample %s: %v", text, err))
		}
		rr.TTL = g.ttl()
		apex := owner.Equal(g.origin)
		if apex && (rr.Type == zone.TypeCDS || rr.Type == zone.TypeCDNSKEY) {
			mnemonic = "TXT" // an intended difference
			continue
		}
		return rr
	}
}

func (g *Generator) ttl() uint32 {
	return pick(g.rng, []uint32{300, 300, 300, 300, 60, 7200, 0, 1<<31 - 1})
}

// serial returns one near the zone's, on either side, or far away.
func (g *Generator) serial() uint32 {
	now := g.zone.Serial()
	switch g.rng.IntN(6) {
	case 0:
		return now
	case 1:
		return now - 1 - g.rng.Uint32N(3)
	case 2:
		return now + 1<<31
	case 3:
		return now + 1 + g.rng.Uint32N(1<<31-1)
	default:
		return now + 1 + g.rng.Uint32N(5)
	}
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

package zone

// fieldKind is one element of the layout of a type's RDATA.
type fieldKind uint8

const (
	// octets is exactly n octets.
	octets fieldKind = iota
	// rest is everything that is left, at least n octets.
	rest
	// name is a domain name whose case is not significant when RDATA is compared (dns_name_rdatacompare).
	name
	// rawName is a domain name that named compares octet by octet.
	rawName
	// rawNames is zero or more rawName up to the end.
	rawNames
	// text is one <character-string> (RFC 1035 3.3).
	text
	// texts is one or more text up to the end.
	texts
	// optionalText is a text or nothing.
	optionalText
	// substitution is a text that holds a NAPTR substitution expression (RFC 3402 3.2), or nothing.
	substitution
	// a6Address is prefix length, address suffix and, unless the prefix is 0, a name (RFC 2874 3.1).
	a6Address
	// hostIdentity is the fixed part of HIP (RFC 8005 5).
	hostIdentity
	// ipsecGateway is precedence, gateway type, algorithm, gateway and key of IPSECKEY (RFC 4025 2.1).
	ipsecGateway
	// relay is precedence, type and relay of AMTRELAY (RFC 8777 4.2).
	relay
)

// field is a fieldKind with its argument.
type field struct {
	kind fieldKind
	n    int
}

// layout describes the RDATA of a type as named's fromwire function reads it. Compression pointers are followed in every
// name: named parses messages with DNS_DECOMPRESS_ALWAYS, whatever RFC 3597 4 says about the type.
type layout struct {
	mnemonic string
	fields   []field
	// inOnly: the layout holds in class IN; in other classes the RDATA is opaque.
	inOnly bool
	// check is called with the decompressed RDATA once the fields fit.
	check func(rdata []byte) error
}

var ( //nolint:gochecknoglobals // parts of a constant table
	oneName     = []field{{kind: name}}
	twoNames    = []field{{kind: name}, {kind: name}}
	prefName    = []field{{octets, 2}, {kind: name}}
	manyTexts   = []field{{kind: texts}}
	opaque      = []field{{rest, 0}}
	atLeastOne  = []field{{rest, 1}}
	anySequence = []field{{rest, 0}} // the check does all the work
	signature   = []field{{octets, 18}, {kind: name}, {rest, 1}}
)

// layouts is the table of all types that named 9.20 knows, with the source file's rules.
//
//nolint:gochecknoglobals // a constant table
var layouts = map[Type]*layout{
	TypeA:          {mnemonic: "A", fields: []field{{octets, 4}}, inOnly: true},
	TypeNS:         {mnemonic: "NS", fields: oneName},
	TypeMD:         {mnemonic: "MD", fields: oneName},
	TypeMF:         {mnemonic: "MF", fields: oneName},
	TypeCNAME:      {mnemonic: "CNAME", fields: oneName},
	TypeSOA:        {mnemonic: "SOA", fields: []field{{kind: name}, {kind: name}, {octets, 20}}},
	TypeMB:         {mnemonic: "MB", fields: oneName},
	TypeMG:         {mnemonic: "MG", fields: oneName},
	TypeMR:         {mnemonic: "MR", fields: oneName},
	TypeNULL:       {mnemonic: "NULL", fields: opaque},
	TypeWKS:        {mnemonic: "WKS", fields: []field{{rest, 5}}, inOnly: true, check: checkWKS},
	TypePTR:        {mnemonic: "PTR", fields: oneName},
	TypeHINFO:      {mnemonic: "HINFO", fields: []field{{kind: text}, {kind: text}}},
	TypeMINFO:      {mnemonic: "MINFO", fields: twoNames},
	TypeMX:         {mnemonic: "MX", fields: prefName},
	TypeTXT:        {mnemonic: "TXT", fields: manyTexts},
	TypeRP:         {mnemonic: "RP", fields: twoNames},
	TypeAFSDB:      {mnemonic: "AFSDB", fields: prefName},
	TypeX25:        {mnemonic: "X25", fields: []field{{kind: text}}, check: checkX25},
	TypeISDN:       {mnemonic: "ISDN", fields: []field{{kind: text}, {kind: optionalText}}},
	TypeRT:         {mnemonic: "RT", fields: prefName},
	TypeNSAP:       {mnemonic: "NSAP", fields: atLeastOne, inOnly: true},
	TypeNSAPPTR:    {mnemonic: "NSAP-PTR", fields: oneName, inOnly: true},
	TypeSIG:        {mnemonic: "SIG", fields: signature, check: checkSignature},
	TypeKEY:        {mnemonic: "KEY", fields: []field{{rest, 4}}, check: checkKEY},
	TypePX:         {mnemonic: "PX", fields: []field{{octets, 2}, {kind: name}, {kind: name}}, inOnly: true},
	TypeGPOS:       {mnemonic: "GPOS", fields: []field{{kind: text}, {kind: text}, {kind: text}}},
	TypeAAAA:       {mnemonic: "AAAA", fields: []field{{octets, 16}}, inOnly: true},
	TypeLOC:        {mnemonic: "LOC", fields: anySequence, check: checkLOC},
	TypeNXT:        {mnemonic: "NXT", fields: []field{{kind: name}, {rest, 0}}, check: checkNXT},
	TypeEID:        {mnemonic: "EID", fields: atLeastOne, inOnly: true},
	TypeNIMLOC:     {mnemonic: "NIMLOC", fields: atLeastOne, inOnly: true},
	TypeSRV:        {mnemonic: "SRV", fields: []field{{octets, 6}, {kind: name}}, inOnly: true},
	TypeATMA:       {mnemonic: "ATMA", fields: []field{{rest, 2}}, inOnly: true, check: checkATMA},
	TypeNAPTR:      {mnemonic: "NAPTR", fields: []field{{octets, 4}, {kind: text}, {kind: text}, {kind: substitution}, {kind: name}}},
	TypeKX:         {mnemonic: "KX", fields: prefName, inOnly: true},
	TypeCERT:       {mnemonic: "CERT", fields: []field{{rest, 6}}},
	TypeA6:         {mnemonic: "A6", fields: []field{{kind: a6Address}}, inOnly: true},
	TypeDNAME:      {mnemonic: "DNAME", fields: oneName},
	TypeSINK:       {mnemonic: "SINK", fields: []field{{rest, 3}}},
	TypeOPT:        {mnemonic: "OPT", fields: anySequence, check: checkOPT},
	TypeAPL:        {mnemonic: "APL", fields: anySequence, inOnly: true, check: checkAPL},
	TypeDS:         {mnemonic: "DS", fields: []field{{rest, 5}}, check: checkDS},
	TypeSSHFP:      {mnemonic: "SSHFP", fields: []field{{rest, 2}}, check: checkSSHFP},
	TypeIPSECKEY:   {mnemonic: "IPSECKEY", fields: []field{{kind: ipsecGateway}}},
	TypeRRSIG:      {mnemonic: "RRSIG", fields: signature, check: checkRRSIG},
	TypeNSEC:       {mnemonic: "NSEC", fields: []field{{kind: rawName}, {rest, 0}}, check: checkNSEC},
	TypeDNSKEY:     {mnemonic: "DNSKEY", fields: []field{{rest, 5}}, check: checkDNSKEY},
	TypeDHCID:      {mnemonic: "DHCID", fields: atLeastOne, inOnly: true},
	TypeNSEC3:      {mnemonic: "NSEC3", fields: anySequence, check: checkNSEC3},
	TypeNSEC3PARAM: {mnemonic: "NSEC3PARAM", fields: anySequence, check: checkNSEC3PARAM},
	TypeTLSA:       {mnemonic: "TLSA", fields: []field{{rest, 4}}},
	TypeSMIMEA:     {mnemonic: "SMIMEA", fields: []field{{rest, 4}}},
	TypeHIP:        {mnemonic: "HIP", fields: []field{{kind: hostIdentity}, {kind: rawNames}}},
	TypeNINFO:      {mnemonic: "NINFO", fields: manyTexts},
	TypeRKEY:       {mnemonic: "RKEY", fields: []field{{rest, 5}}, check: checkRKEY},
	TypeTALINK:     {mnemonic: "TALINK", fields: []field{{kind: rawName}, {kind: rawName}}},
	TypeCDS:        {mnemonic: "CDS", fields: []field{{rest, 5}}, check: checkDS},
	TypeCDNSKEY:    {mnemonic: "CDNSKEY", fields: []field{{rest, 5}}, check: checkDNSKEY},
	TypeOPENPGPKEY: {mnemonic: "OPENPGPKEY", fields: atLeastOne},
	TypeCSYNC:      {mnemonic: "CSYNC", fields: []field{{rest, 6}}, check: checkCSYNC},
	TypeZONEMD:     {mnemonic: "ZONEMD", fields: []field{{rest, 18}}, check: checkZONEMD},
	TypeSVCB:       {mnemonic: "SVCB", fields: []field{{octets, 2}, {kind: rawName}, {rest, 0}}, inOnly: true, check: checkSVCB},
	TypeHTTPS:      {mnemonic: "HTTPS", fields: []field{{octets, 2}, {kind: rawName}, {rest, 0}}, inOnly: true, check: checkSVCB},
	TypeDSYNC:      {mnemonic: "DSYNC", fields: []field{{octets, 5}, {kind: rawName}}},
	TypeHHIT:       {mnemonic: "HHIT", fields: atLeastOne},
	TypeBRID:       {mnemonic: "BRID", fields: atLeastOne},
	TypeSPF:        {mnemonic: "SPF", fields: manyTexts},
	TypeNID:        {mnemonic: "NID", fields: []field{{octets, 10}}},
	TypeL32:        {mnemonic: "L32", fields: []field{{octets, 6}}},
	TypeL64:        {mnemonic: "L64", fields: []field{{octets, 10}}},
	TypeLP:         {mnemonic: "LP", fields: []field{{octets, 2}, {kind: rawName}}},
	TypeEUI48:      {mnemonic: "EUI48", fields: []field{{octets, 6}}},
	TypeEUI64:      {mnemonic: "EUI64", fields: []field{{octets, 8}}},
	TypeTKEY:       {mnemonic: "TKEY", fields: []field{{kind: name}, {rest, 16}}, check: checkTKEY},
	TypeURI:        {mnemonic: "URI", fields: []field{{rest, 4}}},
	TypeCAA:        {mnemonic: "CAA", fields: []field{{rest, 2}}, check: checkCAA},
	TypeAVC:        {mnemonic: "AVC", fields: manyTexts},
	TypeDOA:        {mnemonic: "DOA", fields: []field{{rest, 10}}, check: checkDOA},
	TypeAMTRELAY:   {mnemonic: "AMTRELAY", fields: []field{{kind: relay}}},
	TypeRESINFO:    {mnemonic: "RESINFO", fields: manyTexts},
	TypeWALLET:     {mnemonic: "WALLET", fields: manyTexts},
	TypeTA:         {mnemonic: "TA", fields: []field{{rest, 5}}, check: checkDS},
	TypeDLV:        {mnemonic: "DLV", fields: []field{{rest, 5}}, check: checkDS},
	// named prints KEYDATA by number (it is a private type of its managed keys).
	TypeKEYDATA: {mnemonic: "TYPE65533", fields: opaque},

	// Query types have a mnemonic but no RDATA of their own; TSIG has a layout in class ANY only.
	TypeTSIG:  {mnemonic: "TSIG", fields: opaque},
	TypeIXFR:  {mnemonic: "IXFR", fields: opaque},
	TypeAXFR:  {mnemonic: "AXFR", fields: opaque},
	TypeMAILB: {mnemonic: "MAILB", fields: opaque},
	TypeMAILA: {mnemonic: "MAILA", fields: opaque},
	TypeANY:   {mnemonic: "ANY", fields: opaque},
}

// The layouts of class-dependent types outside class IN.
var ( //nolint:gochecknoglobals // a constant table
	layoutChaosA  = &layout{fields: []field{{kind: name}, {octets, 2}}}
	layoutHesiodA = &layout{fields: []field{{octets, 4}}}
	layoutTSIG    = &layout{fields: []field{{kind: name}, {rest, 16}}, check: checkTSIG}
	layoutOpaque  = &layout{fields: opaque}
)

// lowLayouts is layouts as an array for the types below 512, which is all but a few: lookups are on the hot path.
//
//nolint:gochecknoglobals // a constant table
var lowLayouts = func() (a [512]*layout) {
	for t, l := range layouts {
		if int(t) < len(a) {
			a[t] = l
		}
	}
	return a
}()

//nolint:gochecknoglobals // a constant table
var typeByMnemonic = func() map[string]Type {
	m := make(map[string]Type, len(layouts))
	for t, l := range layouts {
		m[l.mnemonic] = t
	}
	// named writes these reserved types by mnemonic but reads them by number only, so String does not use them.
	m["UINFO"], m["UID"], m["GID"], m["UNSPEC"] = TypeUINFO, TypeUID, TypeGID, TypeUNSPEC
	return m
}()

// layoutOf returns the layout of t in class IN, nil when the type is unknown.
func layoutOf(t Type) *layout {
	if int(t) < len(lowLayouts) {
		return lowLayouts[t]
	}
	return layouts[t]
}

// layoutIn returns the layout of t in class c; unknown types are opaque.
func layoutIn(t Type, c Class) *layout {
	switch {
	case t == TypeA && c == ClassCH:
		return layoutChaosA
	case t == TypeA && c == ClassHS:
		return layoutHesiodA
	case t == TypeTSIG && c == ClassANY:
		return layoutTSIG
	}
	l := layoutOf(t)
	if l == nil || l.inOnly && c != ClassIN {
		return layoutOpaque
	}
	return l
}

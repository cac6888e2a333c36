package zone

import (
	"fmt"
	"strconv"
	"strings"
)

// Class is a DNS class (RFC 1035 3.2.4). Zones are of class IN; NONE and ANY appear in UPDATE messages (RFC 2136).
type Class uint16

// The classes.
const (
	ClassIN   Class = 1
	ClassCH   Class = 3
	ClassHS   Class = 4
	ClassNONE Class = 254
	ClassANY  Class = 255
)

// String returns the mnemonic, or CLASSn (RFC 3597 5).
func (c Class) String() string {
	switch c {
	case ClassIN:
		return "IN"
	case ClassCH:
		return "CH"
	case ClassHS:
		return "HS"
	case ClassNONE:
		return "NONE"
	case ClassANY:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// Type is an RR type (RFC 1035 3.2.2 and the IANA registry).
type Type uint16

// The types that named knows (9.20, lib/dns/rdata).
const (
	TypeA          Type = 1
	TypeNS         Type = 2
	TypeMD         Type = 3
	TypeMF         Type = 4
	TypeCNAME      Type = 5
	TypeSOA        Type = 6
	TypeMB         Type = 7
	TypeMG         Type = 8
	TypeMR         Type = 9
	TypeNULL       Type = 10
	TypeWKS        Type = 11
	TypePTR        Type = 12
	TypeHINFO      Type = 13
	TypeMINFO      Type = 14
	TypeMX         Type = 15
	TypeTXT        Type = 16
	TypeRP         Type = 17
	TypeAFSDB      Type = 18
	TypeX25        Type = 19
	TypeISDN       Type = 20
	TypeRT         Type = 21
	TypeNSAP       Type = 22
	TypeNSAPPTR    Type = 23
	TypeSIG        Type = 24
	TypeKEY        Type = 25
	TypePX         Type = 26
	TypeGPOS       Type = 27
	TypeAAAA       Type = 28
	TypeLOC        Type = 29
	TypeNXT        Type = 30
	TypeEID        Type = 31
	TypeNIMLOC     Type = 32
	TypeSRV        Type = 33
	TypeATMA       Type = 34
	TypeNAPTR      Type = 35
	TypeKX         Type = 36
	TypeCERT       Type = 37
	TypeA6         Type = 38
	TypeDNAME      Type = 39
	TypeSINK       Type = 40
	TypeOPT        Type = 41
	TypeAPL        Type = 42
	TypeDS         Type = 43
	TypeSSHFP      Type = 44
	TypeIPSECKEY   Type = 45
	TypeRRSIG      Type = 46
	TypeNSEC       Type = 47
	TypeDNSKEY     Type = 48
	TypeDHCID      Type = 49
	TypeNSEC3      Type = 50
	TypeNSEC3PARAM Type = 51
	TypeTLSA       Type = 52
	TypeSMIMEA     Type = 53
	TypeHIP        Type = 55
	TypeNINFO      Type = 56
	TypeRKEY       Type = 57
	TypeTALINK     Type = 58
	TypeCDS        Type = 59
	TypeCDNSKEY    Type = 60
	TypeOPENPGPKEY Type = 61
	TypeCSYNC      Type = 62
	TypeZONEMD     Type = 63
	TypeSVCB       Type = 64
	TypeHTTPS      Type = 65
	TypeDSYNC      Type = 66
	TypeHHIT       Type = 67
	TypeBRID       Type = 68
	TypeSPF        Type = 99
	TypeUINFO      Type = 100
	TypeUID        Type = 101
	TypeGID        Type = 102
	TypeUNSPEC     Type = 103
	TypeNID        Type = 104
	TypeL32        Type = 105
	TypeL64        Type = 106
	TypeLP         Type = 107
	TypeEUI48      Type = 108
	TypeEUI64      Type = 109
	TypeTKEY       Type = 249
	TypeTSIG       Type = 250
	TypeIXFR       Type = 251
	TypeAXFR       Type = 252
	TypeMAILB      Type = 253
	TypeMAILA      Type = 254
	TypeANY        Type = 255
	TypeURI        Type = 256
	TypeCAA        Type = 257
	TypeAVC        Type = 258
	TypeDOA        Type = 259
	TypeAMTRELAY   Type = 260
	TypeRESINFO    Type = 261
	TypeWALLET     Type = 262
	TypeTA         Type = 32768
	TypeDLV        Type = 32769
	TypeKEYDATA    Type = 65533
	// TypePrivate is where named keeps notes on signing a zone (sig-signing-type).
	TypePrivate Type = 65534
)

// String returns the mnemonic, or TYPEn for a type that named has no mnemonic for (RFC 3597 5).
func (t Type) String() string {
	if l := layoutOf(t); l != nil && l.mnemonic != "" {
		return l.mnemonic
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// ParseType reads a mnemonic or TYPEn, in any case. The error wraps ErrFormat.
func ParseType(s string) (Type, error) {
	upper := strings.ToUpper(s)
	if t, ok := typeByMnemonic[upper]; ok {
		return t, nil
	}
	if digits, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			return Type(n), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown RR type %q; use a mnemonic or TYPEn with n below 65536", ErrFormat, s)
}

// The attributes of types below are named's (the ATTRIBUTES of each file in lib/dns/rdata, and lib/dns/gen.c).

// IsMeta reports whether t can't be stored in a zone: OPT, TSIG, TKEY, the query types, and all else from 128 to 255.
func IsMeta(t Type) bool { return t >= 128 && t <= 255 || t == TypeOPT }

// IsQuestionOnly reports whether t may appear in a question only: IXFR, AXFR, MAILB, MAILA, ANY.
func IsQuestionOnly(t Type) bool { return t >= TypeIXFR && t <= TypeANY }

// IsNotQuestion reports whether t may not appear in a question: OPT and TSIG.
func IsNotQuestion(t Type) bool { return t == TypeOPT || t == TypeTSIG }

// IsSingleton reports whether an RRset of type t holds one RR at most.
func IsSingleton(t Type) bool {
	switch t {
	case TypeCNAME, TypeDNAME, TypeSOA, TypeRESINFO, TypeOPT:
		return true
	}
	return false
}

// IsDNSSEC reports whether t has named's DNSSEC attribute.
func IsDNSSEC(t Type) bool {
	switch t {
	case TypeDS, TypeRRSIG, TypeNSEC, TypeDNSKEY, TypeNSEC3, TypeNSEC3PARAM:
		return true
	}
	return false
}

// IsAtCNAME reports whether t may stand beside a CNAME: KEY, NSEC, RRSIG (RFC 4034 2.5, RFC 3007).
func IsAtCNAME(t Type) bool { return t == TypeKEY || t == TypeNSEC || t == TypeRRSIG }

// IsZoneCutAuth reports whether data of type t at a zone cut belongs to the parent: NS, DS, KEY, NSEC, RRSIG.
func IsZoneCutAuth(t Type) bool {
	switch t {
	case TypeNS, TypeDS, TypeKEY, TypeNSEC, TypeRRSIG:
		return true
	}
	return false
}

// IsAtParent reports whether t lives on the parent's side of a zone cut: DS.
func IsAtParent(t Type) bool { return t == TypeDS }

// IsKnown reports whether named knows the layout of t; the RDATA of other types is opaque (RFC 3597).
func IsKnown(t Type) bool { return layoutOf(t) != nil }

// IsSigning reports whether t exists only in signed zones, which are refused (their content would change by timers,
// outside the log): RRSIG, NSEC, NSEC3, NSEC3PARAM, DNSKEY, named's notes on signing, and the obsolete SIG and NXT. Some
// releases of named mishandle updates of zones that hold such data. DS, CDS, CDNSKEY and KEY are data.
func IsSigning(t Type) bool {
	switch t {
	case TypeRRSIG, TypeNSEC, TypeNSEC3, TypeNSEC3PARAM, TypeDNSKEY, TypePrivate, TypeSIG, TypeNXT:
		return true
	}
	return false
}

// IsObsolete reports whether named refuses zone files that have t, although it takes t in an UPDATE: MD and MF (RFC 973;
// lib/dns/master.c). A zone that holds one can't be loaded again.
func IsObsolete(t Type) bool { return t == TypeMD || t == TypeMF }

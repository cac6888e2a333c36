package update

import (
	"encoding/binary"
	"strconv"

	"github.com/zonekeeper/zonekeeper/internal/zone"
)

const (
	svcParamALPN    = 1
	svcParamDoHPath = 7
)

// badSVCB says what check-svcb has against rr, "" when nothing (dns_rdata_checksvcb): parameters in alias mode; at
// _dns[.transport] names, a missing alpn, and a missing dohpath when alpn offers HTTP (RFC 9460, RFC 9461).
func badSVCB(rr *zone.RR) string {
	params := rr.Data[nameEnd(rr.Data, 2):]
	if binary.BigEndian.Uint16([]byte(rr.Data[:2])) == 0 && params != "" {
		return "an alias has parameters"
	}
	if !isDNSService(rr.Name) {
		return ""
	}
	alpn, rest, ok := param(params, svcParamALPN)
	if !ok {
		return "a DNS server needs the parameter alpn"
	}
	if offersHTTP(alpn) {
		if _, _, ok := param(rest, svcParamDoHPath); !ok {
			return "a DNS server over HTTP needs the parameter dohpath"
		}
	}
	return ""
}

// param finds the parameter key in a list that is ordered by key.
func param(list string, key uint16) (value, rest string, ok bool) {
	for len(list) >= 4 {
		k := binary.BigEndian.Uint16([]byte(list[:2]))
		end := 4 + int(binary.BigEndian.Uint16([]byte(list[2:4])))
		if k >= key {
			return list[4:end], list[end:], k == key
		}
		list = list[end:]
	}
	return "", "", false
}

// offersHTTP reports whether one of the protocol names in alpn, or a part of one between commas, is a version of HTTP.
func offersHTTP(alpn string) bool {
	for alpn != "" {
		id := alpn[1 : 1+int(alpn[0])]
		alpn = alpn[1+len(id):]
		start := 0
		for i := 0; i <= len(id); i++ {
			if i == len(id) || id[i] == ',' {
				switch id[start:i] {
				case "http/0.9", "http/1.0", "http/1.1", "h2", "h2c", "h3":
					return true
				}
				start = i + 1
			}
		}
	}
	return false
}

// isDNSService reports whether n begins with _dns, or with _PORT._dns (RFC 9461 3).
func isDNSService(n zone.Name) bool {
	if n.Labels() == 0 {
		return false
	}
	label := n[1 : 1+int(n[0])]
	if len(label) >= 2 && label[0] == '_' && label[1] >= '0' && label[1] <= '9' && n.Labels() > 1 {
		digits := string(label[1:])
		if len(digits) > 1 && digits[0] == '0' {
			return false
		}
		if _, err := strconv.ParseUint(digits, 10, 16); err != nil {
			return false
		}
		n = n.Parent()
	}
	return len(n) > 5 && n[:5].Canonical() == "\x04_dns"
}

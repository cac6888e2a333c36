package named

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// The control channel's encoding (BIND lib/isccc/cc.c). A message is a length, a protocol version, and a table; a table is
// a sequence of (key length, key, value type, value length, value). The first entry is _auth: the HMAC over the rest.

const (
	controlVersion    = 1
	controlString     = 0x01 // ISCCC_CCMSGTYPE_BINARYDATA
	controlTable      = 0x02 // ISCCC_CCMSGTYPE_TABLE
	controlSHA256     = 163  // ISCCC_ALG_HMACSHA256
	controlMACSize    = 88   // base64 of the longest HMAC, zero padded for shorter ones
	controlMaxNesting = 10
)

var errControlFormat = errors.New("malformed control channel message")

type table []field

type field struct {
	key   string
	value any // string or table
}

// text returns the string at a path of keys, "" when there is none.
func (t table) text(path ...string) string {
	for i, key := range path {
		next := table(nil)
		for _, f := range t {
			if f.key != key {
				continue
			}
			switch v := f.value.(type) {
			case string:
				if i == len(path)-1 {
					return v
				}
			case table:
				next = v
			}
			break
		}
		t = next
	}
	return ""
}

func appendTable(b []byte, t table) []byte {
	for _, f := range t {
		b = append(b, byte(len(f.key)))
		b = append(b, f.key...)
		switch v := f.value.(type) {
		case string:
			b = append(b, controlString)
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		case table:
			b = append(b, controlTable)
			at := len(b)
			b = append(b, 0, 0, 0, 0)
			b = appendTable(b, v)
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	}
	return b
}

// controlMAC returns the algorithm octet and the padded base64 of the HMAC.
func controlMAC(body, secret []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write(body)
	mac := make([]byte, 1+controlMACSize)
	mac[0] = controlSHA256
	base64.StdEncoding.Encode(mac[1:], h.Sum(nil))
	return string(mac)
}

func encodeControl(t table, secret []byte) []byte {
	body := appendTable(nil, t)
	b := make([]byte, 8, 8+128+len(body))
	binary.BigEndian.PutUint32(b[4:], controlVersion)
	b = appendTable(b, table{{"_auth", table{{"hsha", controlMAC(body, secret)}}}})
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// decodeControl reads a message without its length and checks its HMAC.
func decodeControl(b, secret []byte) (table, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: %d octets", errControlFormat, len(b))
	}
	if v := binary.BigEndian.Uint32(b); v != controlVersion {
		return nil, fmt.Errorf("%w: protocol version %d", errControlFormat, v)
	}
	b = b[4:]
	auth, body, err := readField(b, 0)
	if err != nil {
		return nil, err
	}
	if auth.key != "_auth" || !hmac.Equal([]byte(table{auth}.text("_auth", "hsha")), []byte(controlMAC(body, secret))) {
		return nil, fmt.Errorf("%w: wrong signature", errControlFormat)
	}
	return readTable(body, 0)
}

func readTable(b []byte, depth int) (table, error) {
	var t table
	for len(b) > 0 {
		f, rest, err := readField(b, depth)
		if err != nil {
			return nil, err
		}
		t, b = append(t, f), rest
	}
	return t, nil
}

func readField(b []byte, depth int) (field, []byte, error) {
	if depth > controlMaxNesting {
		return field{}, nil, fmt.Errorf("%w: nested too deeply", errControlFormat)
	}
	if len(b) == 0 || len(b) < 1+int(b[0])+5 {
		return field{}, nil, fmt.Errorf("%w: truncated", errControlFormat)
	}
	f := field{key: string(b[1 : 1+int(b[0])])}
	b = b[1+int(b[0]):]
	kind, size := b[0], binary.BigEndian.Uint32(b[1:])
	b = b[5:]
	if uint64(size) > uint64(len(b)) {
		return field{}, nil, fmt.Errorf("%w: value of %d octets in %d", errControlFormat, size, len(b))
	}
	value, rest := b[:size], b[size:]
	switch kind {
	case controlString:
		f.value = string(value)
	case controlTable:
		t, err := readTable(value, depth+1)
		if err != nil {
			return field{}, nil, err
		}
		f.value = t
	default:
		// Lists: named sends none that this client reads.
		f.value = ""
	}
	return f, rest, nil
}

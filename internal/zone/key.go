package zone

// The order key of a name is a string of octets whose plain order is the canonical order of names (RFC 4034 6.1): the
// labels from the root down, in lower case, each closed by 0x00. Inside a label 0x00 and 0x01 are written 0x01 0x01 and
// 0x01 0x02, so that the closing 0x00 sorts before every octet of a longer label.
//
// The key of an RRset is the key of its owner, 0x00, and the type in two octets. As no label starts with 0x00 (labels are
// not empty), all types of a name sort before all names below it, and every subtree is one contiguous range.

// appendNameKey appends the order key of n.
func appendNameKey(b []byte, n Name) []byte {
	return appendRelativeKey(b, n, 1)
}

// appendRelativeKey appends the order key of n without the last suffix octets of its wire format: within one zone every
// name ends in the origin, and leaving it out saves its length for every RRset. suffix must begin at a label boundary.
func appendRelativeKey(b []byte, n Name, suffix int) []byte {
	var starts [128]uint8
	count := 0
	for i := 0; i < len(n)-suffix; i += 1 + int(n[i]) {
		starts[count] = uint8(i)
		count++
	}
	for count--; count >= 0; count-- {
		at := int(starts[count])
		for _, c := range []byte(n[at+1 : at+1+int(n[at])]) {
			c = lowerByte(c)
			if c <= 1 {
				b = append(b, 1)
				c++
			}
			b = append(b, c)
		}
		b = append(b, 0)
	}
	return b
}

// appendSetKey appends the order key of the RRset of type t at n.
func appendSetKey(b []byte, n Name, suffix int, t Type) []byte {
	return append(appendRelativeKey(b, n, suffix), 0, byte(t>>8), byte(t))
}

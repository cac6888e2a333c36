package zone

// SerialGT reports whether a is newer than b in serial number arithmetic (RFC 1982 3.2). Numbers exactly 2^31 apart are
// not comparable: neither is newer.
func SerialGT(a, b uint32) bool { return a != b && a-b < 1<<31 }

// SerialGE reports whether a equals b or is newer.
func SerialGE(a, b uint32) bool { return a == b || SerialGT(a, b) }

// SerialAdd advances s by n, at most 2^31-1 (RFC 1982 3.1), skipping the serial 0 as named does (see NextSerial).
func SerialAdd(s, n uint32) uint32 {
	if s += n; s == 0 && n != 0 {
		s = 1
	}
	return s
}

// NextSerial is the serial after s as named's "serial-update-method increment" counts: 2^32-1 is followed by 1, because
// some secondaries take 0 to mean "no serial".
func NextSerial(s uint32) uint32 { return SerialAdd(s, 1) }

package named

// doubt decides when a secondary's directory is to blame for a named that does not come up.
type doubt struct {
	failures int  // starts in a row that ended before the first answer
	aside    bool // the directory was set aside, and named has not come up since
	spent    bool // setting it aside did not help
}

// startsUntilDoubt are the failed starts in a row after which the directory is suspected.
const startsUntilDoubt = 3

// remedy is what to do about the directory.
type remedy uint8

const (
	leave remedy = iota
	setAside
	putBack
)

// after takes the end of an incarnation: whether it had come to its first answer, and whether the directory holds zones.
func (d *doubt) after(answered, zones bool) remedy {
	if answered {
		*d = doubt{}
		return leave
	}
	if d.failures++; d.failures < startsUntilDoubt {
		return leave
	}
	d.failures = 0
	switch {
	case d.aside:
		// With an empty directory it does not come up either. The zones were not the cause.
		d.aside, d.spent = false, true
		return putBack
	case zones && !d.spent:
		d.aside = true
		return setAside
	}
	return leave
}

// exchange carries out a remedy. When it can't, the directory stays as it is and the next starts tell more.
func (s *Server) exchange(own owner, r remedy) {
	switch r {
	case leave:
	case setAside:
		s.log.Error("named does not come up; it gets an empty directory and transfers every zone anew", "starts", startsUntilDoubt, "kept", own.aside(), "err", own.setAside())
	case putBack:
		s.log.Error("named does not come up with an empty directory either; it gets the old one back", "dir", own.dir, "err", own.putBack())
	}
}

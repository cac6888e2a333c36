package update

// Options are the settings of a zone that change what an update does, named after named.conf's. The zero value checks and
// limits nothing; DefaultOptions are named's own defaults for a primary zone.
type Options struct {
	// MaxRecordsPerType is the largest RRset (max-records-per-type); an update beyond it is SERVFAIL. 0: no limit.
	MaxRecordsPerType int
	// MaxTypesPerName is the largest number of RRsets at a name (max-types-per-name). 0: no limit.
	MaxTypesPerName int
	// MaxRecords is the largest number of RRs in the zone (max-records). 0: no limit.
	MaxRecords int
	// MaxTTL, in seconds, is what greater TTLs are silently cut to (max-zone-ttl). 0: no limit.
	MaxTTL uint32
	// CheckNames refuses host and mailbox names with characters that RFC 952 and RFC 1123 don't allow (check-names fail).
	CheckNames bool
	// CheckIntegrity refuses an added MX whose target lies in the zone and has no address (check-integrity).
	CheckIntegrity bool
	// CheckSVCB refuses an SVCB RR that breaks RFC 9461 (check-svcb; 9.20 only).
	CheckSVCB bool
}

// DefaultOptions returns named 9.20's defaults.
func DefaultOptions() Options {
	return Options{
		MaxRecordsPerType: 100,
		MaxTypesPerName:   100,
		CheckNames:        true,
		CheckIntegrity:    true,
		CheckSVCB:         true,
	}
}

package zone

// Digester makes the Digest of RRs that arrive one by one, as those of a zone transfer do. The zero value is ready.
type Digester struct {
	hash hasher
	sum  lanes
}

// Add takes one RR. The closing SOA of a zone transfer must be left out.
func (d *Digester) Add(rr RR) { d.sum.add(d.hash.rr(rr.Name, rr.Type, rr.Class, rr.TTL, rr.Data)) }

// Sum returns the digest of the RRs so far.
func (d *Digester) Sum() Digest { return d.sum.digest() }

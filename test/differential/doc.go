// Package differential sends the same random UPDATE requests to two servers and compares everything that can be seen of
// them: response codes, SOA serials, zone transfers. One side is usually a real named, the other package update, or an
// endpoint above it.
//
// A run is a function of its seed. Generator makes zones and requests and knows which documented row of named's behaviour
// each directed request is meant to hit; Compare counts a row only when the outcome shows that it was.
package differential

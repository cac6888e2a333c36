// Package foreign runs other DNS servers (BIND, Knot, NSD, PowerDNS) as secondaries of a cluster, with the configurations of
// docs/examples/secondary as they stand there.
package foreign

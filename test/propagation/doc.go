// Package propagation measures how soon the world sees an acknowledged update: at the secondaries of a cluster, beside plain
// BIND, in good times and while primaries fail, restart, or have very many zones; and what bad input does to a secondary.
//
// The short forms are part of make test. make propagation runs the measurements, TestMeasurePropagation….
package propagation

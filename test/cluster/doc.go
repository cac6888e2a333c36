// Package cluster hurts whole clusters of real processes while clients write and read, and checks afterwards what the
// project promises: histories are linearizable (I1, I3), every acknowledged update is there once and no refused one (I4,
// D6), every replica and every named is the same (I2), and nobody answered with less than that meanwhile (I7).
//
// Two secondaries follow meanwhile: what they serve never goes back, and is the same at the end.
//
// TestFaults is a minute or two in `make test`. Longer, with a seed that failed, under the race detector:
//
//	DURATION=30m go test -timeout 1h -v -run TestFaults ./test/cluster
//	SEED=123 go test -v -run TestFaults ./test/cluster
//	GOFLAGS=-race go test -v -run TestFaults ./test/cluster
//
// TestOverlappingFaults, whose faults go on at the same time, takes SEED and DURATION as well.
//
// A history that is not linearizable is left as a page for the browser, in ZONEKEEPER_ARTIFACTS or a new directory that the
// test names.
//
// Not here: clocks that jump (C7). A Go program reads its clock from memory that the kernel maps into it, where nothing
// outside can change it for one process; the simulation of internal/replica has a clock of its own for each replica.
package cluster

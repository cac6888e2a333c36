// Package cluster hurts whole clusters of real processes while clients write and read, and checks afterwards what the
// project promises: histories are linearizable (I1, I3), every acknowledged update is there once and no refused one (I4,
// D6), every replica and every named is the same (I2), and nobody answered with less than that meanwhile (I7).
package cluster

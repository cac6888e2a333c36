// Package overload gives a cluster of real processes what it should not get: garbage, floods, full disks, damaged files, a
// BIND that dies, hangs or is changed behind its back. Meanwhile a well-behaved client writes and reads. It loses nothing,
// is told nothing wrong, and waits no longer than it must (I1, I3, I7, I8).
package overload

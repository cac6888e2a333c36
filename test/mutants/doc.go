// Package mutants breaks the program on purpose, one rule at a time, and shows that the campaigns of test/cluster notice: what a test can't
// see missing, it does not test. A mutant is a replacement in one source file, compiled in by go build's -overlay; nothing of it is in
// the program. (The simulation of internal/replica does the same for the rules of its core, in every run of its tests.)
package mutants

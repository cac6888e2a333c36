//go:build race

package relay

// The race detector has nothing to find in one goroutine, and costs ten times the CPU.
const schedules = 20_000

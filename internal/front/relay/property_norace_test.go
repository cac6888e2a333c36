//go:build !race

package relay

const schedules = 1_000_000

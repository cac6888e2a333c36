// Package clients runs the real clients of dynamic updates, unmodified, against a cluster whose primaries are killed meanwhile, with the
// configurations that `zonekeeper key export` prints.
package clients

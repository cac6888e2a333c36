// Package secondary assembles one public secondary: a BIND that serves the zones of
// the catalog, the proxy on loopback from which it transfers them, and a stream from
// every primary that says what is current.
//
// It promises:
//
//   - named serves what is on disk from its start on, and goes on when no primary is
//     reachable, until a zone's SOA says that it expires.
//   - A zone that is behind is pursued until it is not: named is told again and again.
//   - A serial is reported as served after the own named has answered it, not before.
//   - Removals that the guard holds reach named only when they were confirmed.
//
// What is decided (tracker.go, choose.go) knows neither time nor network; drive.go,
// served.go, upstream.go and report.go carry it out.
package secondary

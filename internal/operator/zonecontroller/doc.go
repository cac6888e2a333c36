// Package zonecontroller makes the primaries have the zones that Zones ask for.
//
// It promises:
//
//   - Records are written once, when a zone that never was is made: whole or not at all. After that only settings are compared and put.
//   - A zone that somebody else manages is left alone, and so is one that somebody has deleted behind the operator's back: it is not made anew
//     without its records.
//   - Each pass begins with what the primaries have. One that was cut off anywhere is finished by the next, and nothing is done twice.
//   - A deletion ends within lookup.DeletionLimit, whatever the primaries do.
//
// Whether a Zone may be there, its settings and its first content are decided in package zoneobject.
package zonecontroller

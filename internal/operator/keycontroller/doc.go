// Package keycontroller makes the primaries have the keys that TSIGKeys ask for, and clients the Secrets with them.
//
// It promises:
//
//   - Each pass begins with what the primaries have, secrets included; what comes next is decided in package keyobject from that alone. A pass that was
//     cut off anywhere is finished by the next, and no rotation is done twice.
//   - A secret is retired only when the Secret for clients has had the newest one for spec.overlap.
//   - A Secret that is not this object's is never written.
//   - A deletion ends within lookup.DeletionLimit, whatever the primaries do.
package keycontroller

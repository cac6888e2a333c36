// Package keyobject decides what a TSIGKey means: whether its name is its own, which step its secrets need next, and what clients are given. It is
// pure; package keycontroller carries it out.
//
// Nothing is remembered: the next step follows from the secrets that the primaries have, and from what the Secret for clients has. So an operator
// that was stopped between any two steps goes on where it was.
package keyobject

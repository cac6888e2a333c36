// Package named runs one BIND 9 process as a hidden primary and talks to it.
//
// It renders the process's configuration, starts, watches, restarts and stops it, and offers the four conversations that
// its publisher needs: commands over the control channel, an ordered stream of signed UPDATE messages, SOA queries, and
// zone transfers. It promises nothing about what named serves: whoever drives it decides what each zone holds, and every
// new incarnation of the process starts with exactly the zones that Content hands it and nothing left over from the last.
//
// BIND 9.20 is the reference, 9.18 is supported; nothing else is started.
package named

// Package propagation knows which secondary serves which serial, and lets an update wait until enough of them serve it.
//
// It is told what the local named publishes ([Tracker.Published]) and what each secondary reports ([Tracker.Report]), and
// does nothing else: no connection, no goroutine, its clock and timers are given to it. So what it says of a secondary is
// what that secondary has said of itself; it is the secondary that asks its named before it reports.
//
// Its memory is bounded: a zone's publish times are thinned out when they are many, and the updates that wait are counted
// (I8).
package propagation

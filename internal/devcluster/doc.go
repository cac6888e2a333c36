// Package devcluster runs a whole cluster on one machine: every primary and every
// secondary its own operating-system process, a relay in front of them, and DIR/dev.json that says
// where everything is.
//
// It promises that a cluster resumes with its data when it is started on the same
// directory again, that no process outlives the foreground process, even if that
// is killed, and that a process of the cluster that dies stays dead until somebody
// starts it: tests decide about faults, not this package.
package devcluster

// Package conf reads what a process is told from outside: a strict JSON file,
// certificates that may be replaced while they are in use, and the lock on the
// directory that holds its data.
package conf

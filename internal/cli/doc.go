// Package cli is the command line: it turns arguments into calls of other
// packages and their answers into text or JSON. It decides nothing about zones.
//
// Everywhere alike: exit code 0 is success, 1 failure, 2 a mistake in the command
// or a configuration; -o json prints what programs read; errors name what failed
// and what to do about it.
package cli

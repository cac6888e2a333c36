// Package primary assembles one hidden primary: log, state machine, publisher,
// named, endpoint and admin API, started and stopped in the order that loses
// nothing.
package primary

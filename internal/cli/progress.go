package cli

import (
	"fmt"
	"time"
)

// progressEvery is how often a person who waits is told so; quick commands stay silent.
const progressEvery = time.Second

// wipe returns to the start of a terminal's line and clears it (ECMA-48: CR, EL).
const wipe = "\r\x1b[K"

// progress says on a terminal what goes on, once a second, until stop is called, and wipes it out then. Where Err is not
// a terminal it is silent: a log of a hundred such lines helps nobody.
func (p *Program) progress(what func() string) (stop func()) {
	if !p.Terminal {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(p.Err, "%s%s, %s", wipe, what(), time.Since(start).Round(time.Second))
				shown = true
			case <-done:
				if shown {
					fmt.Fprint(p.Err, wipe)
				}
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

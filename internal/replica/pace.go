package replica

import "time"

// This file is how a core carries the verdict of a [LagWatch] out (C9).

// slow takes what the publish lag asks for (C9).
func (c *core) slow(now time.Time, t Throttle) {
	c.throttle = t
	if end := now.Add(t.Pace); end.Before(c.paceEnd) {
		c.paceEnd = end
	}
	c.flush(now)
}

// paced says that clients' proposals have to wait because publishing is behind.
func (c *core) paced() bool {
	return c.throttle.Pace > 0 && c.now.Before(c.paceEnd) && !c.cfg.omit.publishLag
}

// housekeeping takes the replica's own commands from the queue, at most a batch: without them publishing would not get on.
func (c *core) housekeeping() []*proposal {
	var own []*proposal
	kept := c.queue[:0]
	for _, p := range c.queue {
		if p.internal && len(own) < c.cfg.maxBatchCount {
			own = append(own, p)
			continue
		}
		kept = append(kept, p)
	}
	clear(c.queue[len(kept):])
	c.queue = kept
	return own
}

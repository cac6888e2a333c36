package conf

import "time"

// Expire makes the next use look at the files again, as if a second had passed.
func (c *Certificate) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Time{}
}

// Package failover measures what clients see of a primary's death: the gap in acknowledged writes, and how long the
// unluckiest request took.
package failover

package replica

// omit takes rules out of the core, one at a time, so that a test can show that the simulation notices each (what a test
// can't see missing, it does not test). Production omits nothing: the zero value.
type omit struct {
	settle       bool // C2: an append in doubt counts as not applied, without a fence
	deadline     bool // C2: a proposal goes into the log however late
	order        bool // promise 4: a batch that goes in again goes to the back of the queue
	minority     bool // C4: a replica that a majority contradicts carries on
	noMajority   bool // C4: without a majority everyone carries on
	undecided    bool // C4: a disagreement that nobody can decide goes on for ever
	ownFloor     bool // D5: the log is compacted up to this replica's own checkpoint
	durableMark  bool // D5: a checkpoint is announced before it is durable
	quietClock   bool // C7: a replica that is out of service moves log time
	backPressure bool // C9: the queue has no limit
	publishLag   bool // C9: updates are taken however far publishing is behind
	catchUp      bool // I7: a reloaded replica serves before it has caught up
}

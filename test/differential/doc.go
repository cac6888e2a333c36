// Package differential sends the same random UPDATE requests to servers and compares everything that can be seen of them:
// response codes, TSIG errors, SOA serials, zone transfers. The reference is package update, by way of Model; what it is
// compared with is a Target: a real named, the endpoints of a cluster, or several at once.
//
//	specs := differential.Specs(2)
//	plan := differential.Plan(specs, 20000, 100)
//	for i, s := range specs { // each in a goroutine of its own
//		z := differential.Content(s.Origin, 1)
//		// … give the servers the zone, its policy or list, and the keys s.Keys with differential.Secret …
//		report, err := differential.Compare(ctx, plan[i], s, z, differential.Dial(named),
//			differential.NewCluster(differential.Dial(primary0), differential.Dial(primary1)))
//	}
//
// A run is a function of its seed, as long as nothing differs. A Generator makes about as many requests that are directed at
// a documented row of named's behaviour as random ones; a row counts as hit only when the outcome shows that it was.
package differential

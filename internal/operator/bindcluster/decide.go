package bindcluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// maxPublishLagMS is how far the named of a primary may be behind for another one to be taken away.
const maxPublishLagMS = 1000

// Observed is what is seen of a cluster at one moment.
type Observed struct {
	// Wanted is spec.primaries.replicas.
	Wanted int
	// State is the one that was applied last.
	State resources.State
	// External: the log is somebody else's etcd, so primaries are no members of it.
	External bool
	// Changed: the pod template that would be built now is not the one that was applied last.
	Changed bool
	// Updated says of each pod, by ordinal, whether it runs the newest pod template that was applied; false where there is no pod.
	Updated []bool
	// Replicas is what each primary says of itself, by ordinal; nil for one that does not answer. All are asked: a primary's own status
	// knows only those that it counts, and one that joins or leaves has a vote as well.
	Replicas []*adminapi.ReplicaStatus
	// Members is the quorum, nil when no primary says it.
	Members []adminapi.Member
	// Verified: all copies of all zones were compared after the first pod got the newest template. Disagreement is what was found then.
	Verified     bool
	Disagreement string
}

// Step is what to do next, in this order, each part repeatable: so whoever is interrupted begins again with what he sees then.
type Step struct {
	// DeleteClaim is the ordinal whose volume belongs to a member that has left, -1 for none. Its data must not come back.
	DeleteClaim int
	// State is to be stored, then its objects to be applied.
	State resources.State
	// Remove names a member to take out of the quorum, "" for none. Primaries refuse it while fewer than a majority of those that remain
	// is alive; then it is asked for again.
	Remove string

	// Verify: have all copies compared, then decide again with what was found.
	Verify bool

	// Done: the primaries are what spec says. Otherwise Reason, of the condition RolledOut, and Message say for what the next step waits.
	Done    bool
	Reason  string
	Message string
}

// Decide is one step.
func Decide(o Observed) Step {
	if o.Changed {
		// Nobody restarts by this alone. What is under way is given up where it is: a pod that can't start gets the newer template first.
		s := o.hold(v1alpha1.ReasonRollingOut, "a new pod template was applied")
		s.State.Partition = o.State.Members
		return s
	}
	if !o.State.Formed {
		return o.bootstrap()
	}
	if why := o.Differs(); why != "" {
		return o.hold(v1alpha1.ReasonRolloutStopped, why)
	}
	if o.State.Leaving {
		return o.shrink()
	}
	if outdated := slices.Index(o.Updated[:min(len(o.Updated), o.State.Members)], false); outdated >= 0 {
		return o.rollout()
	}
	if o.State.Partition != o.State.Members {
		s := o.hold(v1alpha1.ReasonRollingOut, "every pod runs the newest template")
		s.State.Partition = o.State.Members
		return s
	}
	switch {
	case o.Wanted > o.State.Members:
		return o.grow()
	case o.Wanted != o.State.Peers:
		return o.count()
	case o.Wanted < o.State.Members:
		return o.shrink()
	}
	if why := o.unwell(-1); why != "" {
		s := o.hold(v1alpha1.ReasonMembersMissing, why)
		s.Done = true // what is missing is no matter of a rollout
		return s
	}
	s := o.hold(v1alpha1.ReasonHealthy, "")
	s.Done = true
	return s
}

func (o Observed) hold(reason, message string) Step {
	return Step{State: o.State, DeleteClaim: -1, Reason: reason, Message: message}
}

// bootstrap waits for the first start. A primary that is ready has seen a quorum, so the log exists.
func (o Observed) bootstrap() Step {
	if !slices.ContainsFunc(o.Replicas, func(r *adminapi.ReplicaStatus) bool { return r != nil && r.Ready }) {
		message := fmt.Sprintf("the first start waits for all %d primaries", o.State.Initial)
		if o.Wanted != o.State.Initial {
			message += fmt.Sprintf("; %d are wanted, which comes after it", o.Wanted)
		}
		return o.hold(v1alpha1.ReasonBootstrapping, message)
	}
	s := o.hold(v1alpha1.ReasonBootstrapping, "the log was formed")
	s.State.Formed = true
	return s
}

// rollout lets the next pod have the newest template: from the highest ordinal down, as the StatefulSet does it.
func (o Observed) rollout() Step {
	next := o.State.Members - 1
	for next >= 0 && o.Updated[next] {
		next--
	}
	if o.State.Partition <= next {
		return o.hold(v1alpha1.ReasonRollingOut, fmt.Sprintf("%s is being replaced", resources.Member(next)))
	}
	// Of the one that goes next nothing is asked: it may be the one that needs the new template.
	if why := o.unwell(next); why != "" {
		return o.hold(v1alpha1.ReasonRolloutHeld, fmt.Sprintf("%s goes next, and waits: %s", resources.Member(next), why))
	}
	if next == o.State.Members-2 { // one has the newest template: what it has is compared before anybody follows
		if !o.Verified {
			s := o.hold(v1alpha1.ReasonRollingOut, fmt.Sprintf("all copies are compared before %s is replaced", resources.Member(next)))
			s.Verify = true
			return s
		}
		if o.Disagreement != "" {
			return o.hold(v1alpha1.ReasonRolloutStopped, o.Disagreement)
		}
	}
	s := o.hold(v1alpha1.ReasonRollingOut, fmt.Sprintf("%s is replaced", resources.Member(next)))
	s.State.Partition = next
	return s
}

// grow adds one pod, when the one before has its vote.
func (o Observed) grow() Step {
	if why := o.unwell(-1); why != "" {
		return o.hold(v1alpha1.ReasonScaling, "another member waits: "+why)
	}
	s := o.hold(v1alpha1.ReasonScaling, fmt.Sprintf("%s joins", resources.Member(o.State.Members)))
	s.State.Members++
	s.State.Partition = s.State.Members
	return s
}

// count changes who counts whom, which restarts the primaries behind the gate. Who comes has joined before, who goes leaves afterwards.
func (o Observed) count() Step {
	if why := o.unwell(-1); why != "" {
		return o.hold(v1alpha1.ReasonScaling, "who counts as a primary waits: "+why)
	}
	s := o.hold(v1alpha1.ReasonScaling, fmt.Sprintf("%d primaries count each other instead of %d", o.Wanted, o.State.Peers))
	s.State.Peers = o.Wanted
	s.State.Partition = s.State.Members
	return s
}

// shrink takes the highest member out of the quorum, then its pod and its volume away.
func (o Observed) shrink() Step {
	last := o.State.Members - 1
	name := resources.Member(last)
	if !o.External {
		if o.Members == nil {
			return o.hold(v1alpha1.ReasonUnreachable, "the quorum's members are not known: no primary answers")
		}
		if slices.ContainsFunc(o.Members, func(m adminapi.Member) bool { return m.Name == name }) {
			if why := o.unwell(last); why != "" { // the one that leaves may be dead
				return o.hold(v1alpha1.ReasonScaling, name+" leaves later: "+why)
			}
			s := o.hold(v1alpha1.ReasonScaling, name+" leaves")
			s.State.Leaving = true
			s.Remove = name
			return s
		}
	}
	s := o.hold(v1alpha1.ReasonScaling, name+" has left")
	s.State.Members--
	s.State.Partition = s.State.Members
	s.State.Leaving = false
	s.DeleteClaim = last
	return s
}

// unwell says why not every primary but one (by ordinal, -1 for none) is well: it answers, is ready, has published, has a vote; "" when all are.
func (o Observed) unwell(except int) string {
	var why []string
	for i := range o.State.Members {
		if i == except {
			continue
		}
		name := resources.Member(i)
		if i >= len(o.Replicas) || o.Replicas[i] == nil {
			why = append(why, name+" does not answer")
			continue
		}
		if text := trouble(o.Replicas[i]); text != "" {
			why = append(why, name+" "+text)
			continue
		}
		if o.External {
			continue
		}
		m := slices.IndexFunc(o.Members, func(m adminapi.Member) bool { return m.Name == name })
		switch {
		case m < 0:
			why = append(why, name+" is not a member yet")
		case o.Members[m].Learner:
			why = append(why, name+" has no vote yet")
		}
	}
	return strings.Join(why, "; ")
}

func trouble(r *adminapi.ReplicaStatus) string {
	switch {
	case !r.Ready:
		return "is not ready: " + r.Reason
	case r.NoWrites != "":
		return "takes no updates: " + r.NoWrites
	case r.PublishLagMS > maxPublishLagMS:
		return fmt.Sprintf("publishes %d ms late", r.PublishLagMS)
	}
	return ""
}

// Differs says which zone has two contents at one serial; "" when none has.
func (o Observed) Differs() string {
	type at struct {
		zone   string
		serial uint32
	}
	seen := map[at][2]string{} // digest, and who has it
	for _, r := range o.Replicas {
		if r == nil {
			continue
		}
		for _, z := range r.Zones {
			k := at{z.Name, z.Serial}
			first, ok := seen[k]
			if ok && first[0] != z.Digest {
				return fmt.Sprintf("zone %s at serial %d differs between %s and %s; keep both volumes, and report a bug", z.Name, z.Serial, first[1], r.Name)
			}
			if !ok {
				seen[k] = [2]string{z.Digest, r.Name}
			}
		}
	}
	return ""
}

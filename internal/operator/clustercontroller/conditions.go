package clustercontroller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/adminapi"
	"github.com/zonekeeper/zonekeeper/internal/operator/bindcluster"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
)

// facts are what one pass knows; status follows from them alone.
type facts struct {
	cluster *v1alpha1.BindCluster
	in      resources.Input
	now     time.Time
	// life is that of certificates.
	life        time.Duration
	seen        *seen // nil when the pass ended before anybody was asked
	step        bindcluster.Step
	material    material
	problems    []resources.Problem
	secondaries *appsv1.StatefulSet // nil when there is none
	exposures   []exposed
	storage     string // why volumes don't grow
	answered    time.Time
	stale       bool // no primary has answered for long
	trouble     *troubleError
	err         error
}

// exposed is one exposure as Kubernetes has it.
type exposed struct {
	exposure      v1alpha1.Exposure
	service       *corev1.Service
	vip           *v1alpha1.VirtualIP
	ready, wanted int32
}

func (s *seen) anyAnswer() bool {
	return slices.ContainsFunc(s.replicas, func(a *adminapi.ReplicaStatus) bool { return a != nil })
}

func (f *facts) anyReady() bool {
	return f.seen != nil && slices.ContainsFunc(f.seen.replicas, takes)
}

// zones are those that people have made.
func (s *seen) zones(a *adminapi.ReplicaStatus) int32 {
	n := int32(0)
	for _, z := range a.Zones {
		if z.Name != s.catalog {
			n++
		}
	}
	return n
}

// takes: it takes updates and answers queries.
func takes(a *adminapi.ReplicaStatus) bool { return a != nil && a.Ready && a.NoWrites == "" }

// verdict is a condition without its time.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

func good(message string) verdict {
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonHealthy, message}
}
func bad(reason, format string, args ...any) verdict {
	return verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

// order of the conditions that Ready sums up: what hurts most comes first.
func order() []string {
	return []string{v1alpha1.ConditionWritable, v1alpha1.ConditionConsistent, v1alpha1.ConditionExposed, v1alpha1.ConditionCertificatesValid,
		v1alpha1.ConditionSecondariesCurrent, v1alpha1.ConditionRolledOut}
}

// status is the cluster's new status.
func status(f *facts) v1alpha1.BindClusterStatus {
	s := *f.cluster.Status.DeepCopy()
	s.ObservedGeneration = f.cluster.Generation
	verdicts := map[string]verdict{}
	if f.seen != nil {
		f.fill(&s)
		if v, ok := f.writable(); ok {
			verdicts[v1alpha1.ConditionWritable] = v
		}
		if v, ok := f.consistent(); ok {
			verdicts[v1alpha1.ConditionConsistent] = v
		}
		if v, ok := f.current(); ok {
			verdicts[v1alpha1.ConditionSecondariesCurrent] = v
		}
		verdicts[v1alpha1.ConditionExposed], s.Addresses = f.exposed()
		if !f.cluster.Spec.Paused {
			verdicts[v1alpha1.ConditionCertificatesValid] = f.valid()
		}
	}
	verdicts[v1alpha1.ConditionRolledOut] = f.rolledOut()
	for _, name := range order() {
		v, ok := verdicts[name]
		if !ok {
			if meta.FindStatusCondition(s.Conditions, name) != nil {
				continue // what was said last holds until it is stale
			}
			v = verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "not known yet"}
		}
		set(&s, name, v)
	}
	ready := f.sum(&s)
	set(&s, v1alpha1.ConditionReady, ready)
	s.Summary = ready.message
	if f.cluster.Spec.Paused {
		s.Summary += " (paused: the operator changes nothing)"
	}
	return s
}

func set(s *v1alpha1.BindClusterStatus, name string, v verdict) {
	const longest = 32768 // of a condition's message in the API
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: name, Status: v.status, Reason: cmp.Or(v.reason, v1alpha1.ReasonPending), Message: v.message[:min(len(v.message), longest)], ObservedGeneration: s.ObservedGeneration,
	})
}

// sum is the condition Ready.
func (f *facts) sum(s *v1alpha1.BindClusterStatus) verdict {
	if f.trouble != nil {
		return bad(f.trouble.reason, "%s", f.trouble.message)
	}
	for _, wanted := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionUnknown} {
		for _, name := range order() {
			c := meta.FindStatusCondition(s.Conditions, name)
			if c.Status == wanted {
				return verdict{wanted, c.Reason, c.Message}
			}
		}
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionWritable); c.Reason == v1alpha1.ReasonMembersMissing {
		return bad(c.Reason, "%s", c.Message)
	}
	text := fmt.Sprintf("healthy: %s primaries, %s secondaries, %d zones", s.Primaries.Summary, s.Secondaries.Summary, s.Zones)
	if len(s.Addresses) > 0 && len(s.Addresses[0].Addresses) > 0 {
		text += "; updates go to " + s.Addresses[0].Addresses[0]
	} else if len(f.cluster.Spec.Exposures) == 0 {
		text += "; no exposure: add one to spec.exposures for clients to reach it"
	}
	return good(text)
}

// fill writes what is no condition.
func (f *facts) fill(s *v1alpha1.BindClusterStatus) {
	p := v1alpha1.PrimariesStatus{Leader: s.Primaries.Leader}
	versions := map[string]int{}
	for i, pod := range f.seen.pods {
		m := v1alpha1.MemberStatus{Name: resources.Member(i)}
		if pod != nil {
			p.Replicas++
			m.Node = pod.Spec.NodeName
		}
		switch a := f.seen.replicas[i]; {
		case a == nil && f.seen.errs[i] != nil:
			m.Message = f.seen.errs[i].Error()
		case a != nil:
			m.Ready, m.Version, m.BindVersion = takes(a), a.Version, a.Named.Version
			m.Applied = int64(a.AppliedIndex) //nolint:gosec // a log index
			m.Message = cmp.Or(a.Reason, a.NoWrites)
			if a.Leader {
				p.Leader = a.Name
			}
			if m.Ready {
				p.Ready++
				versions[a.Version]++
			}
		}
		m.Learner = slices.ContainsFunc(f.seen.members, func(e adminapi.Member) bool { return e.Name == m.Name && e.Learner })
		p.Members = append(p.Members, m)
	}
	p.Summary = fmt.Sprintf("%d/%d", p.Ready, f.cluster.Spec.Primaries.Replicas)
	s.Primaries = p
	for v, n := range versions {
		if 2*n > len(f.seen.replicas) {
			s.Version = v
		}
	}
	if st := f.seen.status; st != nil {
		if st.Leader != "" {
			s.Primaries.Leader = st.Leader
		}
		for _, a := range f.seen.replicas {
			if takes(a) {
				s.Zones = f.seen.zones(a)
				break
			}
		}
		s.Keys = int32(f.seen.keys) //nolint:gosec // far below
	}
	f.fillSecondaries(s)
}

func (f *facts) fillSecondaries(s *v1alpha1.BindClusterStatus) {
	out := v1alpha1.SecondariesStatus{Selector: labels.Set(f.in.Selector(resources.ComponentSecondary)).String(), HeldCatalog: s.Secondaries.HeldCatalog}
	if f.secondaries != nil {
		out.Replicas = f.secondaries.Status.Replicas
		out.Ready = f.secondaries.Status.ReadyReplicas
	}
	if f.seen.status != nil {
		out.HeldCatalog = ""
		for _, sec := range f.seen.status.Secondaries {
			if sec.Status != nil && sec.Status.Held != nil {
				out.HeldCatalog = held(sec)
				break
			}
		}
	}
	out.Summary = fmt.Sprintf("%d/%d", out.Ready, f.cluster.Spec.Secondaries.Replicas)
	s.Secondaries = out
}

func held(s adminapi.Secondary) string {
	h := s.Status.Held
	return fmt.Sprintf("version %d of the catalog removes %d of %d zones; if that is meant: zonekeeper catalog confirm --serial %d", h.Serial, h.Removed, h.Members, h.Serial)
}

// unreachable is what is said when nobody has answered: nothing at first, then that it is not known.
func (f *facts) unreachable() (verdict, bool) {
	if !f.stale {
		return verdict{}, false
	}
	ready := 0
	for _, p := range f.seen.pods {
		if p != nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
			ready++
		}
	}
	why := "none has a pod"
	for _, err := range f.seen.errs {
		if err != nil {
			why = err.Error()
			break
		}
	}
	return verdict{metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, fmt.Sprintf(
		"no primary answers the operator since %s (%s); by Kubernetes %d of %d are ready, and updates may go on: look at the pods, and at network policies between them and the operator",
		f.answered.UTC().Format(time.RFC3339), why, ready, len(f.seen.pods))}, true
}

func (f *facts) writable() (verdict, bool) {
	if !f.in.State.Formed {
		return bad(v1alpha1.ReasonBootstrapping, "%s", f.step.Message), true
	}
	if !f.seen.anyAnswer() {
		return f.unreachable()
	}
	var missing []string
	n := 0
	for i, a := range f.seen.replicas {
		switch {
		case takes(a):
			n++
		case a == nil:
			missing = append(missing, fmt.Sprintf("%s does not answer", resources.Member(i)))
		default:
			missing = append(missing, fmt.Sprintf("%s: %s", resources.Member(i), cmp.Or(a.Reason, a.NoWrites, "not ready")))
		}
	}
	why := strings.Join(missing, "; ")
	switch total := len(f.seen.replicas); {
	case n == total:
		return good("all primaries take updates"), true
	case n > 0:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonMembersMissing, fmt.Sprintf("%d of %d primaries take updates: %s", n, total, why)}, true
	default:
		return bad(v1alpha1.ReasonQuorumLost, "no primary takes updates, they are answered SERVFAIL: %s; bring back the pods of a majority", why), true
	}
}

func (f *facts) consistent() (verdict, bool) {
	if !f.seen.anyAnswer() {
		if !f.in.State.Formed {
			return verdict{metav1.ConditionUnknown, v1alpha1.ReasonBootstrapping, "nothing to compare yet"}, true
		}
		return f.unreachable()
	}
	o := f.seen.observed(f.in)
	if text := o.Differs(); text != "" {
		return bad(v1alpha1.ReasonReplicaDiffers, "%s", text), true
	}
	return good("every zone is the same on all primaries that answer"), true
}

func (f *facts) current() (verdict, bool) {
	want := int(f.cluster.Spec.Secondaries.Replicas)
	if want == 0 {
		return good("no secondaries are wanted"), true
	}
	if f.seen.status == nil {
		if !f.in.State.Formed {
			return verdict{metav1.ConditionUnknown, v1alpha1.ReasonBootstrapping, "they begin after the first start of the primaries"}, true
		}
		return f.unreachable()
	}
	var behind []string
	for i := range want {
		name := resources.Registered(i)
		n := slices.IndexFunc(f.seen.status.Secondaries, func(s adminapi.Secondary) bool { return s.Name == name })
		if n < 0 {
			behind = append(behind, name+" is not registered yet")
			continue
		}
		switch s := f.seen.status.Secondaries[n]; {
		case s.Status != nil && s.Status.Held != nil:
			return bad(v1alpha1.ReasonRemovalHeld, "%s: %s", name, held(s)), true
		case !s.Connected || s.Status == nil:
			behind = append(behind, name+" does not report")
		case !s.Status.Ready:
			behind = append(behind, fmt.Sprintf("%s: %s", name, cmp.Or(s.Status.Reason, "not ready")))
		}
	}
	if len(behind) > 0 {
		return bad(v1alpha1.ReasonSecondariesBehind, "%s", strings.Join(behind, "; ")), true
	}
	return good(fmt.Sprintf("all %d secondaries have what primaries have", want)), true
}

func (f *facts) exposed() (verdict, []v1alpha1.ExposureStatus) {
	var out []v1alpha1.ExposureStatus
	v := good("every exposure has an address and a ready front")
	if len(f.exposures) == 0 {
		v = good("there are no exposures")
	}
	worse := func(reason, message string) {
		if v.status == metav1.ConditionTrue {
			v = bad(reason, "%s", message)
		}
	}
	for _, x := range f.exposures {
		s := v1alpha1.ExposureStatus{Exposure: x.exposure.Name, Addresses: x.addresses(), Ready: fmt.Sprintf("%d/%d", x.ready, x.wanted)}
		n := slices.IndexFunc(f.problems, func(p resources.Problem) bool { return p.Exposure == x.exposure.Name })
		switch {
		case n >= 0:
			s.Message = f.problems[n].Message
			worse(v1alpha1.ReasonInvalid, fmt.Sprintf("exposure %s: %s", x.exposure.Name, s.Message))
		case len(s.Addresses) == 0:
			s.Message = "it has no address yet"
			if x.exposure.Type == v1alpha1.ExposureLoadBalancer {
				s.Message = "the cloud has not given an address to its Service yet; see: kubectl describe service " + f.in.FrontName(x.exposure.Name)
			}
			worse(v1alpha1.ReasonNoAddress, fmt.Sprintf("exposure %s: %s", x.exposure.Name, s.Message))
		case x.ready == 0:
			s.Message = "no front is ready"
			worse(v1alpha1.ReasonFrontsMissing, fmt.Sprintf("exposure %s: %s; see its pods", x.exposure.Name, s.Message))
		}
		out = append(out, s)
	}
	return v, out
}

// addresses that clients use.
func (x exposed) addresses() []string {
	var out []string
	switch {
	case x.exposure.Type == v1alpha1.ExposureVIP:
		if x.vip != nil {
			for _, a := range x.vip.Spec.Addresses {
				if p, err := netip.ParsePrefix(string(a)); err == nil {
					out = append(out, p.Addr().String())
				}
			}
		}
	case x.service == nil:
	case x.exposure.Type == v1alpha1.ExposureLoadBalancer:
		for _, i := range x.service.Status.LoadBalancer.Ingress {
			out = append(out, cmp.Or(i.IP, i.Hostname))
		}
	default:
		for _, a := range x.service.Spec.ClusterIPs {
			if a != "" && a != corev1.ClusterIPNone {
				out = append(out, a)
			}
		}
	}
	return out
}

func (f *facts) valid() verdict {
	if t := f.material.trouble; t != nil {
		return bad(t.reason, "%s", t.message)
	}
	if f.material.ends.IsZero() {
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "no certificate was issued yet"}
	}
	end := f.material.ends.UTC().Format(time.RFC3339)
	// Renewal begins with a third left; a tenth of that is room for passes that failed.
	if f.material.ends.Sub(f.now) < f.life/3-f.life/30 {
		return bad(v1alpha1.ReasonCertificateEnding, "%s ends at %s and was not renewed; see the operator's log", f.material.which, end)
	}
	if len(f.material.replacing) > 0 {
		return good("certificates are renewed in time; " + strings.Join(f.material.replacing, "; "))
	}
	return good("certificates are renewed in time")
}

func (f *facts) rolledOut() verdict {
	switch {
	case f.trouble != nil:
		return bad(f.trouble.reason, "%s", f.trouble.message)
	case f.err != nil:
		return bad(v1alpha1.ReasonPending, "the last pass failed and is repeated: %v", f.err)
	case f.seen == nil:
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "the operator has not come to it yet"}
	case f.cluster.Spec.Paused && (!f.step.Done || f.seen.changed):
		return bad(v1alpha1.ReasonPaused, "spec.paused keeps the operator from: %s", cmp.Or(f.step.Message, "rolling out what spec says"))
	}
	if !f.step.Done {
		if why := f.seen.cannotRun(); why != "" {
			return bad(v1alpha1.ReasonImageCannotRun, "%s; %s", why, f.step.Message)
		}
		return bad(f.step.Reason, "%s", f.step.Message)
	}
	if f.storage != "" {
		return bad(v1alpha1.ReasonStorageNotExpanding, "%s", f.storage)
	}
	if s := f.secondaries; s != nil && s.Spec.Replicas != nil && (s.Status.ObservedGeneration < s.Generation || s.Status.UpdatedReplicas < *s.Spec.Replicas) {
		return bad(v1alpha1.ReasonRollingOut, "%d of %d secondaries run the newest template", s.Status.UpdatedReplicas, *s.Spec.Replicas)
	}
	return good("every pod runs what spec says")
}

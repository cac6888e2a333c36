package vipcontroller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
	"github.com/zonekeeper/zonekeeper/internal/front/announce"
	"github.com/zonekeeper/zonekeeper/internal/operator/conditions"
	"github.com/zonekeeper/zonekeeper/internal/operator/lookup"
	"github.com/zonekeeper/zonekeeper/internal/operator/resources"
	"github.com/zonekeeper/zonekeeper/internal/operator/vipobject"
)

// pass is one reconciliation of a VirtualIP.
type pass struct {
	*Reconciler
	vip    *v1alpha1.VirtualIP
	memory *memory
	facts  vipobject.Facts

	selected []*corev1.Node
	gated    []*corev1.Node // all nodes where the gate is open, selected or not
	paused   bool
	// guarded: the fronts' DaemonSet has the gate.
	guarded bool
}

// heard is a front's last word, and when it came.
type heard struct {
	state     announce.State
	at, began time.Time
}

// look sees what there is in Kubernetes.
func (p *pass) look(ctx context.Context) error {
	var clusters v1alpha1.BindClusterList
	if err := p.cfg.Client.List(ctx, &clusters, client.InNamespace(p.vip.Namespace)); err != nil {
		return fmt.Errorf("BindClusters of namespace %s: %w", p.vip.Namespace, err)
	}
	p.facts = vipobject.Facts{VIP: p.vip, Uses: vipobject.Uses(p.vip.Name, clusters.Items), Enabled: p.cfg.FrontNamespace != ""}
	var nodes corev1.NodeList
	if err := p.cfg.Client.List(ctx, &nodes); err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	gate, pick := resources.Gate(p.vip), labels.SelectorFromSet(p.vip.Spec.NodeSelector)
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Labels[gate] != "" {
			p.gated = append(p.gated, n)
		}
		if pick.Matches(labels.Set(n.Labels)) {
			p.selected = append(p.selected, n)
			p.facts.Nodes = append(p.facts.Nodes, vipobject.Node{Name: n.Name, Labelled: n.Labels[gate] == resources.GateOpen})
		}
	}
	slices.SortFunc(p.selected, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.facts.Nodes, func(a, b vipobject.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, u := range p.facts.Uses {
		i := slices.IndexFunc(clusters.Items, func(c v1alpha1.BindCluster) bool { return c.Name == u.Cluster })
		p.paused = p.paused || clusters.Items[i].Spec.Paused
		if len(p.facts.Uses) == 1 && p.facts.Enabled {
			return p.fronts(ctx, resources.Input{Cluster: &clusters.Items[i], Settings: resources.Settings{FrontNamespace: p.cfg.FrontNamespace}}, u.Exposure)
		}
	}
	return nil
}

// fronts sees the pods, and what they have said.
func (p *pass) fronts(ctx context.Context, in resources.Input, exposure string) error {
	name := client.ObjectKey{Namespace: p.cfg.FrontNamespace, Name: in.VIPLease(exposure)}
	var set appsv1.DaemonSet
	if err := p.cfg.Client.Get(ctx, name, &set); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("DaemonSet %s: %w", name, err)
	}
	p.guarded = set.Spec.Template.Spec.NodeSelector[resources.Gate(p.vip)] != ""
	var pods corev1.PodList
	if err := p.cfg.Live.List(ctx, &pods, client.InNamespace(name.Namespace), client.MatchingLabels(in.VIPSelector(exposure))); err != nil {
		return fmt.Errorf("fronts of VirtualIP %s/%s: %w", p.vip.Namespace, p.vip.Name, err)
	}
	var lease coordinationv1.Lease
	if err := p.cfg.Client.Get(ctx, name, &lease); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("Lease %s: %w", name, err)
	}
	said := p.listen(words(lease.Annotations))
	known := map[string]bool{}
	for i := range p.facts.Nodes {
		n := &p.facts.Nodes[i]
		known[resources.FrontOf(n.Name)] = true
		for j := range pods.Items {
			if pod := &pods.Items[j]; pod.Spec.NodeName == n.Name && pod.DeletionTimestamp.IsZero() || pod.Spec.NodeName == n.Name && n.Front == nil {
				n.Front = front(pod)
			}
		}
		if s, ok := said[resources.FrontOf(n.Name)]; ok {
			n.Said = &s
		}
	}
	return p.prune(ctx, &lease, known)
}

// front is a pod's state in words.
func front(pod *corev1.Pod) *vipobject.Front {
	f := &vipobject.Front{}
	for _, c := range pod.Status.Conditions {
		f.Ready = f.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			f.Message = strings.TrimSuffix(fmt.Sprintf("pod %s: %s: %s", pod.Name, w.Reason, w.Message), ": ")
		}
	}
	if !pod.DeletionTimestamp.IsZero() {
		f.Message = "pod " + pod.Name + " ends"
	}
	return f
}

// listen notes when each front has said something new.
func (p *pass) listen(now map[string]announce.State) map[string]vipobject.Said {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, at := map[string]vipobject.Said{}, p.cfg.Now()
	for name, s := range now {
		h, ok := p.memory.heard[name]
		if !ok || h.state != s {
			if !ok || h.state.VRRP != s.VRRP || !h.state.Since.Equal(s.Since) {
				h.began = at
			}
			h.state, h.at = s, at
			p.memory.heard[name] = h
		}
		out[name] = vipobject.Said{State: s, Heard: h.at, Began: h.began, Stale: at.Sub(h.at) > p.cfg.Silence}
	}
	for name := range p.memory.heard {
		if _, ok := now[name]; !ok {
			delete(p.memory.heard, name)
		}
	}
	return out
}

// prune takes away what fronts of nodes have said that are gone: nodes come and go, and an object has a limited size.
func (p *pass) prune(ctx context.Context, lease *coordinationv1.Lease, known map[string]bool) error {
	old := lease.DeepCopy()
	for key := range lease.Annotations {
		if name, ok := strings.CutPrefix(key, announce.Annotation); ok && !known[name] {
			delete(lease.Annotations, key)
		}
	}
	if len(old.Annotations) == len(lease.Annotations) || p.paused {
		return nil
	}
	if err := p.cfg.Client.Patch(ctx, lease, client.MergeFrom(old)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("Lease %s/%s: %w", lease.Namespace, lease.Name, err)
	}
	return nil
}

// network is what was found below the nodes, and when to look again.
type network struct {
	asked    string // digest of what was asked for
	next     time.Time
	failures int
	found    *vipobject.Network
}

// below has the network let the addresses through, and notes what there is. What goes wrong there is a condition and no error of the pass.
func (p *pass) below(ctx context.Context) error {
	if p.vip.Spec.OpenStack == nil {
		p.memory.network = network{}
		if p.paused {
			return nil
		}
		return lookup.LetGo(ctx, p.cfg.Client, Kind, Finalizer, p.vip) // others own the network now
	}
	d, err := p.desired(ctx)
	if err != nil {
		p.facts.Network = &vipobject.Network{Unreachable: true, Reason: v1alpha1.ReasonNoSuchSecret, Message: err.Error()}
		return nil //nolint:nilerr // it is in the condition
	}
	if p.paused {
		d.Verify = true
	} else if err := lookup.Keep(ctx, p.cfg.Client, Kind, Finalizer, p.vip); err != nil {
		return err
	}
	m := &p.memory.network
	asked, now := fingerprint(d), p.cfg.Now()
	if m.found == nil || m.asked != asked || !now.Before(m.next) {
		p.ask(ctx, d, asked)
	}
	p.facts.Network = m.found
	return nil
}

// ask asks the network, and says when to ask again: after failures less and less often, and not at the same time as others.
func (p *pass) ask(ctx context.Context, d Desired, asked string) {
	m := &p.memory.network
	ctx, cancel := context.WithTimeout(ctx, p.cfg.NetworkTimeout)
	defer cancel()
	found, err := p.cfg.Network.Reconcile(ctx, d)
	if found == nil {
		found = &vipobject.Network{Unreachable: true}
	}
	if err != nil {
		m.failures++
		found.Done = false
		found.Message = err.Error()
		if m.found != nil && found.Unreachable && found.Nodes == nil {
			found.Pending, found.FloatingAddresses = m.found.Pending, m.found.FloatingAddresses // as it was last
		}
		p.cfg.Logger.Warn("the network below the nodes", "vip", client.ObjectKeyFromObject(p.vip).String(), "failures", m.failures, "err", err)
	} else {
		m.failures = 0
	}
	wait := p.cfg.NetworkEvery
	for range min(m.failures, 10) {
		wait = min(2*wait, p.cfg.NetworkLongest)
	}
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) //nolint:gosec // spreads load, and guards nothing
	m.asked, m.found, m.next = asked, found, p.cfg.Now().Add(wait)
}

// desired is what the network shall be.
func (p *pass) desired(ctx context.Context) (Desired, error) {
	o := p.vip.Spec.OpenStack
	d := Desired{VIP: p.vip, Nodes: p.selected, Verify: o.Management != v1alpha1.ManagementManage}
	name := client.ObjectKey{Namespace: p.vip.Namespace, Name: o.Cloud.Name}
	var s corev1.Secret
	err := p.cfg.Live.Get(ctx, name, &s)
	if apierrors.IsNotFound(err) {
		return d, fmt.Errorf("there is no Secret %s; create it with the credentials for OpenStack", name)
	}
	if err != nil {
		return d, fmt.Errorf("Secret %s: %w", name, err)
	}
	d.Credentials = s.Data
	return d, nil
}

// fingerprint tells two wishes apart. It shows nothing of the credentials.
func fingerprint(d Desired) string {
	type node struct{ name, provider, addresses string }
	var nodes []node
	for _, n := range d.Nodes {
		nodes = append(nodes, node{n.Name, n.Spec.ProviderID, fmt.Sprint(n.Status.Addresses)})
	}
	credentials, _ := json.Marshal(d.Credentials) // a map of octets can always be written
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %v %v %v %x", d.VIP.Generation, d.Verify, d.Remove, nodes, sha256.Sum256(credentials)))
	return hex.EncodeToString(sum[:])
}

// gate lets fronts in where the network is open.
func (p *pass) gate(ctx context.Context) error {
	if p.paused {
		return nil
	}
	open := vipobject.Gate(p.facts.Nodes, p.facts.Network)
	for i := range p.facts.Nodes {
		n := &p.facts.Nodes[i]
		want, decided := open[n.Name]
		if !decided || want == n.Labelled {
			continue
		}
		if err := p.label(ctx, p.selected[i], want); err != nil {
			return err
		}
		n.Labelled = want
		p.cfg.Logger.Info("the gate of a node", "vip", client.ObjectKeyFromObject(p.vip).String(), "node", n.Name, "open", want)
	}
	for _, n := range p.gated {
		chosen := slices.ContainsFunc(p.selected, func(s *corev1.Node) bool { return s.Name == n.Name })
		// Without the section about a network the fronts' DaemonSet has to lose the gate first, or they would all go.
		if !chosen || p.vip.Spec.OpenStack == nil && !p.guarded {
			if err := p.label(ctx, n, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// label opens or closes a node's gate.
func (p *pass) label(ctx context.Context, n *corev1.Node, open bool) error {
	next := n.DeepCopy()
	if open {
		if next.Labels == nil {
			next.Labels = map[string]string{}
		}
		next.Labels[resources.Gate(p.vip)] = resources.GateOpen
	} else {
		delete(next.Labels, resources.Gate(p.vip))
	}
	if err := p.cfg.Client.Patch(ctx, next, client.MergeFrom(n)); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("label %s of node %s: %w", resources.Gate(p.vip), n.Name, err)
	}
	return nil
}

// report writes status, tells of transitions, and says when to look again.
func (p *pass) report(ctx context.Context) (ctrl.Result, error) {
	old := p.vip.DeepCopy()
	now, m := p.cfg.Now(), p.memory
	if m.holder == "" {
		m.holder = old.Status.Holder // as an operator before this one saw it
	}
	p.facts.Last, p.facts.Taken = m.holder, m.taken
	p.facts.Moving = !m.held.IsZero() && now.Sub(m.held) < p.cfg.Moving
	result := vipobject.Judge(p.facts)
	next := result.Status
	moved := m.holder != "" && next.Holder != "" && next.Holder != m.holder
	before := m.holder
	if next.Holder != "" {
		m.held = now
		if next.Holder != before || m.taken.IsZero() {
			m.holder, m.taken = next.Holder, now
		}
	}
	next.Conditions, next.ObservedGeneration = p.vip.Status.Conditions, p.vip.Generation
	if p.vip.Spec.OpenStack == nil {
		next.Conditions = slices.DeleteFunc(next.Conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionNetworkReady })
	}
	first := len(next.Conditions) == 0
	summary, transitions := conditions.Set(&next.Conditions, p.vip.Generation, now, result.Healthy, result.Findings...)
	next.Summary = summary
	if p.paused {
		next.Summary += " (paused: the operator changes nothing)"
	}
	p.vip.Status = next
	there, err := lookup.WriteStatus(ctx, p.cfg.Client, old, p.vip)
	if err != nil || !there {
		return ctrl.Result{}, err
	}
	lookup.Tell(p.cfg.Recorder, p.vip, first, transitions)
	if moved {
		p.cfg.Recorder.Eventf(p.vip, nil, corev1.EventTypeNormal, "HolderChanged", "Reconcile", "node %s has the addresses, node %s had them", next.Holder, before)
	}
	p.metrics.show(p.vip, moved)
	if p.facts.Moving && next.Holder == "" {
		return ctrl.Result{RequeueAfter: p.cfg.Moving / 5}, nil
	}
	return ctrl.Result{RequeueAfter: p.cfg.Look}, nil
}

// finalize has the network forget the VirtualIP, and lets it go.
func (p *pass) finalize(ctx context.Context) (ctrl.Result, error) {
	for _, n := range p.gated {
		if err := p.label(ctx, n, false); err != nil {
			return ctrl.Result{}, err
		}
	}
	again, err := lookup.Deletion{
		Client: p.cfg.Client, Recorder: p.cfg.Recorder, Logger: p.cfg.Logger, Now: p.cfg.Now, Kind: Kind, Finalizer: Finalizer,
		What: "what OpenStack has of the VirtualIP", Done: "Removed", Doing: "removed",
		Left: "stays there, because OpenStack", Remedy: "remove it with: zonekeeper openstack gc",
	}.Finalize(ctx, p.vip, p.removal())
	if again {
		return ctrl.Result{RequeueAfter: p.cfg.Look}, nil
	}
	return ctrl.Result{}, err
}

// removal is nil where others own the network: nothing there is ours.
func (p *pass) removal() func(context.Context) error {
	if p.vip.Spec.OpenStack == nil || p.vip.Spec.OpenStack.Management != v1alpha1.ManagementManage {
		return nil
	}
	return func(ctx context.Context) error {
		d, err := p.desired(ctx)
		if err != nil {
			return err
		}
		d.Remove, d.Nodes = true, nil
		ctx, cancel := context.WithTimeout(ctx, p.cfg.NetworkTimeout)
		defer cancel()
		_, err = p.cfg.Network.Reconcile(ctx, d)
		return err
	}
}

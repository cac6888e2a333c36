package resources

import (
	"path"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// stopGrace is how long primaries and secondaries have to stop, in seconds: stop_grace of the configuration and some for named.
const stopGrace = 30

// configPath is where a pod finds its own configuration: its name says which.
func configPath() string { return path.Join(pathConfig, "$(POD_NAME).json") }

// primaries adds what primaries are.
func (b *builder) primaries() error {
	name := b.PrimaryName()
	files, restart, err := b.primaryFiles()
	if err != nil {
		return err
	}
	p, secrets := b.Cluster.Spec.Primaries, b.secrets()
	ports := []corev1.ContainerPort{
		{Name: "dns", ContainerPort: portDNS, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", ContainerPort: portDNS, Protocol: corev1.ProtocolTCP},
		{Name: "front", ContainerPort: portFront, Protocol: corev1.ProtocolUDP}, {Name: "front-tcp", ContainerPort: portFront, Protocol: corev1.ProtocolTCP},
		{Name: "admin", ContainerPort: portAdmin, Protocol: corev1.ProtocolTCP},
	}
	if !b.external() {
		ports = append(ports, corev1.ContainerPort{Name: "log-client", ContainerPort: portLogClient, Protocol: corev1.ProtocolTCP},
			corev1.ContainerPort{Name: "log-peer", ContainerPort: portLogPeer, Protocol: corev1.ProtocolTCP})
	}
	named := scratch("named", pathNamed, corev1.StorageMediumMemory)
	if !p.NamedMemory.IsZero() {
		named.EmptyDir.SizeLimit = ptr(p.NamedMemory)
	}
	spec := b.podSpec(role{
		component: ComponentPrimary, bind: true, grace: stopGrace, ports: ports, resources: p.Resources,
		config: configPath(), arguments: []string{"primary", "--config", configPath()},
		live: []string{"probe"}, ready: []string{"probe", "--ready"},
		volumes: []volume{data(), named, configVolume(name), secretVolume("cluster-key", secrets.clusterKey, pathClusterKey),
			secretVolume("tls", secrets.primaryTLS, pathTLS), secretVolume("log-tls", secrets.logTLS, pathLogTLS),
			secretVolume("front-key", secrets.frontKey, pathFrontKey)},
	}, name)
	place(&spec, p.Placement, b.Selector(ComponentPrimary))

	b.add(b.account(name, ComponentPrimary))
	b.add(b.configMap(name, ComponentPrimary, files))
	b.add(b.headless(name, ComponentPrimary, ports))
	b.add(b.budget(name, ComponentPrimary, policyv1.IfHealthyBudget))
	set := b.statefulSet(name, ComponentPrimary, int32(b.State.Members), spec, restart, p.Storage) //nolint:gosec // at most 5
	if b.LogTrust != "" {
		set.Spec.Template.Annotations = with(set.Spec.Template.Annotations, annotationLogTrust, b.LogTrust)
	}
	// Partition is moved by who looks whether the last one that changed is well; without him nothing more changes.
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr(int32(b.State.Partition))} //nolint:gosec // at most 5
	b.add(set)
	return nil
}

// secondaries adds what secondaries are.
func (b *builder) secondaries() error {
	name := b.SecondaryName()
	files, restart, err := b.secondaryFiles()
	if err != nil {
		return err
	}
	s, secrets := b.Cluster.Spec.Secondaries, b.secrets()
	ports := []corev1.ContainerPort{
		{Name: "dns", ContainerPort: portDNS, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", ContainerPort: portDNS, Protocol: corev1.ProtocolTCP},
		{Name: "admin", ContainerPort: portAdmin, Protocol: corev1.ProtocolTCP},
	}
	spec := b.podSpec(role{
		component: ComponentSecondary, bind: true, grace: stopGrace, ports: ports, resources: s.Resources,
		config: configPath(), arguments: []string{"secondary", "--config", configPath()},
		live: []string{"probe"}, ready: []string{"probe", "--ready"},
		volumes: []volume{data(), configVolume(name), secretVolume("tls", secrets.secondaryTLS, pathTLS),
			secretVolume("keys", secrets.secondaryKeys, pathKeys)},
	}, name)
	place(&spec, s.Placement, b.Selector(ComponentSecondary))

	b.add(b.account(name, ComponentSecondary))
	b.add(b.configMap(name, ComponentSecondary, files))
	b.add(b.headless(name, ComponentSecondary, ports))
	for i := range int(s.Replicas) {
		b.add(b.secondaryService(i))
	}
	b.add(b.budget(name, ComponentSecondary, policyv1.AlwaysAllow))
	b.add(b.statefulSet(name, ComponentSecondary, s.Replicas, spec, restart, s.Storage))
	return nil
}

func (b *builder) statefulSet(name, component string, replicas int32, spec corev1.PodSpec, restart string, storage v1alpha1.Storage) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: b.meta(name, component),
		Spec: appsv1.StatefulSetSpec{
			ServiceName: name, Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: b.Selector(component)},
			// The first start needs all of them at once, and afterwards nobody waits for another's volume or node.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			// Storage is never deleted because somebody has set a number; the operator removes that of a member which has left.
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType},
			RevisionHistoryLimit: ptr(int32(5)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: b.Labels(component), Annotations: map[string]string{annotationConfig: restart}}, Spec: spec},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{b.claim(storage, component)},
		},
	}
}

func (b *builder) account(name, component string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: b.meta(name, component),
		AutomountServiceAccountToken: ptr(false)}
}

func (b *builder) configMap(name, component string, files map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: b.meta(name, component), Data: files}
}

// budget lets one pod be evicted at a time. unhealthy says about those that are not ready: a primary that is not ready may be a voter all
// the same, whose eviction costs the majority while another one is down.
func (b *builder) budget(name, component string, unhealthy policyv1.UnhealthyPodEvictionPolicyType) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: b.meta(name, component),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr(intstr.FromInt32(1)), UnhealthyPodEvictionPolicy: &unhealthy,
			Selector: &metav1.LabelSelector{MatchLabels: b.Selector(component)},
		},
	}
}

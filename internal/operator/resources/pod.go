package resources

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zonekeeper/zonekeeper/api/v1alpha1"
)

// userID runs everything but VIPs' fronts. It is no account of any image: files belong to it by fsGroup.
const userID = 10053

func ptr[T any](v T) *T { return &v }

// restrictedPod is what the Pod Security Standard "restricted" asks of a pod.
func restrictedPod() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(userID)), RunAsGroup: ptr(int64(userID)), FSGroup: ptr(int64(userID)),
		// Volumes are not walked through at each start: a large zone has many files.
		FSGroupChangePolicy: ptr(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// restrictedContainer is what it asks of a container, and a read-only image.
func restrictedContainer() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// volume is a volume and where the main container has it.
type volume struct {
	corev1.Volume
	path     string
	writable bool
}

func secretVolume(name, secret, at string) volume {
	return volume{path: at, Volume: corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: ptr(int32(0o440))},
	}}}
}

func configVolume(configMap string) volume {
	return volume{path: pathConfig, Volume: corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}},
	}}}
}

// scratch is an empty directory that goes with the pod.
func scratch(name, at string, medium corev1.StorageMedium) volume {
	return volume{path: at, writable: true, Volume: corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium},
	}}}
}

// role is what tells the pods of one component from others.
type role struct {
	component string
	// config is the file that the pod reads; $(POD_NAME) and $(NODE_NAME) are replaced by the kubelet, as in arguments of the program.
	config    string
	arguments []string
	live      []string // arguments that ask whether it lives, where nothing is replaced
	ready     []string
	ports     []corev1.ContainerPort
	volumes   []volume
	resources corev1.ResourceRequirements
	// bind: the pod has a named.
	bind bool
	// grace is how long an orderly stop takes at most, in seconds.
	grace int64
}

// podSpec is a pod that fulfils "restricted".
func (in Input) podSpec(r role, account string) corev1.PodSpec {
	images := in.Cluster.Spec.Images
	program, image := "zonekeeper", in.image()
	r.volumes = append(r.volumes, scratch("tmp", "/tmp", corev1.StorageMediumMemory))
	var install []corev1.Container
	if r.bind && images.Bind != "" {
		v := scratch("program", pathProgram, "")
		v.writable = false
		r.volumes = append(r.volumes, v)
		program, image = path.Join(pathProgram, "zonekeeper"), images.Bind
		install = []corev1.Container{{
			Name: "install", Image: in.image(), ImagePullPolicy: images.PullPolicy,
			Command: []string{"zonekeeper", "install", pathProgram}, SecurityContext: restrictedContainer(), Resources: r.resources,
			VolumeMounts: []corev1.VolumeMount{{Name: "program", MountPath: pathProgram}},
		}}
	}
	c := corev1.Container{
		Name: r.component, Image: image, ImagePullPolicy: images.PullPolicy,
		Command: append([]string{program}, r.arguments...),
		Env: []corev1.EnvVar{
			{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
			{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}}},
			// For probes, in whose commands the kubelet replaces nothing that it learns from the pod.
			{Name: "ZONEKEEPER_CONFIG", Value: r.config},
		},
		Ports: r.ports, Resources: r.resources, SecurityContext: restrictedContainer(),
		// Slow enough to cost little, as each one starts a process. Who sends requests finds out by himself, and sooner.
		LivenessProbe: &corev1.Probe{
			ProbeHandler:        corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: append([]string{program}, r.live...)}},
			InitialDelaySeconds: 10, PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6,
		},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: append([]string{program}, r.ready...)}},
			PeriodSeconds: 5, TimeoutSeconds: 5, FailureThreshold: 2,
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	spec := corev1.PodSpec{
		ServiceAccountName: account, AutomountServiceAccountToken: ptr(false), EnableServiceLinks: ptr(false),
		SecurityContext: restrictedPod(), TerminationGracePeriodSeconds: ptr(r.grace), InitContainers: install,
	}
	for _, v := range r.volumes {
		if v.VolumeSource != (corev1.VolumeSource{}) { // else it is of a volumeClaimTemplate
			spec.Volumes = append(spec.Volumes, v.Volume)
		}
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: v.path, ReadOnly: !v.writable})
	}
	spec.Containers = []corev1.Container{c}
	for _, s := range images.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s.Name})
	}
	return spec
}

// place adds where the pods that selector picks may run.
func place(spec *corev1.PodSpec, p v1alpha1.Placement, selector map[string]string) {
	spec.NodeSelector, spec.Tolerations, spec.PriorityClassName = p.NodeSelector, tolerations(p.Tolerations), p.PriorityClassName
	term := corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: selector}, TopologyKey: corev1.LabelHostname}
	switch p.Nodes {
	case v1alpha1.SpreadRequired:
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
	case v1alpha1.SpreadPreferred:
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: term}}}}
	case v1alpha1.SpreadIgnored:
	}
	zones := corev1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, LabelSelector: &metav1.LabelSelector{MatchLabels: selector}}
	switch p.Zones {
	case v1alpha1.SpreadRequired:
		zones.WhenUnsatisfiable = corev1.DoNotSchedule
	case v1alpha1.SpreadPreferred:
		zones.WhenUnsatisfiable = corev1.ScheduleAnyway
	case v1alpha1.SpreadIgnored:
		return
	}
	spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{zones}
}

func tolerations(l []v1alpha1.Toleration) []corev1.Toleration {
	var out []corev1.Toleration
	for _, t := range l {
		out = append(out, corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	return out
}

// claimName of the volume claim template; the claims' names begin with it.
const claimName = "data"

// claim is the volume of each pod of a StatefulSet.
func (in Input) claim(s v1alpha1.Storage, component string) corev1.PersistentVolumeClaim {
	c := corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: claimName, Labels: in.Selector(component)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:  ptr(corev1.PersistentVolumeFilesystem),
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: s.Size}},
		},
	}
	if s.StorageClassName != "" {
		c.Spec.StorageClassName = &s.StorageClassName
	}
	return c
}

// data is the mount of claim.
func data() volume {
	return volume{Volume: corev1.Volume{Name: claimName}, path: pathData, writable: true}
}

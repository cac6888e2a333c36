package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScheduledBackup stores the state of a BindCluster (all zones with their history, settings and sealed keys) again and again, where the
// cluster's spec.backup says. Restoring needs the cluster key as well: keep the Secret that has it somewhere else.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=zkbackup,categories=zonekeeper
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name="Schedule",type=string,JSONPath=`.spec.schedule`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastSuccess`
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.clusterRef.name`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.summary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ScheduledBackup struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what you want.
	Spec ScheduledBackupSpec `json:"spec"`
	// status is what there is; the operator writes it.
	// +optional
	Status ScheduledBackupStatus `json:"status,omitzero"`
}

// ScheduledBackupList is a list of ScheduledBackups.
//
// +kubebuilder:object:root=true
type ScheduledBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScheduledBackup `json:"items"`
}

// ScheduledBackupSpec is what a ScheduledBackup shall be.
type ScheduledBackupSpec struct {
	// clusterRef is a BindCluster in the same namespace.
	ClusterRef LocalReference `json:"clusterRef"`

	// schedule in the form of cron: minute, hour, day of the month, month, day of the week. 0 3 * * * is each day at 3:00.
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9*/,-]+ [0-9*/,-]+ [0-9*/,-]+ [0-9*/,A-Za-z-]+ [0-9*/,A-Za-z-]+$')",messageExpression="'schedule \"' + self + '\" is not five fields of cron; write it as \"0 3 * * *\" for each day at 3:00'"
	Schedule string `json:"schedule"`

	// timeZone of the schedule, such as Europe/Berlin.
	// +optional
	// +kubebuilder:default="Etc/UTC"
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// suspend makes no backups; what is stored stays.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// keep is how many backups of this object are stored; older ones are deleted after a new one is complete.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Keep int32 `json:"keep,omitempty"`
}

// ScheduledBackupStatus is what a ScheduledBackup is.
type ScheduledBackupStatus struct {
	// observedGeneration is the generation of spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// summary says in one line whether backups succeed, and if not, what to do.
	// +optional
	Summary string `json:"summary,omitempty"`
	// conditions: Ready is True while the newest backup is no older than two periods of the schedule.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// lastSuccess is when the newest stored backup was begun.
	// +optional
	LastSuccess *metav1.Time `json:"lastSuccess,omitempty"`
	// lastObject is its name in the bucket.
	// +optional
	LastObject string `json:"lastObject,omitempty"`
	// next is when the next one begins.
	// +optional
	Next *metav1.Time `json:"next,omitempty"`
	// stored is the number of backups of this object.
	// +optional
	Stored int32 `json:"stored,omitempty"`
}

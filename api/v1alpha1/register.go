package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of all types of this package, and the prefix of labels and annotations.
const Group = "dns.zonekeeper.io"

// GroupVersion names this package's version of the group.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha1"}
}

// AddToScheme makes the types known to s.
func AddToScheme(s *runtime.Scheme) error {
	gv := GroupVersion()
	s.AddKnownTypes(gv,
		&BindCluster{}, &BindClusterList{},
		&Zone{}, &ZoneList{},
		&TSIGKey{}, &TSIGKeyList{},
		&VirtualIP{}, &VirtualIPList{},
		&ScheduledBackup{}, &ScheduledBackupList{},
	)
	metav1.AddToGroupVersion(s, gv)
	return nil
}

// Package v1alpha1 is the vocabulary of ZoneKeeper's objects in Kubernetes: the
// types of API group dns.zonekeeper.io, without logic.
//
// The comments of types and fields are what "kubectl explain" prints; the markers
// become the CustomResourceDefinitions of the chart. After a change run: make generate
//
// Rules that compare fields are CEL expressions at the type that holds them. Their
// messages name the value and the remedy.
//
// +kubebuilder:object:generate=true
// +groupName=dns.zonekeeper.io
package v1alpha1

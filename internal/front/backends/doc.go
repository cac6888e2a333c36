// Package backends says where the primaries are: a fixed list, the addresses of a DNS name, or the EndpointSlices of a Kubernetes
// Service.
//
// A [Source] never reports an empty list. When DNS or Kubernetes has none, or does not answer, the last list stays in use, because
// somebody's mistake or failure there must not take the address out of service, and the checks judge each primary anyway.
package backends

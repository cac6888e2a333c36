// Package resources decides of which Kubernetes objects a BindCluster consists: a pure function from the cluster, and what is known about
// it, to objects that are ready for server-side apply.
//
// It promises:
//
//   - The same input gives the same objects: no clock, network, randomness or secret goes in. Secrets are named here and made elsewhere.
//   - Pods restart only for what they read at their start. What they look at again while they run (certificates, the fronts' lists) and what
//     only a member with an empty disk reads leave the pod template alone.
//   - Every pod fulfils the Pod Security Standard "restricted", but for fronts of VIPs, which live in a namespace of their own.
//   - Every configuration is one that the program of this version accepts, and says only what differs from the program's defaults: a program of
//     another version refuses fields that it does not know.
//
// The reasons are in docs/adr/0006-kubernetes.md.
package resources

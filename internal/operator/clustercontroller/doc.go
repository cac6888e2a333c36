// Package clustercontroller makes BindClusters what their specs say: it looks, has package bindcluster decide, carries that out, and says in status
// what there is.
//
// It promises:
//
//   - Every pass begins with what the API server and the primaries say now. A pass that was cut off anywhere is finished by the next one.
//   - Objects are applied by server-side apply, and deleted only when they carry its labels and the cluster no longer consists of them. Claims
//     are deleted for a member that has left, or for a cluster whose policy says so; never otherwise.
//   - Secrets with key material are made once. An entry is written again only when its certificate is due.
//   - Nothing is asked of a cluster that is being deleted, so no deletion waits for it.
//   - Events tell of transitions, never of states.
//
// What is decided is pure and in files of its own (state, secrets, registry, conditions); what is done calls it.
package clustercontroller

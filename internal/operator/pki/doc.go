// Package pki issues the certificates of a BindCluster and says when one is due: CAs with keys of their own, and what they sign.
//
// It promises:
//
//   - A certificate that is good is left alone: the same input at the same time is due or not due, whoever asks.
//   - A CA is renewed with its key, so that what it has signed is trusted before and after by whoever knows either certificate.
//   - Leaves get a new key each time.
//
// It knows nothing of Kubernetes, and the time is its caller's.
package pki

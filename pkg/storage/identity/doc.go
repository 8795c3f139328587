// Package identity makes sure that the server answers from the storage that it has always answered from.
//
// The garbage collector of the cluster deletes the children of an owner that answers 404, or answers with another UID, even once.
// A storage that was wiped, exchanged or rolled back would so delete live workloads. A key in the storage and a ConfigMap in the
// cluster therefore hold the same id and number, and while they do not agree nothing is answered but 503.
package identity

// Package leader elects one of several processes by a Lease, and keeps the writes of the others from leaving.
package leader

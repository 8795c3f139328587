// Package embedded runs etcd inside the process, for a server of one replica.
package embedded

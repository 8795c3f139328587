// Package integration tests the API over HTTP: the server runs in process on its embedded etcd, without a host cluster.
package integration

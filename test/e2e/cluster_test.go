package e2e

import (
	"context"
	"os"
	"testing"

	"elasticweb.example.com/test/cluster"
)

const (
	limit = cluster.Limit
	root  = cluster.Root
)

// shared is the local cluster of all tests; each one works in a namespace of its own.
var shared *cluster.Cluster

func TestMain(m *testing.M) {
	os.Exit(cluster.Run(m, func(c *cluster.Cluster) { shared = c }))
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return shared.Kubectl(t, args...)
}

func tryKubectl(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return shared.TryKubectl(t, stdin, args...)
}

func namespace(t *testing.T) string {
	t.Helper()
	return shared.Namespace(t)
}

func eventually(t *testing.T, what string, condition func(context.Context) (ok bool, now string)) {
	t.Helper()
	cluster.Eventually(t, what, condition)
}

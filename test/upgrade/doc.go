// Package upgrade tests that what earlier releases have left behind is taken over. testdata has a folder for each closed issue, which
// hack/upgrade-testdata.sh has made: a snapshot of the etcd, the objects as they were served, and the manifests.
package upgrade

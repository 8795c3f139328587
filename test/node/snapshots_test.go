package node

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elasticweb.example.com/test/cluster"
)

var freezeFile = filepath.Join(cluster.Root, "artifacts", "deploy", "freeze.yaml")

// What was saved is restored on a new volume, as docs/operating.md says, while the service is used.
func TestABackupIsRestored(t *testing.T) {
	if !long {
		t.Skip("long form only")
	}
	t.Cleanup(func() { undeploy(t) })
	ns, used := sampleInUse(t)
	before := uids(t, ns)
	time.Sleep(15 * time.Second)
	snapshot := saveEmbedded(t)
	theScheduledCanBeHad(t)
	node.Kubectl(t, "delete", "statefulset", "-n", "elasticweb-system", "elasticweb-apiserver", "--cascade=foreground", "--timeout=60s")
	node.Kubectl(t, "delete", "persistentvolumeclaim", "-n", "elasticweb-system", "data-elasticweb-apiserver-0", "--timeout=60s")
	apply(t, withOurImages(t, filepath.Join(cluster.Root, "artifacts", "deploy", "base-restore")))
	give(t, snapshot, "elasticweb-system", "elasticweb-apiserver-0")
	deploy(t)
	nothingIsLost(t, ns, before, used)
}

// From one replica with an embedded etcd to two with one that they share, the way that docs/operating.md describes, while the service is used.
func TestGrowingToTwoReplicas(t *testing.T) {
	if !long {
		t.Skip("long form only")
	}
	cleanUpBoth(t)
	ns, used := sampleInUse(t)
	before := uids(t, ns)

	makeCertificates(t)
	// Or nothing could be deleted, if we fail.
	t.Cleanup(func() { node.Kubectl(t, "delete", "--ignore-not-found", "-f", freezeFile) })
	node.Kubectl(t, "apply", "-f", freezeFile)
	cluster.Eventually(t, "writes to be refused", func(context.Context) (bool, string) {
		_, errors, err := node.TryKubectl(t, "", "annotate", "ew", "-n", ns, "elasticweb-sample", "a=b", "--dry-run=server")
		return err != nil && strings.Contains(errors, "being moved to another storage"), errors
	})
	// The identity of the storage follows within ten seconds.
	time.Sleep(15 * time.Second)
	snapshot := saveEmbedded(t)
	if output, err := makeTarget(t, "deploy", "IMG="+serverImage, "OVERLAY=ha"); err == nil || !strings.Contains(output, "docs/operating.md") {
		t.Errorf("two servers on two storages: %v\n%s", err, output)
	}
	node.Kubectl(t, "delete", "statefulset", "-n", "elasticweb-system", "elasticweb-apiserver", "--cascade=foreground", "--timeout=60s")
	apply(t, withOurImages(t, etcdFolder+"-restore"))
	for i := range 3 {
		give(t, snapshot, "elasticweb-etcd", fmt.Sprintf("elasticweb-etcd-%d", i))
	}
	etcdIsReady(t)
	deploy(t, "OVERLAY=ha")
	apply(t, withOurImages(t, etcdFolder))
	etcdIsReady(t)
	node.Kubectl(t, "delete", "-f", freezeFile)
	cluster.Eventually(t, "writes to be admitted", func(context.Context) (bool, string) {
		_, errors, err := node.TryKubectl(t, "", "annotate", "ew", "-n", ns, "elasticweb-sample", "a=b", "--dry-run=server")
		return err == nil, errors
	})
	nothingIsLost(t, ns, before, used)
}

// nothingIsLost: the objects are those of before, every request to the service was answered, and the demand is followed.
func nothingIsLost(t *testing.T, ns, before string, used *use) {
	t.Helper()
	awaitReady(t, ns, "elasticweb-sample")
	if after := uids(t, ns); after != before {
		t.Errorf("the objects were %s, and are %s", before, after)
	}
	used.report(t)
	node.Kubectl(t, "patch", "ew", "-n", ns, "elasticweb-sample", "--type=merge", "-p", `{"spec":{"totalQPS":1600}}`)
	awaitReady(t, ns, "elasticweb-sample")
}

// uids are those of an ElasticWeb and all that it has.
func uids(t *testing.T, namespace string) string {
	t.Helper()
	return node.Kubectl(t, "get", "ew,deployments,services,pods", "-n", namespace, "-o", "jsonpath={.items[*].metadata.uid}")
}

func saveEmbedded(t *testing.T) (snapshot string) {
	t.Helper()
	return node.Kubectl(t, "exec", "-n", "elasticweb-system", "elasticweb-apiserver-0", "--", "/elasticweb-apiserver", "snapshot", "save", "-", "--data-dir=/var/lib/elasticweb-apiserver/data")
}

// theScheduledCanBeHad: what the server has saved by itself comes out of its volume, whole.
func theScheduledCanBeHad(t *testing.T) {
	t.Helper()
	snapshot := func(args ...string) string {
		return node.Kubectl(t, append([]string{"exec", "-n", "elasticweb-system", "elasticweb-apiserver-0", "--", "/elasticweb-apiserver", "snapshot"}, args...)...)
	}
	files := strings.Fields(snapshot("list", "/var/lib/elasticweb-apiserver/snapshots"))
	if len(files) == 0 {
		t.Fatal("none was saved")
	}
	command := exec.CommandContext(t.Context(), filepath.Join(cluster.Root, "bin", "elasticweb-apiserver"), "snapshot", "restore", "-", "--data-dir="+t.TempDir())
	command.Stdin = strings.NewReader(snapshot("cat", files[0]))
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("restore %s: %v\n%s", files[0], err, output)
	}
}

// give gives a Pod the snapshot that it waits for.
func give(t *testing.T, snapshot, namespace, pod string) {
	t.Helper()
	cluster.Eventually(t, pod+" to wait for its snapshot", func(context.Context) (bool, string) {
		now, errors, _ := node.TryKubectl(t, "", "get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.initContainerStatuses[0].state}")
		return strings.Contains(now, "running"), now + errors
	})
	if output, errors, err := node.TryKubectl(t, snapshot, "attach", "-n", namespace, pod, "-c", "restore", "-i"); err != nil {
		t.Fatalf("%v\n%s%s", err, output, errors)
	}
}

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// sample is the README's, with an image that this Node has.
func sample(t testing.TB, namespace string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root, "artifacts", "example", "elasticweb-sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("nginx:1.17.1", "localhost/web:v1", "namespace: dev", "namespace: "+namespace).Replace(string(text))
}

// The whole of what a user does: deploy, apply the sample, see it answer, change it while it is used, delete it, take the server out.
func TestTheSampleIsServed(t *testing.T) {
	deploy(t)
	nothingDiffers(t, "base")
	ns := node.Namespace(t)
	apply(t, sample(t, ns))
	awaitReady(t, ns, "elasticweb-sample")
	t.Logf("\n%s", node.Kubectl(t, "get", "ew,pods", "-n", ns))

	// kube-proxy chooses at random, from those that it has heard of.
	answered := map[string]int{}
	cluster.Eventually(t, "three Pods to answer", func(ctx context.Context) (bool, string) {
		text, err := answer(ctx, 30003, "/")
		if err == nil {
			answered[text]++
		}
		return len(answered) == 3, fmt.Sprint(answered, err)
	})
	service := fmt.Sprintf("/from-here?url=http://%s:8080/", node.Kubectl(t, "get", "service", "-n", ns, "elasticweb-sample", "-o", "jsonpath={.spec.clusterIP}"))
	if text, err := answer(t.Context(), 30003, service); err != nil || !strings.HasSuffix(text, " v1") {
		t.Errorf("ClusterIP, from a Pod: %q, %v", text, err)
	}

	used := useIt(t, 30003)
	for _, change := range []string{`{"totalQPS":4000}`, `{"image":"localhost/web:v2"}`, `{"totalQPS":1600}`} {
		node.Kubectl(t, "patch", "ew", "-n", ns, "elasticweb-sample", "--type=merge", "-p", `{"spec":`+change+`}`)
		awaitReady(t, ns, "elasticweb-sample")
	}
	used.report(t)
	cluster.Eventually(t, "only the new version to answer", func(ctx context.Context) (bool, string) {
		for range 20 {
			if text, err := answer(ctx, 30003, "/"); err != nil || !strings.HasSuffix(text, " v2") {
				return false, fmt.Sprint(text, err)
			}
		}
		return true, ""
	})

	node.Kubectl(t, "delete", "ew", "-n", ns, "elasticweb-sample", "--cascade=foreground", "--timeout=60s")
	if left := node.Kubectl(t, "get", "deployments,services", "-n", ns, "-o", "name"); left != "" {
		t.Errorf("left: %s", left)
	}
	nothingDiffers(t, "base")
	undeploy(t)
	namespacesComeAndGo(t)
}

// nothingDiffers: whatever the server writes at run time is in none of the manifests.
func nothingDiffers(t testing.TB, overlay string) {
	t.Helper()
	// The image is the only thing that a deployment says.
	manifests := strings.ReplaceAll(node.Kubectl(t, "kustomize", filepath.Join(cluster.Root, "artifacts", "deploy", overlay)), "image: elasticweb-apiserver\n", "image: "+serverImage+"\n")
	if output, errors, err := node.TryKubectl(t, manifests, "diff", "-f", "-"); err != nil || output != "" {
		t.Errorf("kubectl diff: %v\n%s%s", err, output, errors)
	}
}

func undeploy(t testing.TB, variables ...string) {
	t.Helper()
	begin := time.Now()
	if output, err := makeTarget(t, append([]string{"undeploy", "CONFIRM=yes"}, variables...)...); err != nil {
		t.Fatalf("make undeploy: %v\n%s", err, output)
	}
	t.Logf("undeployed after %v", time.Since(begin).Round(100*time.Millisecond))
	for _, kind := range []string{"namespaces", "clusterroles", "clusterrolebindings", "apiservices", "priorityclasses"} {
		for _, left := range strings.Fields(node.Kubectl(t, "get", kind, "-o", "name")) {
			// Not the storage, which is apart.
			if strings.Contains(left, "elasticweb") && !strings.HasSuffix(left, "/elasticweb-etcd") {
				t.Errorf("left: %s", left)
			}
		}
	}
}

// namespacesComeAndGo: an API that nobody serves would keep them. (Complaint 2.)
func namespacesComeAndGo(t testing.TB) {
	t.Helper()
	begin := time.Now()
	node.Kubectl(t, "create", "namespace", "unrelated")
	node.Kubectl(t, "delete", "namespace", "unrelated", "--timeout=60s")
	t.Logf("a namespace is made and deleted within %v", time.Since(begin).Round(100*time.Millisecond))
}

// use is a light stream of requests to an ElasticWeb.
type use struct {
	requests, failed atomic.Int32
	first            sync.Once
	failure          error
	stop             func()
}

func useIt(t testing.TB, port int) *use {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u := &use{}
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			_, err := answer(ctx, port, "/")
			if errors.Is(err, context.Canceled) {
				return
			}
			u.requests.Add(1)
			if err != nil {
				u.failed.Add(1)
				u.first.Do(func() { u.failure = err })
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	u.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(u.stop)
	return u
}

// sampleInUse deploys the server, and returns the namespace of a sample that is ready and used.
func sampleInUse(t testing.TB) (namespace string, used *use) {
	t.Helper()
	deploy(t)
	namespace = node.Namespace(t)
	apply(t, sample(t, namespace))
	awaitReady(t, namespace, "elasticweb-sample")
	awaitAnswer(t, 30003)
	return namespace, useIt(t, 30003)
}

func (u *use) report(t testing.TB) {
	t.Helper()
	u.stop()
	t.Logf("%d requests, %d failed", u.requests.Load(), u.failed.Load())
	if u.failed.Load() > 0 || u.requests.Load() < 50 {
		t.Errorf("%d of %d requests failed, the first: %v", u.failed.Load(), u.requests.Load(), u.failure)
	}
}

// Who takes out everything at once, while there are objects, is not left with a cluster in which nothing can be deleted. (What becomes
// of the workloads is not promised: the garbage collector may take the API that has gone for an owner that has.)
func TestUninstallingInTheWrongOrderHangsNothing(t *testing.T) {
	deploy(t)
	ns := node.Namespace(t)
	apply(t, sample(t, ns))
	awaitReady(t, ns, "elasticweb-sample")
	begin := time.Now()
	node.Kubectl(t, "delete", "-k", filepath.Join(cluster.Root, "artifacts", "deploy", "base"), "--timeout=110s")
	t.Logf("deleted within %v", time.Since(begin).Round(100*time.Millisecond))
	// The one of the objects goes, and so does any other.
	node.Kubectl(t, "delete", "namespace", ns, "--wait=false")
	namespacesComeAndGo(t)
	node.Kubectl(t, "wait", "--for=delete", "namespace/"+ns, "--timeout=60s")
}

// KEEP_WORKLOADS=1 takes out the API, and leaves what it made.
func TestWorkloadsCanBeKept(t *testing.T) {
	deploy(t)
	ns := node.Namespace(t)
	apply(t, sample(t, ns))
	awaitReady(t, ns, "elasticweb-sample")
	output, err := makeTarget(t, "undeploy")
	if err == nil || !strings.Contains(output, "CONFIRM=yes") {
		t.Fatalf("undeploy without a confirmation: %v\n%s", err, output)
	}
	for _, line := range []string{"ElasticWeb " + ns, "Namespace elasticweb-system, with all", "APIService v1.elasticweb", "RoleBinding kube-system/elastic", "PriorityClass elasticweb-api", "StatefulSet elasticweb-system/elastic"} {
		if !strings.Contains(output, "\n  "+line) {
			t.Errorf("undeploy does not say that this will go: %s\n%s", line, output)
		}
	}
	undeploy(t, "KEEP_WORKLOADS=1")
	deployment, err := node.Kube.AppsV1().Deployments(ns).Get(t.Context(), "elasticweb-sample", metav1.GetOptions{})
	if err != nil || len(deployment.OwnerReferences) > 0 || deployment.Status.ReadyReplicas != 3 {
		t.Fatalf("%v: owners %v, %d ready", err, deployment.OwnerReferences, deployment.Status.ReadyReplicas)
	}
	awaitAnswer(t, 30003)
	if _, err := node.Web.ElasticwebV1().ElasticWebs(ns).Get(t.Context(), "elasticweb-sample", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the API is there: %v", err)
	}
}

package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// Two replicas on an etcd cluster of three members with TLS, all from the manifests, while clients read, write and watch through the
// aggregation layer.
func TestTwoReplicas(t *testing.T) {
	cleanUpBoth(t)
	deployEtcd(t)
	deploy(t, "OVERLAY=ha")
	rounds := 1
	if long {
		rounds = 5
	}
	nothingDiffers(t, "ha")
	c := startClients(t)
	t.Run("are rolled out", func(t *testing.T) { c.rollOut(t, rounds) })
	t.Run("of which one is killed", func(t *testing.T) { c.replicaIsKilled(t) })
	t.Run("of which the leader is killed", func(t *testing.T) { c.leaderIsKilled(t) })
	t.Run("on an etcd of which the leader is killed", func(t *testing.T) { c.memberIsKilled(t) })
	c.finish(t)
	c.isBackedUp(t)
}

var long = os.Getenv("LONG") != ""

var etcdFolder = filepath.Join(cluster.Root, "artifacts", "deploy", "etcd")

// cleanUpBoth takes out the server and its etcd when the test has ended, each whatever becomes of the other.
func cleanUpBoth(t *testing.T) {
	t.Helper()
	etcdIsGone(t)
	t.Cleanup(func() { node.Kubectl(t, "delete", "--ignore-not-found", "-k", etcdFolder, "--wait=false") })
	t.Cleanup(func() { undeploy(t, "OVERLAY=ha") })
}

// etcdIsGone waits for what an earlier test has deleted.
func etcdIsGone(t *testing.T) {
	t.Helper()
	node.Kubectl(t, "wait", "--for=delete", "namespace/elasticweb-etcd", "--timeout=60s")
}

// deployEtcd does what docs/operating.md says.
func deployEtcd(t *testing.T) {
	t.Helper()
	begin := time.Now()
	makeCertificates(t)
	apply(t, withOurImages(t, etcdFolder))
	etcdIsReady(t)
	t.Logf("etcd is ready after %v", time.Since(begin).Round(100*time.Millisecond))
}

func etcdIsReady(t *testing.T) {
	t.Helper()
	node.Kubectl(t, "rollout", "status", "-n", "elasticweb-etcd", "statefulset/elasticweb-etcd", "--timeout=60s")
}

func makeCertificates(t *testing.T) {
	t.Helper()
	kubectl, err := filepath.Abs(cluster.KubectlBinary())
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(etcdFolder, "certificates.sh"))
	command.Env = append(node.KubectlEnv(), "KUBECTL="+kubectl)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("certificates.sh: %v\n%s", err, output)
	}
}

// withOurImages are the manifests of a folder, with the images that this Node has instead of the published ones.
func withOurImages(t *testing.T, folder string) string {
	t.Helper()
	manifests := regexp.MustCompile(`image: \S+/etcd:\S+`).ReplaceAllString(node.Kubectl(t, "kustomize", folder), "image: localhost/etcd:local")
	return strings.ReplaceAll(manifests, "image: elasticweb-apiserver\n", "image: "+serverImage+"\n")
}

// rollOut: complaint 9. Nothing fails but what kube-apiserver's proxy lost before it reached a server.
func (c *clients) rollOut(t *testing.T, rounds int) {
	if failures := c.settled(t); len(failures) > 0 {
		t.Fatalf("before anything has happened: %s", failures[0])
	}
	before := c.writes.Load()
	for range rounds {
		old := c.replicas(t)
		begin := time.Now()
		node.Kubectl(t, "rollout", "restart", "-n", "elasticweb-system", "deployment/elasticweb-apiserver")
		node.Kubectl(t, "rollout", "status", "-n", "elasticweb-system", "deployment/elasticweb-apiserver", "--timeout=60s")
		t.Logf("rolled out after %v", time.Since(begin).Round(100*time.Millisecond))
		for _, pod := range old {
			node.Kubectl(t, "wait", "-n", "elasticweb-system", "--for=delete", "pod/"+pod.Name, "--timeout=60s")
		}
		t.Logf("the old ones have ended after %v", time.Since(begin).Round(100*time.Millisecond))
	}
	lost := 0
	for _, failure := range c.settled(t) {
		if failure.lostToGoAway() {
			lost++
			t.Logf("lost to GOAWAY: %s", failure)
		} else {
			t.Errorf("failed: %s", failure)
		}
	}
	writes := c.writes.Load() - before
	// Two stops a round, of which each may hit what is under way at that moment.
	if lost > 2*rounds*objects {
		t.Errorf("%d writes lost", lost)
	}
	t.Logf("%d of %d writes lost to GOAWAY: %d per 100,000", lost, writes, int64(lost)*100_000/max(writes, 1))
}

// replicaIsKilled: whoever was being answered by it has to ask again; nothing else is lost.
func (c *clients) replicaIsKilled(t *testing.T) {
	leader := c.leader(t)
	for _, pod := range c.replicas(t) {
		if pod.Name != leader {
			kill(t, &pod, "elasticweb-apiserver")
		}
	}
	c.told(t, time.Now())
	c.isReconciled(t, 1)
}

func (c *clients) leaderIsKilled(t *testing.T) {
	leader := c.leader(t)
	for _, pod := range c.replicas(t) {
		if pod.Name == leader {
			kill(t, &pod, "elasticweb-apiserver")
		}
	}
	begin := time.Now()
	c.told(t, begin)
	c.isReconciled(t, 2)
	t.Logf("a change is acted upon %v after the leader was killed", time.Since(begin).Round(100*time.Millisecond))
}

func (c *clients) memberIsKilled(t *testing.T) {
	pods, err := node.Kube.CoreV1().Pods("elasticweb-etcd").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	for _, pod := range pods.Items {
		if metrics := node.Kubectl(t, "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:2381/proxy/metrics", pod.Namespace, pod.Name)); strings.Contains(metrics, "\netcd_server_is_leader 1\n") {
			kill(t, &pod, "etcd")
			killed = true
		}
	}
	if !killed {
		t.Fatal("no member of etcd leads")
	}
	c.told(t, time.Now())
	c.isReconciled(t, 3)
}

// isBackedUp: a snapshot of the cluster's etcd leaves the cluster, whole.
func (c *clients) isBackedUp(t *testing.T) {
	const files = "/etc/elasticweb-etcd/"
	snapshot := node.Kubectl(t, "exec", "-n", "elasticweb-system", "deployment/elasticweb-apiserver", "--", "/elasticweb-apiserver", "snapshot", "save", "-",
		"--etcd-servers=https://elasticweb-etcd-0.elasticweb-etcd.elasticweb-etcd.svc:2379", "--etcd-cafile="+files+"ca.crt", "--etcd-certfile="+files+"tls.crt", "--etcd-keyfile="+files+"tls.key")
	restore := exec.CommandContext(t.Context(), filepath.Join(cluster.Root, "bin", "elasticweb-apiserver"), "snapshot", "restore", "-", "--data-dir="+filepath.Join(t.TempDir(), "data"))
	restore.Stdin = strings.NewReader(snapshot)
	if output, err := restore.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// outage is how long requests may fail after something was killed: a restart of the container, and what kube-proxy and etcd's election take.
const outage = 20 * time.Second

// told reports what failed since a moment, once that is over.
func (c *clients) told(t *testing.T, since time.Time) {
	t.Helper()
	failures := c.settled(t)
	verbs := map[string]int{}
	var last time.Duration
	for _, failure := range failures {
		verbs[failure.verb]++
		last = max(last, failure.at.Sub(since))
	}
	t.Logf("failed: %v, the last one %v after it", verbs, last.Round(10*time.Millisecond))
	if last > outage {
		t.Errorf("failures for %v", last)
	}
	if len(failures) > 0 {
		t.Logf("the first: %s", failures[0])
	}
}

// isReconciled waits until one more object, by itself, has as many Pods as it was just asked to have.
func (c *clients) isReconciled(t *testing.T, pods int32) {
	t.Helper()
	node.Kubectl(t, "patch", "ew", "-n", c.namespace, name(0), "--type=merge", "-p", fmt.Sprintf(`{"spec":{"totalQPS":%d}}`, pods*100))
	cluster.Eventually(t, fmt.Sprintf("%d Pods to be asked for", pods), func(ctx context.Context) (bool, string) {
		deployment, err := node.Kube.AppsV1().Deployments(c.namespace).Get(ctx, name(0), metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return *deployment.Spec.Replicas == pods, fmt.Sprint(*deployment.Spec.Replicas)
	})
}

// replicas are the Pods of the server.
func (c *clients) replicas(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := node.Kube.CoreV1().Pods("elasticweb-system").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=elasticweb-apiserver"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 2 {
		t.Fatalf("%d replicas", len(pods.Items))
	}
	return pods.Items
}

// leader is the Pod that leads.
func (c *clients) leader(t *testing.T) string {
	t.Helper()
	holder := node.Kubectl(t, "get", "lease", "-n", "elasticweb-system", "elasticweb-apiserver", "-o", "jsonpath={.spec.holderIdentity}")
	for _, pod := range c.replicas(t) {
		if strings.HasPrefix(holder, pod.Name+"_") {
			return pod.Name
		}
	}
	t.Fatalf("%s leads, which is none of the replicas", holder)
	return ""
}

// kill ends a program of a Pod as a lack of memory does.
func kill(t *testing.T, pod *corev1.Pod, program string) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range groups {
		// Whatever has ended meanwhile is not it.
		text, _ := os.ReadFile(file)
		executable, _ := os.Readlink(filepath.Join(filepath.Dir(file), "exe"))
		if !strings.Contains(string(text), string(pod.UID)) || filepath.Base(executable) != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no process of %s is %s", pod.Name, program)
}

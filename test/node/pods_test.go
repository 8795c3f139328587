package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elasticweb.example.com/test/cluster"
)

// An ElasticWeb whose template adds what the Pod security level restricted asks for runs where that is enforced, with the defaults
// that are ours; and the refusal of one that does not is told.
func TestARestrictedNamespace(t *testing.T) {
	// The server stays: the next test deploys the same, and takes it out.
	deploy(t)
	ns := node.Namespace(t)
	node.Kubectl(t, "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
	web := func(name string, port int, template string) string {
		return fmt.Sprintf(`apiVersion: elasticweb.example.com/v1
kind: ElasticWeb
metadata: {name: %s, namespace: %s}
spec:
  image: localhost/web:v1
  port: %d
  singlePodsQPS: 100
  containerPort: 8080
  template:
    spec:
      %s
      containers:
        - name: web
          env: [{name: ADDRESS, value: ":8080"}]
          securityContext: {capabilities: {drop: [ALL]}}
`, name, ns, port, template)
	}
	apply(t, web("fits", 30011, "securityContext: {runAsNonRoot: true, runAsUser: 65532}"))
	awaitReady(t, ns, "fits")
	if text := awaitAnswer(t, 30011); !strings.HasSuffix(text, " v1") {
		t.Errorf("answered by %q", text)
	}
	apply(t, web("root", 30012, "terminationGracePeriodSeconds: 5"))
	cluster.Eventually(t, "the refusal to be told", func(ctx context.Context) (bool, string) {
		told, err := node.Web.ElasticwebV1().ElasticWebs(ns).Get(ctx, "root", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, condition := range told.Status.Conditions {
			if condition.Type == "Stalled" && strings.Contains(condition.Message, "runAsNonRoot") {
				return true, ""
			}
		}
		return false, fmt.Sprint(told.Status.Conditions)
	})
}

// The only replica is replaced: for how long nobody answers is reported, and what waits for it meanwhile goes on by itself. (Complaint 1.)
func TestTheOnlyReplicaIsReplaced(t *testing.T) {
	t.Cleanup(func() { undeploy(t) })
	ns, used := sampleInUse(t)
	answers := func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := node.Web.ElasticwebV1().ElasticWebs(ns).Get(ctx, "elasticweb-sample", metav1.GetOptions{})
		return err == nil
	}
	node.Kubectl(t, "create", "namespace", "doomed")
	node.Kubectl(t, "delete", "pod", "-n", "elasticweb-system", "elasticweb-apiserver-0", "--wait=false")
	last := time.Now()
	for ; answers(t.Context()); last = time.Now() {
		time.Sleep(20 * time.Millisecond)
	}
	node.Kubectl(t, "delete", "namespace", "doomed", "--wait=false")
	cluster.Eventually(t, "the API to be served again", func(ctx context.Context) (bool, string) { return answers(ctx), "it is not" })
	t.Logf("nobody answered for %v", time.Since(last).Round(100*time.Millisecond))
	node.Kubectl(t, "wait", "--for=delete", "namespace/doomed", "--timeout=60s")
	t.Logf("a namespace that was deleted meanwhile is gone %v after the last answer", time.Since(last).Round(100*time.Millisecond))
	node.Kubectl(t, "patch", "ew", "-n", ns, "elasticweb-sample", "--type=merge", "-p", `{"spec":{"totalQPS":1600}}`)
	awaitReady(t, ns, "elasticweb-sample")
	used.report(t)
}

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	memory "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
)

// The cluster's own autoscaler moves the demand, up and down, as a metric says.
func TestAHorizontalPodAutoscalerMovesTheDemand(t *testing.T) {
	ns := namespace(t)
	setMetric := serveMetric(t)
	setMetric("2500")
	create(t, web("web", ns))
	if _, message, err := tryKubectl(t, fmt.Sprintf(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: %s}
spec:
  scaleTargetRef: {apiVersion: elasticweb.example.com/v1, kind: ElasticWeb, name: web}
  minReplicas: 1
  maxReplicas: 10
  metrics:
  - type: External
    external: {metric: {name: requests-per-second}, target: {type: AverageValue, averageValue: "500"}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 0}
`, ns), "apply", "-f", "-"); err != nil {
		t.Fatal(message)
	}
	for _, step := range []struct {
		metric   string
		pods     int32
		totalQPS int32
	}{{"2500", 5, 4000}, {"900", 2, 1600}, {"3000", 6, 4800}} {
		// Up by 4 at once: more than that it does only 15 s later.
		setMetric(step.metric)
		eventually(t, fmt.Sprintf("the autoscaler to ask for %d Pods", step.pods), func(ctx context.Context) (bool, string) {
			w, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			return *w.Spec.TotalQPS == step.totalQPS, fmt.Sprint(*w.Spec.TotalQPS)
		})
		ready(t, ns, "web", step.pods)
	}
	// It has nothing to say against our answers.
	kubectl(t, "wait", "-n", ns, "hpa/web", "--for=condition=ScalingActive", "--timeout=60s")
	kubectl(t, "wait", "-n", ns, "hpa/web", "--for=condition=AbleToScale", "--timeout=60s")
}

// serveMetric registers a source of the external metric requests-per-second, and returns what sets its value.
func serveMetric(t *testing.T) (set func(value string)) {
	t.Helper()
	dir := t.TempDir()
	value := filepath.Join(dir, "value")
	set = func(text string) {
		t.Helper()
		// Whole or not at all.
		if err := os.WriteFile(value+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(value+".new", value); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	adapter := exec.Command(filepath.Join(root, "bin", "localcluster"), "metrics-adapter", "--value-file="+value, "--cert-dir="+dir,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--lister-kubeconfig="+shared.Kubeconfig, "--authentication-kubeconfig="+shared.Kubeconfig, "--authorization-kubeconfig="+shared.Kubeconfig)
	adapter.Stdout, adapter.Stderr = log, log
	if err := adapter.Start(); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: test-metrics}
---
apiVersion: v1
kind: Service
metadata: {name: adapter, namespace: test-metrics}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: adapter, namespace: test-metrics, port: %d}
`, port)
	t.Cleanup(func() {
		// The registration first: while it leads nowhere, no namespace can be deleted.
		if _, message, err := tryKubectl(t, "", "delete", "apiservice", "v1beta1.external.metrics.k8s.io"); err != nil {
			t.Errorf("the metric is still registered: %v %s", err, message)
		}
		_, _, _ = tryKubectl(t, "", "delete", "namespace", "test-metrics", "--wait=false")
		_ = adapter.Process.Kill()
		_ = adapter.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the metrics adapter says\n%s", text)
		}
	})
	if _, message, err := tryKubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(message)
	}
	kubectl(t, "wait", "apiservice/v1beta1.external.metrics.k8s.io", "--for=condition=Available", "--timeout=60s")
	return set
}

// client-go's scale client finds the subresource by discovery, as autoscalers do.
func TestTheScaleClient(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	config, err := clientcmd.BuildConfigFromFlags("", shared.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cached := memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(config))
	scales, err := scale.NewForConfig(config, restmapper.NewDeferredDiscoveryRESTMapper(cached), dynamicPath, scale.NewDiscoveryScaleKindResolver(cached))
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupResource{Group: "elasticweb.example.com", Resource: "elasticwebs"}
	// The controller writes, too.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		got, err := scales.Scales(w.Namespace).Get(t.Context(), resource, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Spec.Replicas != 3 || got.Status.Selector != "elasticweb.example.com/name=web" {
			t.Errorf("scale = %+v, want 3 and the selector", got)
		}
		got.Spec.Replicas = 1
		_, err = scales.Scales(w.Namespace).Update(t.Context(), resource, got, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ready(t, w.Namespace, "web", 1)
}

func dynamicPath(gvk schema.GroupVersionKind) string {
	if gvk.Group == "" {
		return "/api"
	}
	return "/apis"
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"elasticweb.example.com/test/cluster"
)

func manifest(ns, fields string) string {
	return fmt.Sprintf("apiVersion: elasticweb.example.com/v1\nkind: ElasticWeb\nmetadata: {name: web, namespace: %s}\nspec: {image: 'nginx:1.17.1', singlePodsQPS: 800%s}\n", ns, fields)
}

// says runs kubectl with a manifest on its standard input and wants an answer that holds a part; "!" before it: and an error.
func says(t *testing.T, stdin, want string, args ...string) {
	t.Helper()
	stdout, stderr, err := tryKubectl(t, stdin, args...)
	want, fails := strings.CutPrefix(want, "!")
	// diff: 1 is a difference.
	if args[0] == "diff" {
		fails = err != nil
	}
	if (err != nil) != fails || !strings.Contains(stdout+stderr, want) {
		t.Errorf("kubectl %s: %v\n%s%s\nwant %q", strings.Join(args, " "), err, stdout, stderr, want)
	}
}

// kubectl of this release, verb by verb. The first manifest is applied client-side, then what it owns is contested.
func TestKubectl(t *testing.T) {
	ns := namespace(t)
	n := "-n=" + ns
	for _, step := range []struct {
		stdin, want string
		args        []string
	}{
		{manifest(ns, ", totalQPS: 2400"), "elasticweb.elasticweb.example.com/web created", []string{"create", "-f", "-"}},
		{manifest(ns, ", totalQPS: 2400"), "!AlreadyExists", []string{"create", "-f", "-"}},
		{manifest(ns, ", totalQPS: 1600"), "web replaced", []string{"replace", "-f", "-"}},
		{manifest(ns, ", totalQPS: 2400"), "web configured", []string{"apply", "-f", "-"}},
		{manifest(ns, ", totalQPS: 2400"), "web unchanged", []string{"apply", "-f", "-"}},
		{manifest(ns, ", totalQPS: 3200"), "+  totalQPS: 3200", []string{"diff", "-f", "-"}},
		{manifest(ns, ", totalQPS: 3200"), "web configured (server dry run)", []string{"apply", "--dry-run=server", "-f", "-"}},
		{manifest(ns, ", totalQS: 1"), `!unknown field "spec.totalQS"`, []string{"apply", "-f", "-"}},
		{"", "web patched", []string{"patch", n, "ew/web", "--type=merge", "-p", `{"spec":{"minReplicas":1}}`}},
		{"", "web patched", []string{"patch", n, "ew/web", "--type=json", "-p", `[{"op":"replace","path":"/spec/minReplicas","value":2}]`}},
		{"", "web patched", []string{"patch", n, "ew/web", "--subresource=status", "--type=merge", "-p", `{"status":{"observedGeneration":0}}`}},
		{"", "web labeled", []string{"label", n, "ew/web", "tier=front"}},
		{"", "web annotated", []string{"annotate", n, "ew/web", "example.com/a=b"}},
		{"", "web", []string{"get", n, "elasticweb", "-l", "tier=front", "--field-selector=spec.image=nginx:1.17.1", "--no-headers"}},
		{"", "web scaled", []string{"scale", n, "ew/web", "--replicas=4", "--current-replicas=3"}},
		{"", "!Expected replicas to be 3, was 4", []string{"scale", n, "ew/web", "--replicas=5", "--current-replicas=3"}},
		{"", "3200", []string{"get", n, "ew/web", "-o", "jsonpath={.spec.totalQPS}"}},
		{"", "condition met", []string{"wait", n, "ew/web", "--for=condition=Ready", "--timeout=60s"}},
		{"", "condition met", []string{"wait", n, "ew/web", "--for=jsonpath={.status.realQPS}=3200", "--timeout=60s"}},
		// Without totalQPS an apply leaves the scaler's.
		{manifest(ns, ""), "serverside-applied", []string{"apply", "--server-side", "--field-manager=gitops", "-f", "-"}},
		{"", "3200", []string{"get", n, "ew/web", "-o", "jsonpath={.spec.totalQPS}"}},
		{manifest(ns, ", totalQPS: 800"), "!conflict", []string{"apply", "--server-side", "--field-manager=gitops", "-f", "-"}},
		{manifest(ns, ", totalQPS: 800"), "serverside-applied", []string{"apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-"}},
		{"", "web autoscaled", []string{"autoscale", n, "ew/web", "--min=1", "--max=3"}},
		{"", "hpa", []string{"delete", n, "hpa/web", "-o", "name"}},
		{"", "Total QPS:", []string{"describe", n, "ew/web"}},
		{"", "web", []string{"get", n, "ew/web", "--subresource=scale", "--no-headers"}},
		{"", "namespace/" + ns, []string{"get", "namespace", ns, "-o", "name"}},
	} {
		says(t, step.stdin, strings.Replace(step.want, "hpa", "horizontalpodautoscaler", 1), step.args...)
		if t.Failed() {
			t.FailNow()
		}
	}

	resources := fields(t, kubectl(t, "api-resources", "--api-group=elasticweb.example.com", "-o", "wide"), "elasticwebs")
	if got, want := strings.Join(resources, " "), "elasticwebs ew elasticweb.example.com/v1 true ElasticWeb create,delete,deletecollection,get,list,patch,update,watch all"; got != want {
		t.Errorf("api-resources %q, want %q", got, want)
	}
}

// Five points of the grid that the unit test covers, by kubectl.
func TestKubectlScaleReadsBack(t *testing.T) {
	ns := namespace(t)
	for i, point := range []struct{ single, utilization, replicas int32 }{{1, 100, 7}, {3, 50, 5}, {7, 33, 9}, {800, 75, 4}, {2147483, 99, 2}} {
		w := web(fmt.Sprintf("web-%d", i), ns)
		w.Spec.SinglePodsQPS, w.Spec.TargetUtilizationPercentage = &point.single, &point.utilization
		w.Spec.TotalQPS = nil
		create(t, w)
		kubectl(t, "scale", "-n", ns, "ew/"+w.Name, fmt.Sprintf("--replicas=%d", point.replicas))
		if got := kubectl(t, "get", "-n", ns, "ew/"+w.Name, "--subresource=scale", "-o", "jsonpath={.spec.replicas}"); got != fmt.Sprint(point.replicas) {
			t.Errorf("%+v reads back as %s", point, got)
		}
		ready(t, ns, w.Name, point.replicas)
	}
}

func TestKubectlWatchesTables(t *testing.T) {
	ns := namespace(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	watch := exec.CommandContext(ctx, cluster.KubectlBinary(), "get", "ew", "-n", ns, "--watch")
	watch.Env = shared.KubectlEnv()
	stdout, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = watch.Wait()
	}()
	create(t, web("web", ns))
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if row := strings.Fields(lines.Text()); len(row) > 5 && strings.Join(row[:6], " ") == "web nginx:1.17.1 2400 2400 3/3 Ready" {
			return
		}
	}
	t.Error("the watch ended before the row said Ready")
}

// Each cascade does as with a Deployment.
func TestKubectlDeletes(t *testing.T) {
	for _, cascade := range []string{"background", "foreground", "orphan"} {
		t.Run(cascade, func(t *testing.T) {
			ns := namespace(t)
			create(t, web("web", ns))
			ready(t, ns, "web", 3)
			pods := kubectl(t, "get", "pods", "-n", ns, "-o", "name")
			kubectl(t, "delete", "-n", ns, "ew/web", "--cascade="+cascade, "--timeout=60s")
			if cascade == "orphan" {
				deployment, err := shared.Kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
				if err != nil || len(deployment.OwnerReferences) != 0 {
					t.Errorf("the Deployment is not an orphan: %v %v", deployment.OwnerReferences, err)
				}
				// Adopted by the next one of that name, without a Pod of it being replaced.
				create(t, web("web", ns))
				ready(t, ns, "web", 3)
				if again, err := shared.Kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{}); err != nil || again.UID != deployment.UID || len(again.OwnerReferences) != 1 {
					t.Errorf("the orphan was not adopted: %v", err)
				}
				if after := kubectl(t, "get", "pods", "-n", ns, "-o", "name"); after != pods {
					t.Errorf("the Pods were replaced: %s, before %s", after, pods)
				}
				return
			}
			eventually(t, "the children to be gone", func(ctx context.Context) (bool, string) {
				_, deployment := shared.Kube.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
				_, service := shared.Kube.CoreV1().Services(ns).Get(ctx, "web", metav1.GetOptions{})
				return apierrors.IsNotFound(deployment) && apierrors.IsNotFound(service), fmt.Sprint(deployment, service)
			})
		})
	}
}

// The cluster publishes one document of all servers. What two of them define differently it renames, and no boolean
// additionalProperties may be in it: type checkers of policies have crashed on one.
func TestOurDefinitionsMergeWithTheClusters(t *testing.T) {
	body, err := shared.Kube.Discovery().RESTClient().Get().AbsPath("/openapi/v2").SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var document spec.Swagger
	if err := document.UnmarshalJSON(body); err != nil {
		t.Fatal(err)
	}
	if _, ok := document.Definitions["com.example.elasticweb.v1.ElasticWeb"]; !ok {
		t.Error("the cluster's document lacks our kind")
	}
	for name, definition := range document.Definitions {
		if strings.HasSuffix(name, "_v2") {
			t.Errorf("definition %s was renamed: two servers differ in it", name)
		}
		for property, schema := range definition.Properties {
			if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema == nil {
				t.Errorf("%s.%s has a boolean additionalProperties", name, property)
			}
		}
	}
}

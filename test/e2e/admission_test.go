package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"elasticweb.example.com/pkg/generated/clientset/versioned"

	"elasticweb.example.com/test/cluster"
)

func TestAResourceQuotaBinds(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "quota", "webs", "-n", ns, "--hard=count/elasticwebs.elasticweb.example.com=2")
	kubectl(t, "wait", "-n", ns, "quota/webs", `--for=jsonpath={.status.hard.count/elasticwebs\.elasticweb\.example\.com}=2`, "--timeout=60s")
	create(t, web("a", ns))
	create(t, web("b", ns))
	_, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Create(t.Context(), web("c", ns), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: webs") {
		t.Errorf("a third one: %v, want a 403 of the quota", err)
	}
	if used := kubectl(t, "get", "quota", "webs", "-n", ns, "-o", `jsonpath={.status.used.count/elasticwebs\.elasticweb\.example\.com}`); used != "2" {
		t.Errorf("used are %s, want 2", used)
	}
}

// A quota costs a request to the cluster for each object, and that request waits for nobody: client-go's own limit would let 5 a second through.
func TestAQuotaHoldsNothingUp(t *testing.T) {
	free := namespace(t)
	bound := free + "-2"
	kubectl(t, "create", "namespace", bound)
	t.Cleanup(func() { _, _, _ = tryKubectl(t, "", "delete", "namespace", bound, "--wait=false") })
	kubectl(t, "create", "quota", "webs", "-n", bound, "--hard=count/elasticwebs.elasticweb.example.com=100")
	kubectl(t, "wait", "-n", bound, "quota/webs", `--for=jsonpath={.status.hard.count/elasticwebs\.elasticweb\.example\.com}=100`, "--timeout=60s")
	took := func(ns string) time.Duration {
		begin := time.Now()
		for i := range 40 {
			w := web(fmt.Sprint("web", i), ns)
			w.Spec.Paused = true
			create(t, w)
		}
		return time.Since(begin)
	}
	without, with := took(free), took(bound)
	t.Logf("40 objects: %v, and %v with a quota", without.Round(time.Millisecond), with.Round(time.Millisecond))
	// That limit, with its burst of 10, would make it six seconds.
	if with > without+3*time.Second {
		t.Errorf("40 objects take %v with a quota, and %v without", with, without)
	}
}

func TestAPortThatAnotherElasticWebHolds(t *testing.T) {
	ns, other := namespace(t), cluster.NamespaceOf(t)+"-2"
	kubectl(t, "create", "namespace", other)
	t.Cleanup(func() { _, _, _ = tryKubectl(t, "", "delete", "namespace", other, "--wait=false") })
	holder := web("holder", other)
	holder.Spec.Port = ptr.To[int32](30014)
	create(t, holder)
	eventually(t, "the port to be refused", func(ctx context.Context) (bool, string) {
		taker := web("taker", ns)
		taker.Spec.Port = ptr.To[int32](30014)
		_, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Create(ctx, taker, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "another ElasticWeb of the cluster holds this port") && !strings.Contains(err.Error(), "holder"), fmt.Sprint(err)
	})
}

// Whoever may write ElasticWebs, and no Deployments, may not say what the Pods are.
func TestATemplateTakesTheRightToCreateDeployments(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "role", "webs", "-n", ns, "--verb=*", "--resource=elasticwebs.elasticweb.example.com,elasticwebs.elasticweb.example.com/scale")
	kubectl(t, "create", "rolebinding", "webs", "-n", ns, "--role=webs", "--user=author")
	plain := fmt.Sprintf("apiVersion: elasticweb.example.com/v1\nkind: ElasticWeb\nmetadata: {name: web, namespace: %s}\nspec: {image: 'nginx:1.29', singlePodsQPS: 800", ns)
	if _, message, err := tryKubectl(t, plain+"}", "apply", "--as=author", "-f", "-"); err != nil {
		t.Fatalf("without a template: %v %s", err, message)
	}
	privileged := plain + ", template: {spec: {hostPID: true}}}"
	_, message, err := tryKubectl(t, privileged, "apply", "--as=author", "-f", "-")
	if err == nil || !strings.Contains(message, "must be allowed to create deployments.apps") {
		t.Errorf("with one: %v %s, want to be told what is missing", err, message)
	}
	if _, message, err := tryKubectl(t, "", "scale", "ew/web", "-n", ns, "--as=author", "--replicas=2"); err != nil {
		t.Errorf("scale: %v %s", err, message)
	}
	kubectl(t, "create", "role", "deployments", "-n", ns, "--verb=create", "--resource=deployments.apps")
	kubectl(t, "create", "rolebinding", "deployments", "-n", ns, "--role=deployments", "--user=author")
	eventually(t, "the right to be known", func(context.Context) (bool, string) {
		_, message, err := tryKubectl(t, privileged, "apply", "--as=author", "-f", "-")
		return err == nil, message
	})
}

// applyForTheTest applies the manifest, and deletes what is in it when the test ends.
func applyForTheTest(t *testing.T, manifest string) {
	t.Helper()
	if _, message, err := tryKubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(message)
	}
	t.Cleanup(func() { _, _, _ = tryKubectl(t, manifest, "delete", "-f", "-") })
}

// A policy of the cluster holds, whichever way the request comes: kube-apiserver does not ask it for what is aggregated.
func TestAPolicyOfTheClusterHolds(t *testing.T) {
	ns := namespace(t)
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: [elasticweb.example.com], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [elasticwebs]}
  validations:
  - {expression: "object.spec.totalQPS <= 8000", message: "at most 8000 queries per second here"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, ns)
	applyForTheTest(t, policy)
	create(t, web("small", ns))

	direct := directly(t)
	large := web("large", ns)
	large.Spec.TotalQPS = ptr.To[int32](8001)
	for name, client := range map[string]versioned.Interface{"aggregated": shared.Web, "direct": direct} {
		eventually(t, "the policy to refuse it, "+name, func(ctx context.Context) (bool, string) {
			_, err := client.ElasticwebV1().ElasticWebs(ns).Create(ctx, large, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "at most 8000 queries per second here"), fmt.Sprint(err)
		})
	}
}

// So does one that changes what is sent.
func TestAMutatingPolicyOfTheClusterHolds(t *testing.T) {
	ns := namespace(t)
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: [elasticweb.example.com], apiVersions: [v1], operations: [CREATE], resources: [elasticwebs]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{spec: Object.spec{maxReplicas: 5}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s}
`, ns)
	applyForTheTest(t, policy)
	eventually(t, "the policy to limit it", func(ctx context.Context) (bool, string) {
		created, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Create(ctx, web("web", ns), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && created.Spec.MaxReplicas != nil && *created.Spec.MaxReplicas == 5, fmt.Sprint(err)
	})
}

// The parameters of a policy are read by our server, which has no right to until somebody gives it. That is the policy's trouble alone:
// the API stays in service. And so it says docs/security.md.
func TestAPolicyWithParameters(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "configmap", "limit", "-n", ns, "--from-literal=most=8000")
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: [elasticwebs]}
  validations:
  - {expression: "object.spec.totalQPS <= int(params.data.most)", message: "more than the ConfigMap allows"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny], paramRef: {name: limit, namespace: %[1]s, parameterNotFoundAction: Deny}}
`, ns)
	applyForTheTest(t, policy)
	try := func(ctx context.Context, totalQPS int32) error {
		w := web("web", ns)
		w.Spec.TotalQPS = &totalQPS
		_, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Create(ctx, w, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	eventually(t, "the policy to fail", func(ctx context.Context) (bool, string) {
		err := try(ctx, 800)
		return err != nil && strings.Contains(err.Error(), "not yet synced to use for admission"), fmt.Sprint(err)
	})
	if text, err := directly(t).Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(t.Context()); err != nil {
		t.Errorf("a policy without its parameters takes the API out of service: %v\n%s", err, text)
	}
	for _, args := range [][]string{
		{"clusterrole", ns, "--verb=list,watch", "--resource=configmaps"}, {"clusterrolebinding", ns + "-2", "--clusterrole=" + ns, "--serviceaccount=elasticweb-system:elasticweb-apiserver"},
	} {
		kubectl(t, append([]string{"create"}, args...)...)
		t.Cleanup(func() { _, _, _ = tryKubectl(t, "", "delete", args[0], args[1]) })
	}
	eventually(t, "the policy to hold", func(ctx context.Context) (bool, string) {
		less, more := try(ctx, 8000), try(ctx, 8001)
		return less == nil && more != nil && strings.Contains(more.Error(), "more than the ConfigMap allows"), fmt.Sprint(less, more)
	})
}

// servingCA verifies the certificate of our server.
func servingCA(t *testing.T) []byte {
	t.Helper()
	secret, err := shared.Kube.CoreV1().Secrets("elasticweb-system").Get(t.Context(), "elasticweb-apiserver-serving-cert", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Data["ca.crt"]
}

// directly is a client of our server itself, past the aggregation layer: with a token, which our server has reviewed.
func directly(t *testing.T) versioned.Interface {
	t.Helper()
	kubectl(t, "create", "serviceaccount", "direct", "-n", cluster.NamespaceOf(t))
	kubectl(t, "create", "clusterrolebinding", cluster.NamespaceOf(t), "--clusterrole=cluster-admin", "--serviceaccount="+cluster.NamespaceOf(t)+":direct")
	t.Cleanup(func() { _, _, _ = tryKubectl(t, "", "delete", "clusterrolebinding", cluster.NamespaceOf(t)) })
	token := strings.TrimSpace(kubectl(t, "create", "token", "direct", "-n", cluster.NamespaceOf(t)))
	port := kubectl(t, "get", "apiservice", "v1.elasticweb.example.com", "-o", "jsonpath={.spec.service.port}")
	config := &rest.Config{Host: "https://127.0.0.1:" + port, BearerToken: token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: servingCA(t), ServerName: "elasticweb-apiserver.elasticweb-system.svc",
	}}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
	"elasticweb.example.com/pkg/generated/informers/externalversions"
)

// web is an ElasticWeb without a fixed port, so that tests do not get into each other's way.
func web(name, namespace string) *v1.ElasticWeb {
	return &v1.ElasticWeb{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1.ElasticWebSpec{Image: "nginx:1.17.1", SinglePodsQPS: ptr.To[int32](800), TotalQPS: ptr.To[int32](2400)},
	}
}

func create(t *testing.T, web *v1.ElasticWeb) *v1.ElasticWeb {
	t.Helper()
	created, err := shared.Web.ElasticwebV1().ElasticWebs(web.Namespace).Create(t.Context(), web, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func patch(t *testing.T, web *v1.ElasticWeb, body string) {
	t.Helper()
	kubectl(t, "patch", "elasticweb", web.Name, "-n", web.Namespace, "--type=merge", "-p", body)
}

// ready waits until the ElasticWeb says that it is ready with so many Pods, and returns it.
func ready(t *testing.T, namespace, name string, pods int32) *v1.ElasticWeb {
	t.Helper()
	var web *v1.ElasticWeb
	eventually(t, fmt.Sprintf("%s to be Ready with %d Pods", name, pods), func(ctx context.Context) (bool, string) {
		var err error
		if web, err = shared.Web.ElasticwebV1().ElasticWebs(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err.Error()
		}
		status, _ := json.Marshal(web.Status)
		for _, condition := range web.Status.Conditions {
			if condition.Type == v1.ConditionReady && condition.Status == metav1.ConditionTrue {
				return web.Status.ObservedGeneration == web.Generation && web.Status.ReadyReplicas == pods, string(status)
			}
		}
		return false, string(status)
	})
	return web
}

func children(t *testing.T, web *v1.ElasticWeb) (*appsv1.Deployment, *corev1.Service) {
	t.Helper()
	deployment, err := shared.Kube.AppsV1().Deployments(web.Namespace).Get(t.Context(), web.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := shared.Kube.CoreV1().Services(web.Namespace).Get(t.Context(), web.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return deployment, service
}

// fields are the words of the line of a table that begins with prefix.
func fields(t *testing.T, table, prefix string) []string {
	t.Helper()
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, prefix) {
			return strings.Fields(line)
		}
	}
	t.Fatalf("no line begins with %q in\n%s", prefix, table)
	return nil
}

// The main job: the seed's manifest, and what the README promises of it.
func TestSample(t *testing.T) {
	kubectl(t, "create", "namespace", "dev")
	kubectl(t, "apply", "-f", filepath.Join(root, "artifacts", "example", "elasticweb-sample.yaml"))
	kubectl(t, "wait", "-n", "dev", "ew/elasticweb-sample", "--for=condition=Ready", "--timeout=60s")

	table := kubectl(t, "get", "ew", "-n", "dev")
	if got, want := fields(t, table, "NAME"), "NAME IMAGE TOTAL-QPS REAL-QPS READY STATUS AGE"; strings.Join(got, " ") != want {
		t.Errorf("columns %q, want %q", got, want)
	}
	row := fields(t, table, "elasticweb-sample")
	if got, want := strings.Join(row[:6], " "), "elasticweb-sample nginx:1.17.1 2400 2400 3/3 Ready"; got != want {
		t.Errorf("row %q, want %q", got, want)
	}
	wide := kubectl(t, "get", "ew", "-n", "dev", "-o", "wide")
	if header, row := fields(t, wide, "NAME"), fields(t, wide, "elasticweb-sample"); header[7] != "PORT" || row[7] != "30003" {
		t.Errorf("-o wide has no PORT 30003:\n%s", wide)
	}
	all := kubectl(t, "get", "all", "-n", "dev")
	for what, want := range map[string]string{
		"deployment":  `(?m)^deployment\.apps/elasticweb-sample +3/3 +3 +3 `,
		"service":     `(?m)^service/elasticweb-sample +NodePort .* 8080:30003/TCP `,
		"replica set": `(?m)^replicaset\.apps/elasticweb-sample-\w+ +3 +3 +3 `,
		"elasticweb":  `(?m)^elasticweb\.elasticweb\.example\.com/elasticweb-sample +nginx:1\.17\.1 +2400 +2400 +3/3 +Ready `,
	} {
		if !regexp.MustCompile(want).MatchString(all) {
			t.Errorf("get all lacks the %s:\n%s", what, all)
		}
	}
	if pods := strings.Count(all, "pod/elasticweb-sample-"); pods != 3 {
		t.Errorf("get all shows %d Pods, want 3:\n%s", pods, all)
	}
}

func TestCapacityFollowsTheDemand(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	for _, step := range []struct {
		totalQPS int32
		pods     int32
	}{{800, 1}, {2401, 4}, {0, 0}, {1, 1}} {
		patch(t, w, fmt.Sprintf(`{"spec":{"totalQPS":%d}}`, step.totalQPS))
		got := ready(t, w.Namespace, w.Name, step.pods)
		if want := int64(step.pods) * 800; *got.Status.RealQPS != want || got.Status.DesiredQPS != want {
			t.Errorf("totalQPS %d: realQPS %d, desiredQPS %d, want %d", step.totalQPS, *got.Status.RealQPS, got.Status.DesiredQPS, want)
		}
		eventually(t, fmt.Sprintf("exactly %d Pods", step.pods), func(ctx context.Context) (bool, string) {
			pods, err := shared.Kube.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{LabelSelector: got.Status.Selector})
			if err != nil {
				return false, err.Error()
			}
			return len(pods.Items) == int(step.pods), fmt.Sprint(len(pods.Items))
		})
	}
}

// What a Pod takes changes, and with it the capacity that the same Pods are.
func TestCapacityFollowsWhatAPodTakes(t *testing.T) {
	w := web("web", namespace(t))
	w.Spec.SinglePodsQPS, w.Spec.TotalQPS = ptr.To[int32](500), ptr.To[int32](600)
	create(t, w)
	if got := ready(t, w.Namespace, w.Name, 2); *got.Status.RealQPS != 1000 {
		t.Errorf("realQPS = %d, want 1000", *got.Status.RealQPS)
	}
	patch(t, w, `{"spec":{"singlePodsQPS":400}}`)
	if got := ready(t, w.Namespace, w.Name, 2); *got.Status.RealQPS != 800 {
		t.Errorf("realQPS = %d, want 800", *got.Status.RealQPS)
	}
}

func TestANewImageRollsOut(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	patch(t, w, `{"spec":{"image":"nginx:1.29"}}`)
	w = ready(t, w.Namespace, w.Name, 3)
	if w.Status.UpdatedReplicas != 3 {
		t.Errorf("updatedReplicas = %d, want 3", w.Status.UpdatedReplicas)
	}
	eventually(t, "only Pods of the new image", func(ctx context.Context) (bool, string) {
		pods, err := shared.Kube.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, pod := range pods.Items {
			if pod.Spec.Containers[0].Image != "nginx:1.29" {
				return false, pod.Spec.Containers[0].Image
			}
		}
		return len(pods.Items) == 3, fmt.Sprint(len(pods.Items))
	})
}

func TestPortsFollow(t *testing.T) {
	w := web("web", namespace(t))
	w.Spec.Port = ptr.To[int32](30010)
	w = create(t, w)
	if got := ready(t, w.Namespace, w.Name, 3).Status.NodePort; got != 30010 {
		t.Errorf("status.nodePort = %d, want 30010", got)
	}

	patch(t, w, `{"spec":{"port":30011,"containerPort":8000,"servicePort":9090}}`)
	if got := ready(t, w.Namespace, w.Name, 3).Status.NodePort; got != 30011 {
		t.Errorf("status.nodePort = %d, want 30011", got)
	}
	deployment, service := children(t, w)
	if ports := service.Spec.Ports; len(ports) != 1 || ports[0].Port != 9090 || ports[0].NodePort != 30011 || ports[0].TargetPort.StrVal != "http" {
		t.Errorf("the Service's ports are %+v, want only 9090:30011 to http", ports)
	}
	if ports := deployment.Spec.Template.Spec.Containers[0].Ports; len(ports) != 1 || ports[0].ContainerPort != 8000 || ports[0].Name != "http" {
		t.Errorf("the container's ports are %+v, want only http at 8000", ports)
	}

	patch(t, w, `{"spec":{"port":null}}`)
	if got := ready(t, w.Namespace, w.Name, 3).Status.NodePort; got != 30011 {
		t.Errorf("status.nodePort = %d after the port was removed, want 30011 as before", got)
	}
}

func TestDeletionTakesTheChildren(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	kubectl(t, "delete", "ew", w.Name, "-n", w.Namespace)
	eventually(t, "Deployment and Service to be gone", func(ctx context.Context) (bool, string) {
		_, deployment := shared.Kube.AppsV1().Deployments(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
		_, service := shared.Kube.CoreV1().Services(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(deployment) && apierrors.IsNotFound(service), fmt.Sprint(deployment, service)
	})
}

// A namespace with ElasticWebs in it can be deleted: the namespace controller lists and deletes them through our server.
func TestANamespaceCanBeDeleted(t *testing.T) {
	w := web("web", namespace(t))
	// Namespaces with Pods take longer.
	w.Spec.TotalQPS = ptr.To[int32](0)
	create(t, w)
	ready(t, w.Namespace, w.Name, 0)
	kubectl(t, "delete", "namespace", w.Namespace, "--timeout=60s")
	if _, err := shared.Web.ElasticwebV1().ElasticWebs(w.Namespace).Get(t.Context(), w.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ElasticWeb outlives its namespace: %v", err)
	}
}

// Drift in what we own is repaired as soon as the watch shows it; what others add is theirs. In particular a Deployment that goes
// while the Service stays: the seed never came out of that.
func TestDriftIsRepairedAndOthersFieldsStay(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	kubectl(t, "annotate", "deployment/web", "service/web", "-n", w.Namespace, "example.com/mine=1")
	for _, drift := range [][]string{
		{"scale", "deployment/web", "--replicas=7"},
		{"set", "image", "deployment/web", "web=other"},
		{"label", "deployment/web", "app.kubernetes.io/name=other", "--overwrite"},
		{"patch", "service/web", "--type=merge", "-p", `{"spec":{"selector":{"elasticweb.example.com/name":"other"}}}`},
		{"delete", "service/web"},
		{"delete", "deployment/web"},
	} {
		// No event but that of the drift is due, and the look without an event comes only after 30 s.
		time.Sleep(time.Second)
		deployment, service := children(t, w)
		kubectl(t, append(drift, "-n", w.Namespace)...)
		begin := time.Now()
		eventually(t, "the repair of "+strings.Join(drift, " "), func(ctx context.Context) (bool, string) {
			now, err := shared.Kube.AppsV1().Deployments(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			nowService, err := shared.Kube.CoreV1().Services(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			return *now.Spec.Replicas == 3 && now.Spec.Template.Spec.Containers[0].Image == w.Spec.Image &&
				now.Labels["app.kubernetes.io/name"] == "elasticweb" && nowService.Spec.Selector[v1.NameLabel] == "web" &&
				(drift[0] != "delete" || now.UID != deployment.UID || nowService.UID != service.UID), "not repaired"
		})
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("repaired after %v: not by the event", took)
		}
		ready(t, w.Namespace, w.Name, 3)
		if drift[0] != "delete" {
			deployment, service = children(t, w)
			if deployment.Annotations["example.com/mine"] != "1" || service.Annotations["example.com/mine"] != "1" {
				t.Errorf("%v: an annotation that somebody else set is gone", drift)
			}
		}
		if drift[0] == "delete" {
			kubectl(t, "annotate", "deployment/web", "service/web", "-n", w.Namespace, "example.com/mine=1", "--overwrite")
		}
	}
}

// Once all is as asked, a pass changes nothing: the children keep their resource versions whatever wakes the controller.
func TestSettledChildrenAreNotWritten(t *testing.T) {
	ns := namespace(t)
	plain := web("plain", ns)
	bare := web("bare", ns)
	bare.Spec.Resources = &corev1.ResourceRequirements{}
	fixed := web("fixed", ns)
	fixed.Spec.Port = ptr.To[int32](30012)
	for _, w := range []*v1.ElasticWeb{plain, bare, fixed} {
		create(t, w)
		ready(t, ns, w.Name, 3)
		managed := func() (writes string) {
			deployment, service := children(t, w)
			for _, object := range []metav1.Object{deployment, service} {
				for _, entry := range object.GetManagedFields() {
					if entry.Manager == "elasticweb-controller" {
						writes += entry.Time.String() + " "
					}
				}
			}
			_, service = children(t, w)
			return writes + fmt.Sprint(deployment.Generation, service.ResourceVersion)
		}
		before := managed()
		// Wakes the controller with a change that asks for nothing, and sees that it has acted on it.
		patch(t, w, `{"spec":{"totalQPS":2399}}`)
		ready(t, ns, w.Name, 3)
		if after := managed(); after != before {
			t.Errorf("%s: children written without need: %s, before %s", w.Name, after, before)
		}
	}
}

func TestAForeignServiceIsNotTouched(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "service", "clusterip", "web", "-n", ns, "--tcp=80")
	before, err := shared.Kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	create(t, web("web", ns))
	kubectl(t, "wait", "-n", ns, "ew/web", "--for=condition=Stalled", "--timeout=60s")
	if reason := kubectl(t, "get", "ew/web", "-n", ns, "-o", `jsonpath={.status.conditions[?(@.type=="Stalled")].reason}`); reason != "NotOwned" {
		t.Errorf("Stalled for %s, want NotOwned", reason)
	}
	after, err := shared.Kube.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the foreign Service was changed: %+v", after)
	}
	// The obstacle goes, and all is well by itself.
	kubectl(t, "delete", "service", "web", "-n", ns)
	ready(t, ns, "web", 3)
}

func TestExplainPrintsEveryField(t *testing.T) {
	for path, names := range map[string][]string{
		"elasticweb.spec": {"image", "port", "containerPort", "servicePort", "singlePodsQPS", "totalQPS", "targetUtilizationPercentage",
			"minReplicas", "maxReplicas", "serviceType", "serviceAnnotations", "resources", "template", "paused"},
		"elasticweb.status": {"observedGeneration", "desiredReplicas", "replicas", "readyReplicas", "updatedReplicas", "desiredQPS",
			"realQPS", "selector", "nodePort", "conditions"},
	} {
		text := kubectl(t, "explain", path)
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^  ` + name + `\s+<`).MatchString(text) {
				t.Errorf("explain %s lacks %s:\n%s", path, name, text)
			}
		}
		if strings.Contains(text, "<no description>") {
			t.Errorf("explain %s has a field without a description:\n%s", path, text)
		}
	}
	recursive := kubectl(t, "explain", "elasticweb", "--recursive")
	for _, name := range []string{"readinessProbe", "serviceType", "enum: ClusterIP, LoadBalancer, NodePort"} {
		if !strings.Contains(recursive, name) {
			t.Errorf("explain --recursive lacks %s", name)
		}
	}
}

// kubectl prints what the server computes: the same columns come to a client that has never heard of ElasticWebs.
func TestColumnsComeFromOurServer(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)

	ctx, cancel := context.WithCancel(t.Context())
	proxy := exec.CommandContext(ctx, filepath.Join(root, "bin", "kubectl"), "--kubeconfig="+shared.Kubeconfig, "proxy", "--port=0")
	stdout, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = proxy.Wait()
	}()
	var address string
	if _, err := fmt.Fscanf(stdout, "Starting to serve on %s\n", &address); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/apis/elasticweb.example.com/v1/namespaces/"+w.Namespace+"/elasticwebs", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var table metav1.Table
	if err := json.NewDecoder(response.Body).Decode(&table); err != nil {
		t.Fatal(err)
	}
	if table.Kind != "Table" || len(table.Rows) != 1 || fmt.Sprint(table.Rows[0].Cells[:6]) != "[web nginx:1.17.1 2400 2400 3/3 Ready]" {
		t.Errorf("the server's answer is %+v", table)
	}
}

// The messages reach kubectl whole, and nothing is stored.
func TestBadInputIsRefusedThroughTheAggregator(t *testing.T) {
	ns := namespace(t)
	long := strings.Repeat("a", 64)
	for _, tt := range []struct{ name, metadata, spec, want string }{
		{"no image", "name: web", "singlePodsQPS: 800", "spec.image: Required value"},
		{"singlePodsQPS 0", "name: web", "image: nginx, singlePodsQPS: 0", "spec.singlePodsQPS: Invalid value: 0: must be greater than or equal to 1"},
		{"negative totalQPS", "name: web", "image: nginx, singlePodsQPS: 800, totalQPS: -1", "spec.totalQPS: Invalid value: -1: must be greater than or equal to 0"},
		{"port 80", "name: web", "image: nginx, singlePodsQPS: 800, port: 80", "spec.port: Invalid value: 80: must be in the range 30000-32767"},
		{"long name", "name: " + long, "image: nginx, singlePodsQPS: 800", "must be no more than 63"},
		{"dotted name", "name: a.b", "image: nginx, singlePodsQPS: 800", `metadata.name: Invalid value: "a.b"`},
		{"unknown field", "name: web", "image: nginx, singlePodsQPS: 800, replicas: 3", `unknown field "spec.replicas"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manifest := fmt.Sprintf("apiVersion: elasticweb.example.com/v1\nkind: ElasticWeb\nmetadata: {%s}\nspec: {%s}\n", tt.metadata, tt.spec)
			_, message, err := tryKubectl(t, manifest, "apply", "-n", ns, "-f", "-")
			if err == nil || !strings.Contains(message, tt.want) {
				t.Errorf("kubectl says %q (%v), want an error with %q", message, err, tt.want)
			}
			list, err := shared.Web.ElasticwebV1().ElasticWebs(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != 0 {
				t.Errorf("%d objects were stored (%v)", len(list.Items), err)
			}
		})
	}
}

func TestTheGeneratedInformerFollows(t *testing.T) {
	ns := namespace(t)
	factory := externalversions.NewSharedInformerFactoryWithOptions(shared.Web, 0, externalversions.WithNamespace(ns))
	webs := factory.Elasticweb().V1().ElasticWebs()
	informer := webs.Informer()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	factory.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer never synced")
	}
	create(t, web("web", ns))
	eventually(t, "the informer to see the ElasticWeb become Ready", func(context.Context) (bool, string) {
		w, err := webs.Lister().ElasticWebs(ns).Get("web")
		if err != nil {
			return false, err.Error()
		}
		return w.Status.ReadyReplicas == 3, fmt.Sprintf("%+v", w.Status)
	})
	if err := shared.Web.ElasticwebV1().ElasticWebs(ns).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the informer to see it go", func(context.Context) (bool, string) {
		_, err := webs.Lister().ElasticWebs(ns).Get("web")
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// The connection from the aggregation layer is verified, and stays so.
func TestTheServingCertificateIsVerified(t *testing.T) {
	registration := func(path string) string {
		out, _, _ := tryKubectl(t, "", "get", "apiservice", "v1.elasticweb.example.com", "-o", "jsonpath="+path)
		return out
	}
	if registration("{.spec.insecureSkipTLSVerify}") == "true" {
		t.Error("the aggregation layer does not verify our certificate")
	}
	before := registration("{.spec.caBundle}")
	kubectl(t, "patch", "apiservice", "v1.elasticweb.example.com", "--type=merge", "-p", `{"spec":{"caBundle":null,"insecureSkipTLSVerify":true}}`)
	eventually(t, "the registration to be healed", func(context.Context) (bool, string) {
		now := registration("{.spec.caBundle} {.spec.insecureSkipTLSVerify}")
		return strings.TrimSpace(strings.TrimSuffix(now, "false")) == before, now
	})
	kubectl(t, "wait", "apiservice/v1.elasticweb.example.com", "--for=condition=Available", "--timeout=60s")
}

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func condition(web *v1.ElasticWeb, kind string) (reason string, status metav1.ConditionStatus) {
	for _, condition := range web.Status.Conditions {
		if condition.Type == kind {
			return condition.Reason, condition.Status
		}
	}
	return "", ""
}

func TestUtilizationAndLimitsAct(t *testing.T) {
	w := web("web", namespace(t))
	w.Spec.TargetUtilizationPercentage = ptr.To[int32](75)
	w = create(t, w)
	ready(t, w.Namespace, w.Name, 4)
	for _, step := range []struct {
		patch      string
		pods       int32
		wantReason string
	}{
		{`{"spec":{"maxReplicas":2}}`, 2, "TooManyReplicas"},
		{`{"spec":{"maxReplicas":null,"minReplicas":6}}`, 6, "TooFewReplicas"},
		{`{"spec":{"minReplicas":0,"targetUtilizationPercentage":100}}`, 3, "WithinLimits"},
	} {
		patch(t, w, step.patch)
		got := ready(t, w.Namespace, w.Name, step.pods)
		if reason, _ := condition(got, v1.ConditionScalingLimited); reason != step.wantReason {
			t.Errorf("%s: ScalingLimited for %s, want %s", step.patch, reason, step.wantReason)
		}
	}
}

// The Service changes its type while it lives: its cluster address stays.
func TestServiceTypeChangesOnALiveObject(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	_, before := children(t, w)
	for _, want := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		patch(t, w, fmt.Sprintf(`{"spec":{"serviceType":%q,"serviceAnnotations":{"example.com/type":%q}}}`, want, want))
		var service *corev1.Service
		eventually(t, "a Service of type "+string(want), func(context.Context) (bool, string) {
			_, service = children(t, w)
			return service.Spec.Type == want && service.Annotations["example.com/type"] == string(want), string(service.Spec.Type)
		})
		if hasPort := service.Spec.Ports[0].NodePort != 0; hasPort != (want != corev1.ServiceTypeClusterIP) {
			t.Errorf("%s: nodePort %d", want, service.Spec.Ports[0].NodePort)
		}
		got := ready(t, w.Namespace, w.Name, 3)
		if got.Status.NodePort != service.Spec.Ports[0].NodePort {
			t.Errorf("%s: status.nodePort = %d, want %d", want, got.Status.NodePort, service.Spec.Ports[0].NodePort)
		}
		if service.UID != before.UID || service.Spec.ClusterIP != before.Spec.ClusterIP {
			t.Errorf("%s: the Service is another one, or has another address", want)
		}
	}
	patch(t, w, `{"spec":{"serviceAnnotations":null}}`)
	eventually(t, "the annotation to go", func(context.Context) (bool, string) {
		_, service := children(t, w)
		return len(service.Annotations) == 0, fmt.Sprint(service.Annotations)
	})
}

// A template rolls out once, is not written again, and goes without a trace.
func TestTemplate(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	before, _ := children(t, w)
	patch(t, w, `{"spec":{"template":{"metadata":{"labels":{"tier":"front"}},"spec":{
		"containers":[{"name":"web","env":[{"name":"A","value":"a"},{"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}],"ports":[{"name":"metrics","containerPort":9090}],
			"readinessProbe":{"httpGet":{"path":"/","port":"http"}}},{"name":"proxy","image":"envoy:1","ports":[{"containerPort":10000}]}],
		"volumes":[{"name":"scratch","emptyDir":{}}],"terminationGracePeriodSeconds":5}}}}`)
	ready(t, w.Namespace, w.Name, 3)
	deployment, _ := children(t, w)
	pod := deployment.Spec.Template.Spec
	if deployment.Spec.Template.Labels["tier"] != "front" || len(pod.Containers) != 2 || pod.Containers[0].Image != "nginx:1.17.1" || len(pod.Containers[0].Ports) != 2 ||
		pod.Containers[0].ReadinessProbe.HTTPGet == nil || pod.Containers[0].ReadinessProbe.TCPSocket != nil || pod.Volumes[0].EmptyDir == nil || *pod.TerminationGracePeriodSeconds != 5 {
		t.Errorf("the template is not laid over: %+v", deployment.Spec.Template)
	}
	settled := deployment.Generation
	patch(t, w, `{"spec":{"totalQPS":2399}}`)
	ready(t, w.Namespace, w.Name, 3)
	if deployment, _ = children(t, w); deployment.Generation != settled {
		t.Error("the same template was written again")
	}
	patch(t, w, `{"spec":{"template":null}}`)
	ready(t, w.Namespace, w.Name, 3)
	if deployment, _ = children(t, w); !apiequality.Semantic.DeepEqual(deployment.Spec.Template, before.Spec.Template) {
		t.Errorf("without the template, the Deployment's is not as before: %s", diff.Diff(before.Spec.Template, deployment.Spec.Template))
	}
}

// What only the Deployment API can judge stalls, and says why; mended, it goes on.
func TestATemplateThatTheClusterRefuses(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	for _, bad := range []string{
		`{"spec":{"restartPolicy":"Never"}}`,
		`{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"a"},{"name":"A","value":"b"}]}]}}`,
		`{"spec":{"containers":[{"name":"proxy"}]}}`,
	} {
		patch(t, w, `{"spec":{"template":null}}`)
		patch(t, w, `{"spec":{"template":`+bad+`}}`)
		eventually(t, bad+" to be Stalled for InvalidTemplate", func(ctx context.Context) (bool, string) {
			now, err := shared.Web.ElasticwebV1().ElasticWebs(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			reason, status := condition(now, v1.ConditionStalled)
			return reason == "InvalidTemplate" && status == metav1.ConditionTrue && now.Status.ObservedGeneration == now.Generation, fmt.Sprint(now.Status.Conditions)
		})
	}
	patch(t, w, `{"spec":{"template":null}}`)
	ready(t, w.Namespace, w.Name, 3)
}

func TestPausedLeavesTheChildrenAlone(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	patch(t, w, `{"spec":{"paused":true,"totalQPS":4000,"image":"nginx:1.29","servicePort":9090}}`)
	kubectl(t, "wait", "-n", w.Namespace, "ew/web", `--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Paused`, "--timeout=60s")
	if row := fields(t, kubectl(t, "get", "ew", "-n", w.Namespace), "web"); strings.Join(row[2:6], " ") != "4000 2400 3/5 Paused" {
		t.Errorf("row %q, want the demand, the capacity that is there, and Paused", row)
	}
	deployment, service := children(t, w)
	if *deployment.Spec.Replicas != 3 || deployment.Spec.Template.Spec.Containers[0].Image != "nginx:1.17.1" || service.Spec.Ports[0].Port != 8080 {
		t.Errorf("a paused ElasticWeb changed its children: %+v %+v", deployment.Spec, service.Spec)
	}
	patch(t, w, `{"spec":{"paused":false}}`)
	ready(t, w.Namespace, w.Name, 5)
	if deployment, service = children(t, w); deployment.Spec.Template.Spec.Containers[0].Image != "nginx:1.29" || service.Spec.Ports[0].Port != 9090 {
		t.Error("what was pending was not made")
	}
}

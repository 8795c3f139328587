package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

// stalled waits until the ElasticWeb is, and checks the reason, a part of the message, and that an Event says so.
func stalled(t *testing.T, ns, name, reason, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s to be Stalled for %s", name, reason), func(ctx context.Context) (bool, string) {
		web, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		condition := apimeta.FindStatusCondition(web.Status.Conditions, v1.ConditionStalled)
		if condition == nil {
			return false, fmt.Sprint(web.Status.Conditions)
		}
		ready := apimeta.FindStatusCondition(web.Status.Conditions, v1.ConditionReady)
		return condition.Reason == reason && strings.Contains(condition.Message, message) &&
			ready.Status == metav1.ConditionFalse && ready.Reason == reason, fmt.Sprintf("%+v", web.Status.Conditions)
	})
	eventually(t, "an Event that says so", func(ctx context.Context) (bool, string) {
		events, err := shared.Kube.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ElasticWeb,involvedObject.name=" + name + ",reason=" + reason})
		return err == nil && len(events.Items) > 0 && events.Items[0].Type == "Warning", fmt.Sprint(err)
	})
}

// quota makes a quota, and returns when it binds.
func quota(t *testing.T, ns, hard string) {
	t.Helper()
	kubectl(t, "create", "quota", "limit", "-n", ns, "--hard="+hard)
	eventually(t, "the quota to be counted", func(context.Context) (bool, string) {
		used := kubectl(t, "get", "quota", "limit", "-n", ns, "-o", "jsonpath={.status.used}")
		return used != "", used
	})
}

// Whatever stands in the way is reported, and when it goes all is well by itself.
func TestObstacles(t *testing.T) {
	const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAMESPACE}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]}
  validations: [{expression: "false", message: "no Deployments on Mondays"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAMESPACE}
spec:
  policyName: NAMESPACE
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}
`
	for _, tt := range []struct {
		name, reason, message string
		put                   func(t *testing.T, ns string)
		remove                func(t *testing.T, ns string)
	}{
		{
			name: "a foreign Deployment", reason: "NotOwned", message: "a Deployment of this name belongs to somebody else",
			put:    func(t *testing.T, ns string) { kubectl(t, "create", "deployment", "web", "-n", ns, "--image=nginx") },
			remove: func(t *testing.T, ns string) { kubectl(t, "delete", "deployment", "web", "-n", ns) },
		},
		{
			name: "a quota of Deployments", reason: "QuotaExceeded", message: "exceeded quota",
			put:    func(t *testing.T, ns string) { quota(t, ns, "count/deployments.apps=0") },
			remove: func(t *testing.T, ns string) { kubectl(t, "delete", "quota", "limit", "-n", ns) },
		},
		{
			name: "a quota of Pods", reason: "QuotaExceeded", message: "exceeded quota",
			put:    func(t *testing.T, ns string) { quota(t, ns, "count/pods=1") },
			remove: func(t *testing.T, ns string) { kubectl(t, "delete", "quota", "limit", "-n", ns) },
		},
		{
			name: "a policy", reason: "Rejected", message: "no Deployments on Mondays",
			put: func(t *testing.T, ns string) {
				if _, errs, err := tryKubectl(t, strings.ReplaceAll(policy, "NAMESPACE", ns), "apply", "-f", "-"); err != nil {
					t.Fatal(errs)
				}
				t.Cleanup(func() {
					_, _, _ = tryKubectl(t, "", "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", ns)
				})
				eventually(t, "the policy to hold", func(context.Context) (bool, string) {
					_, errs, err := tryKubectl(t, "", "create", "deployment", "probe", "-n", ns, "--image=nginx", "--dry-run=server")
					return err != nil, errs
				})
			},
			remove: func(t *testing.T, ns string) {
				kubectl(t, "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", ns)
			},
		},
		{
			name: "a port that a Service has", reason: "NodePortUnavailable", message: "provided port is already allocated",
			put: func(t *testing.T, ns string) {
				kubectl(t, "create", "service", "nodeport", "taken", "-n", ns, "--tcp=80", "--node-port=30020")
			},
			remove: func(t *testing.T, ns string) { kubectl(t, "delete", "service", "taken", "-n", ns) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := namespace(t)
			tt.put(t, ns)
			w := web("web", ns)
			if tt.reason == "NodePortUnavailable" {
				w.Spec.Port = ptr.To[int32](30020)
			}
			create(t, w)
			stalled(t, ns, "web", tt.reason, tt.message)
			tt.remove(t, ns)
			ready(t, ns, "web", 3)
		})
	}
}

// An ElasticWeb that is deleted and created again at once ends with children of its own, and is never Stalled meanwhile.
func TestANamesakeGetsItsOwnChildren(t *testing.T) {
	ns := namespace(t)
	create(t, web("web", ns))
	ready(t, ns, "web", 3)
	watch, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Watch(t.Context(), named("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	for range 3 {
		// At once: kubectl takes longer than the collector.
		if err := shared.Web.ElasticwebV1().ElasticWebs(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		create(t, web("web", ns))
	}
	last := ready(t, ns, "web", 3)
	deployment, service := children(t, last)
	for _, child := range []metav1.Object{deployment, service} {
		if !metav1.IsControlledBy(child, last) {
			t.Errorf("a child belongs to %v, want %s", child.GetOwnerReferences(), last.UID)
		}
	}
	all := false
	for event := range watch.ResultChan() {
		seen, ok := event.Object.(*v1.ElasticWeb)
		if !ok {
			t.Fatalf("watch: %v", event.Object)
		}
		if condition := apimeta.FindStatusCondition(seen.Status.Conditions, v1.ConditionStalled); condition != nil {
			t.Errorf("Stalled meanwhile: %+v", condition)
		}
		if all = seen.ResourceVersion == last.ResourceVersion; all {
			break
		}
	}
	if !all {
		t.Error("the watch ended before the last state")
	}
}

// A foreign Deployment is in nothing changed, although an ElasticWeb has its name: the seed took it over and scaled it.
func TestAForeignDeploymentIsNotTouched(t *testing.T) {
	ns := namespace(t)
	kubectl(t, "create", "deployment", "web", "-n", ns, "--image=nginx", "--replicas=2")
	kubectl(t, "rollout", "status", "deployment/web", "-n", ns, "--timeout=60s")
	get := func() *appsv1.Deployment {
		deployment, err := shared.Kube.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return deployment
	}
	before := get()
	create(t, web("web", ns))
	stalled(t, ns, "web", "NotOwned", "a Deployment of this name belongs to somebody else")
	if after := get(); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the foreign Deployment was changed: %+v", after)
	}
}

// The Events of an ElasticWeb tell what was decided, with the arithmetic.
func TestEventsTellTheArithmetic(t *testing.T) {
	ns := namespace(t)
	w := create(t, web("web", ns))
	ready(t, ns, "web", 3)
	patch(t, w, `{"spec":{"totalQPS":4000}}`)
	ready(t, ns, "web", 5)
	patch(t, w, `{"spec":{"totalQPS":8000,"maxReplicas":6}}`)
	ready(t, ns, "web", 6)
	patch(t, w, `{"spec":{"image":"nginx:1.18"}}`)
	ready(t, ns, "web", 6)
	patch(t, w, `{"spec":{"servicePort":81}}`)
	want := []string{
		"Created the Deployment with 3 replicas: ceil(2400/800) = 3",
		"Created the Service",
		"Scaled 3→5: ceil(4000/800) = 5",
		"Scaled 5→6: ceil(8000/800) = 10, maxReplicas allows 6",
		"Rolls out image nginx:1.18, before nginx:1.17.1",
		"Updated the Service",
	}
	eventually(t, "the Events", func(ctx context.Context) (bool, string) {
		described := kubectl(t, "describe", "ew", "web", "-n", ns)
		for _, line := range want {
			if !strings.Contains(described, line) {
				return false, "no " + line + " in\n" + described
			}
		}
		return true, ""
	})
	// No more than that: one for each decision.
	events, err := shared.Kube.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=ElasticWeb"})
	if err != nil || len(events.Items) != len(want) {
		t.Errorf("%d Events, want %d (%v)", len(events.Items), len(want), err)
	}
}

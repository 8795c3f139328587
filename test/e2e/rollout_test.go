package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "elasticweb.example.com/apis/elasticweb/v1"
)

func named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
}

// While the image changes, alone or with the demand, what is ready never falls below the lesser of both demands. Every state of
// the Deployment is looked at.
func TestARolloutNeverDips(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change string
		// pods are ready in the end, and so many at least in between.
		pods, least int32
	}{
		{name: "the image", change: `{"spec":{"image":"nginx:1.18"}}`, pods: 8, least: 8},
		{name: "the image and more demand", change: `{"spec":{"image":"nginx:1.18","totalQPS":9600}}`, pods: 12, least: 8},
		{name: "the image and less demand", change: `{"spec":{"image":"nginx:1.18","totalQPS":3200}}`, pods: 4, least: 4},
		{name: "the image and what a Pod takes", change: `{"spec":{"image":"nginx:1.18","singlePodsQPS":400}}`, pods: 16, least: 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := web("web", namespace(t))
			*w.Spec.TotalQPS = 6400
			create(t, w)
			ready(t, w.Namespace, w.Name, 8)
			deployment, _ := children(t, w)
			options := named(w.Name)
			options.ResourceVersion = deployment.ResourceVersion
			watch, err := shared.Kube.AppsV1().Deployments(w.Namespace).Watch(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			patch(t, w, tt.change)
			ready(t, w.Namespace, w.Name, tt.pods)
			last, _ := children(t, w)
			states, seen := 0, false
			for event := range watch.ResultChan() {
				deployment, ok := event.Object.(*appsv1.Deployment)
				if !ok {
					t.Fatalf("watch: %v", event.Object)
				}
				states++
				if deployment.Status.ReadyReplicas < tt.least {
					t.Errorf("%d Pods were ready, want %d at least", deployment.Status.ReadyReplicas, tt.least)
				}
				if seen = deployment.ResourceVersion == last.ResourceVersion; seen {
					break
				}
			}
			watch.Stop()
			if !seen {
				t.Error("the watch ended before the last state")
			}
			t.Logf("%d states of the Deployment were looked at", states)
		})
	}
}

// A reader of kstatus, and one who waits for the condition Ready, are never told that all is done before it is: at every write of
// the status that says so, as many Pods as asked for are there, ready, and of the image asked for.
func TestReadyIsNeverSaidTooSoon(t *testing.T) {
	ns := namespace(t)
	watch, err := shared.Web.ElasticwebV1().ElasticWebs(ns).Watch(t.Context(), named("web"))
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	var current atomic.Int32
	var stopped atomic.Bool
	reading.Go(func() {
		begin := time.Now()
		defer func() {
			if !stopped.Load() {
				t.Errorf("the watch ended by itself, %s after it had begun", time.Since(begin))
			}
		}()
		for event := range watch.ResultChan() {
			web, ok := event.Object.(*v1.ElasticWeb)
			if !ok {
				if !stopped.Load() {
					t.Errorf("the watch says %s %+v", event.Type, event.Object)
				}
				continue
			}
			isReady := apimeta.IsStatusConditionTrue(web.Status.Conditions, v1.ConditionReady) && web.Status.ObservedGeneration == web.Generation
			if got := kstatus(web); (got == "Current") != isReady {
				t.Errorf("kstatus says %s, Ready is %v: %+v", got, isReady, web.Status)
			}
			if isReady {
				current.Add(1)
				if wrong := capacityMissing(t, web); wrong != "" {
					t.Errorf("Ready, but %s", wrong)
				}
			}
		}
	})
	w := create(t, web("web", ns))
	ready(t, ns, "web", 3)
	for _, step := range []struct {
		change string
		pods   int32
	}{
		{`{"spec":{"totalQPS":4800}}`, 6},
		{`{"spec":{"image":"nginx:1.18"}}`, 6},
		{`{"spec":{"image":"nginx:1.19","totalQPS":2400}}`, 3},
		{`{"spec":{"totalQPS":0}}`, 0},
		{`{"spec":{"totalQPS":800}}`, 1},
	} {
		patch(t, w, step.change)
		ready(t, ns, "web", step.pods)
	}
	// The last of them may still be on its way.
	eventually(t, "Ready to be seen 6 times", func(context.Context) (bool, string) { return current.Load() >= 6, fmt.Sprint(current.Load()) })
	stopped.Store(true)
	watch.Stop()
	reading.Wait()
}

// kstatus is what a reader of the convention makes of an object, as cli-utils' kstatus does for kinds that it does not know.
func kstatus(web *v1.ElasticWeb) string {
	switch {
	case web.DeletionTimestamp != nil:
		return "Terminating"
	case web.Status.ObservedGeneration != web.Generation:
		return "InProgress"
	case apimeta.IsStatusConditionTrue(web.Status.Conditions, v1.ConditionReconciling):
		return "InProgress"
	case apimeta.IsStatusConditionTrue(web.Status.Conditions, v1.ConditionStalled):
		return "Failed"
	case !apimeta.IsStatusConditionTrue(web.Status.Conditions, v1.ConditionReady):
		return "InProgress"
	default:
		return "Current"
	}
}

// capacityMissing looks at the Pods themselves; empty: the capacity is there.
func capacityMissing(t *testing.T, web *v1.ElasticWeb) string {
	// Not the test's own context: what is read last is still to be looked at.
	pods, err := shared.Kube.CoreV1().Pods(web.Namespace).List(context.WithoutCancel(t.Context()), metav1.ListOptions{LabelSelector: web.Status.Selector})
	if err != nil {
		return err.Error()
	}
	now, err := shared.Web.ElasticwebV1().ElasticWebs(web.Namespace).Get(context.WithoutCancel(t.Context()), web.Name, metav1.GetOptions{})
	if err == nil && now.Generation != web.Generation {
		// The next step has begun meanwhile; the Pods are its.
		return ""
	}
	count := int32(0)
	for _, pod := range pods.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue && pod.Spec.Containers[0].Image == web.Spec.Image {
				count++
			}
		}
	}
	if count < web.Status.DesiredReplicas || count != web.Status.ReadyReplicas || web.Status.RealQPS == nil ||
		*web.Status.RealQPS != int64(count)*int64(*web.Spec.SinglePodsQPS) {
		return fmt.Sprintf("%d Pods are ready; status %+v", count, web.Status)
	}
	return ""
}

// What others own in a child stays theirs.
func TestARolloutRestartIsLeftAlone(t *testing.T) {
	w := create(t, web("web", namespace(t)))
	ready(t, w.Namespace, w.Name, 3)
	before := kubectl(t, "get", "pods", "-n", w.Namespace, "-o", "name")
	kubectl(t, "rollout", "restart", "-n", w.Namespace, "deployment/web")
	kubectl(t, "rollout", "status", "-n", w.Namespace, "deployment/web", "--timeout=60s")
	after := kubectl(t, "get", "pods", "-n", w.Namespace, "-l", v1.NameLabel+"=web", "--field-selector=status.phase=Running", "-o", "name")
	for pod := range strings.FieldsSeq(after) {
		if strings.Contains(before, pod) {
			t.Errorf("%s was not replaced", pod)
		}
	}
	// Wakes the controller.
	patch(t, w, `{"spec":{"totalQPS":3200}}`)
	ready(t, w.Namespace, w.Name, 4)
	if deployment, _ := children(t, w); deployment.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "" {
		t.Error("the mark of the restart is gone")
	}
}
